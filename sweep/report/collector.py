"""A pytest plugin of the process that has the terminal: collects verdicts, has them accepted, written and rendered at the end.

What a verdict is lives in ``expect.verdict``, text in ``renderers``; worker processes do not have this plugin.
"""

from __future__ import annotations

import dataclasses
import datetime
import secrets
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep import expect
from sweep.errors import ExpectError
from sweep.expect import notes
from sweep.expect.folder import shown
from sweep.expect.notes import NoteState
from sweep.expect.verdict import Change, Verdict
from sweep.plan import Plan
from sweep.report import renderers, run_jsonl
from sweep.report.model import Row, Run, RunInfo
from sweep.report.note_states import states

#: Exit status of a run in which nothing is wrong except that some overloads are flaky.
ONLY_FLAKY = 6


class Collector:
    """Collects the verdicts of a run.

    Args:
        plan: what is run.
        accept: whether to accept the verdicts.

    Attributes:
        verdicts: overload -> its verdict.
        broken: item -> why it failed without a verdict, in one line.
        notes: lines for the user.
    """

    def __init__(self, plan: Plan, *, accept: bool) -> None:
        self.plan = plan
        self.accept = accept
        self.verdicts: dict[str, Verdict] = {}
        self.broken: dict[str, str] = {}
        self.notes: list[str] = []
        self._damaged = False
        self._stopped = False
        self._accepted = False
        self._expired = False
        self._arguments: Sequence[str] = ()
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.perf_counter()
        self._id = f"{self._started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"

    # --- hooks ---

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._arguments = [str(argument) for argument in session.config.invocation_params.args]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Notices a run that was stopped. Its exit status may not say so: a second Ctrl-C can come before that is set."""
        self._stopped = True
        result = yield
        self._stopped = False
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = getattr(report, "sweep_verdict", None)
        if data is not None:
            verdict = Verdict.from_bytes(data)
            self.verdicts[verdict.result.overload] = verdict
        elif report.failed:
            self._damaged |= getattr(report, "sweep_damage", None) is not None
            name = report.nodeid.partition("[")[2].removesuffix("]") or report.nodeid
            self.broken[name] = _reason(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._damaged:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if not self.verdicts and not self.broken:
            return
        self.notes += [*self._remarks(), *self._notes_over()]
        try:
            self._save()  # first, since it is minutes of work; what becomes of accepting is added
            self._finish(session, exitstatus)
        except OSError as error:
            self.notes.append(f"cannot write {error.filename} ({error.strerror}): expect files are as they were; run again")
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        if self._expired and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED, ONLY_FLAKY):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.verdicts or self.broken:
            terminalreporter.section("operator sweep")
            for line in renderers.render("terminal", self.run()).splitlines():
                terminalreporter.write_line(line)

    # --- at the end ---

    def run(self) -> Run:
        """The run as plain data."""
        rows = [
            Row(
                overload,
                self._id,
                verdict,
                crossref_runs=dict.fromkeys(self.plan.crossrefs, self._id),
                accepted=self._accepted and verdict.change is not Change.FLAKY,
                notes=tuple(str(note) for note in notes.of_overload(self.plan.notes, overload)),
            )
            for overload, verdict in self.verdicts.items()
        ]
        rows += [Row(name, self._id, not_run=why) for name, why in self.broken.items() if name not in self.verdicts]
        return Run((self._info(),), tuple(sorted(rows, key=lambda row: row.overload)))

    def _info(self) -> RunInfo:
        environment = self.plan.environment
        return RunInfo(
            id=self._id,
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - self._clock, 3),
            torch=environment.torch,
            git=environment.git,
            device=environment.device,
            features=environment.features,
            native_cpu=environment.native_cpu,
            crossrefs=tuple(self.plan.crossrefs),
            all_crossrefs=self.plan.all_crossrefs,
            arguments=tuple(self._arguments),
            results=self.plan.results,
            whole=self._has_every_overload() and self.plan.all_crossrefs,
            expected=self.plan.expected,
            accepted=self._accepted,
            expired=self._expired,
            accept_command=self.plan.accept_command(self._subject()),
            notes=tuple(self.notes),
        )

    def _has_every_overload(self) -> bool:
        return set(self.plan.reasons) <= set(self.verdicts) and not self.broken

    def _subject(self) -> str | None:
        """The overload that the command to accept is about; ``...`` for a part, ``None`` for all."""
        changed = [overload for overload, verdict in self.verdicts.items() if verdict.change is not None]
        if len(changed) == 1:
            return changed[0]
        return None if self._has_every_overload() else "..."

    def _save(self) -> None:
        run_jsonl.update(self.plan.run_folder() / run_jsonl.NAME, self.run())

    def _finish(self, session: pytest.Session, exitstatus: int) -> None:
        """Accepts if asked to, and sets the exit status."""
        wrong = {v.change for v in self.verdicts.values() if v.change is Change.FLAKY or (v.change and not self.accept)}
        if wrong == {Change.FLAKY} and not self.broken and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            session.exitstatus = ONLY_FLAKY
        if self.accept:
            # An item fails for its result only if that is flaky; its section stays as it is.
            finished = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.TESTS_FAILED)
            if self._stopped or self.broken or exitstatus not in finished:
                self.notes.append("nothing was accepted, since the run did not finish: expect files are as they were")
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            else:
                self._accept(session)
            self._save()
        elif not self.plan.expected:
            self.notes.append(self._no_expect_files())
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self._save()

    def _accept(self, session: pytest.Session) -> None:
        accepted = expect.accept(
            Path(self.plan.results),
            self.verdicts.values(),
            self.plan.environment,
            None if self.plan.all_crossrefs else self.plan.crossrefs,
            whole=self._has_every_overload(),
            whole_command=dataclasses.replace(self.plan, all_crossrefs=True).accept_command(),
        )
        self._accepted = accepted.done
        self.notes += accepted.notes
        if not accepted.done:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # --- notes ---

    def _no_expect_files(self) -> str:
        environment = self.plan.environment
        near = expect.nearest(Path(self.plan.results).parent.parent, environment)
        nearest = f"; the nearest there are: {shown(near)}" if near else ""
        wanted = f"torch {environment.release} on {environment.device_type} in {shown(Path(self.plan.results))}"
        return f"no expect files for {wanted}{nearest}. To make them: {self.plan.accept_command()}"

    def _remarks(self) -> list[str]:
        """What may explain the results."""
        remarks = []
        if self.plan.unknown:
            remarks.append(
                f"the corpus has calls of {self.plan.unknown} overloads that this torch does not know; they were left out"
            )
        if self.plan.environment.native_cpu:
            return remarks
        try:
            differing = expect.differing_head(expect.load(Path(self.plan.results)), self.plan.environment)
        except ExpectError as error:
            return [*remarks, str(error)]
        if differing is not None:
            here = expect.head("", self.plan.environment)[1]
            remarks.append(f"the expect files were written by another torch or device ({differing}; here: {here})")
        return remarks

    def _notes_over(self) -> list[str]:
        """The notes of people that are gone or have expired."""
        environment = self.plan.environment
        file = shown(Path(self.plan.results).parent.parent / notes.NAME)
        lines = []
        try:
            for note, state in states(self.plan, self.verdicts):
                if state is NoteState.EXPIRED:
                    self._expired = True
                    over = f"this is torch {environment.release}, and it was to be over: renew or remove it in {file}"
                    lines.append(f"note expired: {note.subject}: {note}; {over}")
                elif state is NoteState.GONE and not environment.native_cpu:  # others are not the baseline's findings
                    lines.append(f"note gone: {note.subject}: {note}; remove it from {file}")
        except ExpectError as error:
            lines.append(str(error))
        return lines


def _reason(report: pytest.TestReport) -> str:
    """Why an item failed without a verdict, in one line: the exception's message, or the last line of what there is."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message).strip().partition("\n")[0]
    text = str(report.longrepr or "").strip().splitlines()  # of a worker that is gone, for instance
    return text[-1] if text else "no reason given"
