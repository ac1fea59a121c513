"""Asks children for the cause of every finding: what is asked next, and what becomes of a finding that ends its process.

Runs in the parent; no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TextIO

from sweep.causes.answer import Answer, Question
from sweep.causes.cause import Causes, grouped
from sweep.errors import SweepError
from sweep.expect.known import KnownFinding
from sweep.isolation.sandbox import Sandbox
from sweep.recording.progress_bar import ProgressBar
from sweep.search import pool
from sweep.search.pool import Job

#: Environment variables of the children: errors of torch come with the C++ stack, whose functions the dynamic linker names.
ENVIRONMENT = {"TORCH_SHOW_CPP_STACKTRACES": "1", "TORCH_SYMBOLIZE_MODE": "dladdr"}

#: What the fork server of the children imports.
PRELOADS = ("sweep.causes.work", "sweep.operators.registrations:import_all")

#: Seconds that one finding may take.
_TIMEOUT = 60.0

#: Why the cause is unknown of a finding that ends every process that looks for it.
_ENDED = "looking for its cause ended the process"


def ask(
    sandboxes: Sequence[Sandbox],
    findings: Mapping[str, Sequence[KnownFinding]],
    names: Iterable[str],
    device: str,
    memory: int,
    out: TextIO,
) -> Causes:
    """Finds the causes of findings by replaying their examples.

    Args:
        sandboxes: the processes to use, with :data:`ENVIRONMENT` and :data:`PRELOADS`.
        findings: overload -> its findings; of all overloads, since those inside a call may have the same.
        names: the overloads whose findings are replayed.
        device: where they were found.
        memory: bytes of an accelerator's memory that a child may use; 0 is no limit.
        out: takes progress.

    Raises:
        ChildFailedError: the search has a bug.
    """
    return _Update(findings, device, memory, out).run(sandboxes, names)


class _Update:
    """One pass over the findings."""

    def __init__(self, findings: Mapping[str, Sequence[KnownFinding]], device: str, memory: int, out: TextIO) -> None:
        self._device, self._memory, self._out = device, memory, out
        self._questions = {name: [_question(finding) for finding in known] for name, known in findings.items() if known}
        self._alike: dict[str, list[str]] = defaultdict(list)
        for name, questions in self._questions.items():
            for crossref in {question.crossref for question in questions}:
                self._alike[crossref].append(name)
        self._answers: dict[str, dict[int, Answer]] = defaultdict(dict)

    def run(self, sandboxes: Sequence[Sandbox], names: Iterable[str]) -> Causes:
        """Asks about every finding of some overloads."""
        waiting = sorted(self._questions.keys() & set(names), reverse=True)
        self._bar = ProgressBar("traced", len(waiting), 0, self._out)
        pool.run(sandboxes, lambda: self._job(waiting.pop()) if waiting else None, self._finished, self._died, _TIMEOUT)
        self._bar.close()
        return grouped({name: answers.values() for name, answers in self._answers.items()})

    def _job(self, name: str) -> Job:
        arguments = {
            "questions": self._questions[name],
            "device": self._device,
            "memory": self._memory,
            "alike": dict(self._alike),
        }
        return Job("sweep.causes.work:answer", name, arguments)

    def _finished(self, job: Job, answers: Sequence[Answer]) -> None:
        start = job.arguments.get("start", 0)
        self._answers[job.name].update(enumerate(answers, start))
        self._bar.advance(f"{sum(map(len, self._answers.values()))} findings")

    def _died(self, job: Job, error: SweepError) -> Job | None:
        """Goes on with the finding that ended the process, without a replay; with the next one if there was none before."""
        start, running = job.arguments.get("start", 0), ""
        for at, saved in error.checkpoints:
            if isinstance(saved, Answer):
                self._answers[job.name][at] = saved
                start, running = at + 1, ""
            else:
                running = saved
        shallow = start
        if job.arguments.get("shallow") == start:
            title = self._questions[job.name][start].title
            self._answers[job.name][start] = Answer(title, None, unknown=_ENDED)
            start, shallow = start + 1, -1
        return replace(job, arguments={**job.arguments, "start": start, "shallow": shallow, "running": running})


def _question(finding: KnownFinding) -> Question:
    return Question(finding.title, finding.crossref, finding.form, finding.what, finding.example, finding.ends_process)
