"""The journal of a recording: one line of JSON per finished task, lost process and finished stage, written at once.

A recording that was stopped resumes from it, and its summary says what could not be recorded. No torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweep.files import replace
from sweep.findings.kind import Access
from sweep.recording.outcome import PairCounts, TaskOutcome
from sweep.recording.stages import GUESSED, Task

#: Number of the slowest tasks that a summary lists.
_SLOWEST = 20


@dataclass(frozen=True)
class FinishedTask:
    """The outcome of a task, and its wall-clock time."""

    outcome: TaskOutcome
    seconds: float


class Journal:
    """The journal of one recording, over all stages.

    Args:
        path: the file.
        recording: JSON data that identifies the recording: all that its result depends on.
        resume: continue the journal in the file if it is of the same recording; otherwise begin a new one.

    Attributes:
        tasks: the finished tasks, including those that were given up.
        lost: (task, how its process ended) -> number of processes.
        stages: wall-clock seconds of each finished stage.
    """

    def __init__(self, path: Path, recording: Mapping[str, Any], *, resume: bool) -> None:
        self.tasks: dict[Task, FinishedTask] = {}
        self.lost: Counter[tuple[Task, str]] = Counter()
        self.stages: list[float] = []
        lines = _read(path, recording) if resume else []
        for line in lines:
            self._apply(line)
        replace(path, "".join(json.dumps(line) + "\n" for line in (recording, *lines)))
        self._file = path.open("a", buffering=1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def finish_task(self, task: Task, seconds: float, outcome: TaskOutcome) -> None:
        """Note the outcome of a task; the default outcome is for one that was given up."""
        self._write({**_task_as_json(task), "seconds": round(seconds, 3), "outcome": outcome.as_json()})

    def lose_process(self, task: Task, seconds: float, ending: str) -> None:
        """Note that a task ended its process."""
        self._write({**_task_as_json(task), "seconds": round(seconds, 3), "lost": ending})

    def finish_stage(self, stage: int, seconds: float) -> None:
        """Note that all tasks of a stage are finished."""
        self._write({"finished": stage, "seconds": round(seconds, 1)})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        if "finished" in line:
            self.stages.append(line["seconds"])
            return
        task = Task(line["stage"], line["module"], line["task"])
        if "lost" in line:
            self.lost[task, line["lost"]] += 1
        else:
            self.tasks[task] = FinishedTask(TaskOutcome.from_json(line["outcome"]), line["seconds"])

    def refusals(self) -> dict[str, str]:
        """Overload -> the error that its calls were refused with. An overload that has other calls may be among them.

        The error of a handwritten call says more than that of one that was carried over, and that more than that of a guess.
        """
        ordered = sorted(self.tasks, key=lambda task: (task.module == GUESSED, task.stage, str(task)))
        refusals: dict[str, str] = {}
        for task in ordered:
            for name, refusal in self.tasks[task].outcome.refusals.items():
                refusals.setdefault(name, refusal)
        return refusals

    def counts(self) -> dict[str, Any]:
        """Counts of what could not be recorded, as JSON data for the manifest."""
        refused: Counter[str] = Counter()
        unrecordable: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        for task, finished in self.tasks.items():
            refused.update({f"{task.module}: {error}": n for error, n in finished.outcome.refused.items()})
            unrecordable.update(finished.outcome.unrecordable)
            failures.update(finished.outcome.failures)
        return {
            "tasks": len(self.tasks),
            "dispatched": sum(finished.outcome.dispatched for finished in self.tasks.values()),
            "refused": dict(sorted(refused.items())),
            "unrecordable": dict(sorted(unrecordable.items())),
            "failures": dict(sorted(failures.items())),
            "lost": dict(sorted((f"{task}: {ending}", n) for (task, ending), n in self.lost.items())),
        }

    def summary(self) -> str:
        """The counts and the slowest tasks as text."""
        counts = self.counts()
        pairs = sum((finished.outcome.pairs for finished in self.tasks.values()), PairCounts())
        slowest = sorted(self.tasks.items(), key=lambda item: -item[1].seconds)[:_SLOWEST]
        seconds = " + ".join(f"{s:.0f}" for s in self.stages) or "no"
        sections = {
            "derived calls that were refused": _count_lines(counts["refused"]),
            "calls that write or read outside of their arguments, one per overload": self._out_of_bounds(),
            "calls without a plain-data form": _count_lines(counts["unrecordable"]),
            "pairs of mutations of one call's arguments": [
                f"{number:7} {state}" for state, number in asdict(pairs).items() if number
            ],
            "slowest tasks, in seconds": [f"{finished.seconds:7.1f} {task}" for task, finished in slowest],
            "lost processes, and what they were doing": _count_lines(counts["lost"]),
            "samples that could not be generated or run": _count_lines(counts["failures"]),
            "overloads that refuse derived or handwritten calls": [
                f"{name}: {refusal}" for name, refusal in sorted(self.refusals().items())
            ],
        }
        head = f"{counts['tasks']} tasks, {counts['dispatched']} dispatched calls; {seconds} s in the finished stages"
        return "\n".join([head, *(line for title, lines in sections.items() for line in ("", f"{title}:", *lines))]) + "\n"

    def _out_of_bounds(self) -> list[str]:
        """One line per kind and overload, with its shortest call."""
        shortest: dict[tuple[Access, str], str] = {}
        for task, finished in self.tasks.items():
            for kind, text in finished.outcome.out_of_bounds.items():
                key = (kind, task.name)
                shortest[key] = min(shortest.get(key, text), text, key=len)
        return sorted((f"{kind.value}: {text}" for (kind, _), text in shortest.items()), reverse=True)


def _task_as_json(task: Task) -> dict[str, Any]:
    return {"stage": task.stage, "module": task.module, "task": task.name}


def _read(path: Path, recording: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The complete lines of a journal if it is of this recording; the last line of a killed recording may be cut short."""
    try:
        first, *lines = path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")] if json.loads(first) == recording else []
    except (OSError, ValueError):  # no file, or not a journal: begin a new one
        return []


def _count_lines(counts: dict[str, int]) -> list[str]:
    return [f"{n:7} {text}" for text, n in counts.items()]
