"""What a run says at its end: the table, the unexpected overloads, ``run.jsonl``, and, if asked to accept, new expect files.

A pytest plugin that only the controlling process registers; results reach it on the items' reports, from any worker.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tabulate import tabulate

from sweep import files
from sweep.expect import expect_file as expect
from sweep.findings.finding import AGREES, FLAKY, KNOWN_BAD, NOT_CALLED, Result
from sweep.session import ROOT, Plan

#: Exit status of a run in which nothing is wrong but that some overloads gave two answers.
ONLY_FLAKY = 6

#: How a reason begins that leaves nothing to call.
_NO_KERNEL = "no kernel for"

_COLUMNS = ("namespace", "overloads", "called", "reach", "agree", "known-bad", "not called", "flaky", "new", "gone")

#: How many of the slowest overloads are named.
_SLOWEST = 10


@dataclass(frozen=True)
class Verdict:
    """What was found about an overload beside what was expected, both as an expect file has it."""

    result: Result
    expected: str
    found: str

    def as_json(self) -> dict[str, Any]:
        return {"result": self.result.as_json(), "expected": self.expected, "found": self.found}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Verdict:
        return cls(Result.from_json(plain["result"]), plain["expected"], plain["found"])

    @property
    def change(self) -> str:
        """``new``: it now disagrees, or is not called, as no file says; ``gone``: what a file says no longer holds; or empty.

        ``flaky``: two runs of it found different things, so neither counts.
        """
        if self.result.status == FLAKY:
            return FLAKY
        if self.expected == self.found:
            return ""
        return "gone" if self.found in (expect.AGREE_TEXT, expect.ABSENT_TEXT) and self.expected != expect.UNKNOWN_TEXT else "new"


class Report:
    """Collects verdicts and, at the end, writes and prints what they add up to."""

    def __init__(self, plan: Plan, *, accept: bool) -> None:
        self.plan = plan
        self.accept = accept
        self.verdicts: dict[str, Verdict] = {}
        self.broken: dict[str, str] = {}
        self.damaged = False
        self.stopped = False
        self.notes: list[str] = []

    # --- hooks ---

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Knows of a run that was stopped. The exit status need not: a second Ctrl-C comes before it is set."""
        self.stopped = True
        result = yield
        self.stopped = False
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        plain = getattr(report, "sweep", None)
        if plain is not None:
            verdict = Verdict.from_json(plain)
            self.verdicts[verdict.result.overload] = verdict
        elif report.failed:
            self.damaged |= getattr(report, "damage", None) is not None
            name = report.nodeid.partition("[")[2].removesuffix("]") or report.nodeid
            self.broken[name] = _reason(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.damaged:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if not self.verdicts:
            return
        try:
            self._finish(session, exitstatus)
        except OSError as error:
            self.notes.append(f"cannot write {error.filename} ({error.strerror}): expect files are as they were; run again")
            session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED

    def _finish(self, session: pytest.Session, exitstatus: int) -> None:
        self._write_run()
        whole = self._is_whole()
        wrong = {v.change for v in self.verdicts.values() if v.change == FLAKY or (v.change and not self.accept)}
        if wrong == {FLAKY} and not self.broken and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            session.exitstatus = ONLY_FLAKY
        if self.accept:
            # An item fails for what it found only if that is flaky; such a section stays as it is.
            finished = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.TESTS_FAILED)
            if self.stopped or self.broken or exitstatus not in finished:
                self.notes.append("nothing was accepted, since the run did not finish: expect files are as they were")
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
            else:
                with files.locked(Path(self.plan.results)):  # another run may be accepting its own part
                    self._accept(session, whole)
        elif not self.plan.expected:
            self.notes.append(self._no_expect_files())
            if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.verdicts:
            return
        write = terminalreporter.write_line
        terminalreporter.section("operator sweep")
        write(self._table())
        write("")
        for line in self._slowest():
            write(line)
        unexpected = [v for v in self._sorted() if v.change] if self.plan.expected and not self.accept else []
        for verdict in unexpected:
            other = f", then {_short(verdict.result.again)}" if verdict.result.again else ""
            write(f"{verdict.change:4} {verdict.result.overload}: {_short(verdict.expected)} -> {_short(verdict.found)}{other}")
        for name, why in sorted(self.broken.items()):
            write(f"not run {name}: {why}")
        if unexpected:
            which = None if self._is_whole() else "..."
            if len(unexpected) == 1:
                which = unexpected[0].result.overload
            write(f"{len(unexpected)} unexpected; to accept them: {self.plan.accept_command(which)}")
        for line in (*self.notes, *self._remarks()):
            write(line)

    # --- what it writes ---

    def _sorted(self) -> list[Verdict]:
        return [self.verdicts[name] for name in sorted(self.verdicts)]

    def _is_whole(self) -> bool:
        """Whether every overload that there is was run."""
        return set(self.plan.reasons) <= set(self.verdicts) and not self.broken

    def _write_run(self) -> None:
        known = [v.result for v in self._sorted() if v.found != expect.ABSENT_TEXT]
        lines = [json.dumps(r.as_json()) for r in known]
        files.replace(self.plan.run_folder() / "run.jsonl", "".join(f"{line}\n" for line in lines))

    def _accept(self, session: pytest.Session, whole: bool) -> None:
        folder = Path(self.plan.results)
        known = expect.load(folder)
        crossrefs = None if self.plan.all_crossrefs else self.plan.crossrefs
        if not known and not (whole and crossrefs is None):
            whole_run = dataclasses.replace(self.plan, all_crossrefs=True).accept_command()
            self.notes.append(f"nothing was accepted: {folder} has no expect files yet; make them all first: {whole_run}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        if whole and crossrefs is None:
            known = {}
        for name, verdict in sorted(self.verdicts.items()):
            namespace = name.partition(".")[0]
            if namespace not in known:
                known[namespace] = expect.ExpectFile(head=expect.head(namespace, self.plan.identity))
            text = verdict.found
            if verdict.change == FLAKY:
                self.notes.append(f"not accepted, since it is flaky: {name}")
                text = verdict.expected
            if text != expect.UNKNOWN_TEXT:
                known[namespace].put(name, text, crossrefs)
        known = {n: f for n, f in known.items() if f.overloads()}
        changed = expect.write(folder, known, whole=whole and crossrefs is None)
        for path in changed:
            self.notes.append(f"accepted: {_relative(path)}")
        if not changed:
            self.notes.append("accepted: nothing changed")

    # --- what it says ---

    def _no_expect_files(self) -> str:
        identity = self.plan.identity
        near = expect.nearest(Path(self.plan.results).parent.parent, identity)
        nearest = f"; the nearest there are: {_relative(near)}" if near else ""
        wanted = f"torch {identity['release']} on {identity['device_type']} in {_relative(Path(self.plan.results))}"
        return f"no expect files for {wanted}{nearest}. To make them: {self.plan.accept_command()}"

    def _table(self) -> str:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for verdict in self.verdicts.values():
            row = counts[verdict.result.overload.partition(".")[0]]
            if verdict.found != expect.ABSENT_TEXT:
                row["overloads"] += 1
                row[verdict.result.status] += 1
                row[_NO_KERNEL] += verdict.result.reason.startswith(_NO_KERNEL)
            if self.plan.expected and verdict.change != FLAKY:
                row[verdict.change] += 1
        rows = [self._row(n, c) for n, c in sorted(counts.items(), key=lambda item: (-item[1]["overloads"], item[0]))]
        if len(rows) > 1:
            rows.append(self._row("all", sum(counts.values(), Counter())))
        return tabulate(rows, headers=_COLUMNS)

    @staticmethod
    def _row(name: str, count: Counter[str]) -> tuple[str | int, ...]:
        called = count[AGREES] + count[KNOWN_BAD] + count[FLAKY]
        columns = (AGREES, KNOWN_BAD, NOT_CALLED, FLAKY, "new", "gone")
        callable_ = count["overloads"] - count[_NO_KERNEL]
        reach = f"{called / callable_:.0%}" if callable_ else ""
        return name, count["overloads"], called, reach, *(count[c] for c in columns)

    def _slowest(self) -> list[str]:
        slow = sorted((v.result for v in self.verdicts.values()), key=lambda r: -r.seconds)[:_SLOWEST]
        named = [f"{r.overload} {r.seconds:.1f} s" for r in slow if r.seconds >= 0.1]
        return ["slowest: " + ", ".join(named)] if named else []

    def _remarks(self) -> list[str]:
        remarks = []
        if self.plan.unknown:
            remarks.append(
                f"the corpus has calls of {self.plan.unknown} overloads that this torch does not know; they were left out"
            )
        try:
            differing = expect.differing_head(expect.load(Path(self.plan.results)), self.plan.identity)
        except expect.ExpectError as error:
            return [*remarks, str(error)]
        if differing is not None:
            here = expect.head("", self.plan.identity)[1]
            remarks.append(
                f"the expect files were written on another machine ({differing}; here: {here}): differences may come from that"
            )
        return remarks


def _reason(report: pytest.TestReport) -> str:
    """Why an item did not come to a verdict, in a line: what the exception says, or the last of what is said instead."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message).strip().partition("\n")[0]
    text = str(report.longrepr or "").strip().splitlines()  # of a worker that is gone, say
    return text[-1] if text else "no reason given"


def _short(text: str) -> str:
    """A section in one line: what each of its findings is about."""
    lines = [line for line in text.splitlines() if not line.startswith(" ")]
    return "; ".join(line.rsplit(": ", 1)[0] if ": " in line and "call" in line.rsplit(": ", 1)[-1] else line for line in lines)


def _relative(path: Path) -> str:
    try:
        return str(path.relative_to(ROOT))
    except ValueError:
        return str(path)
