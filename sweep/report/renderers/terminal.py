"""Renders the summary that pytest prints at the end of a run: two tables, the slowest overloads, what differs, and notes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tabulate import tabulate

from sweep.expect.verdict import Change, Verdict
from sweep.findings.finding import CALL, Finding, Status
from sweep.findings.reason import ReasonKind
from sweep.report.model import Row, Run, RunInfo

_COLUMNS = (
    "namespace",
    "overloads",
    "called",
    "coverage",
    "agree",
    "known-bad",
    "unsupported",
    "not called",
    "flaky",
    "new",
    "gone",
)
_CROSSREF_COLUMNS = ("crossref", "overloads", "calls", "findings", "known-bad", "unsupported", "seconds")

#: How many of the slowest overloads are named, and the seconds below which none is.
_SLOWEST = 10
_FAST = 0.1


def render(run: Run) -> str:
    """The summary of a run."""
    parts = [_settings(run), _table(run), *_crossref_table(run), *_slowest(run), *_differing(run), *_notes(run)]
    return "".join(f"{part}\n" for part in parts)


def _settings(run: Run) -> str:
    """A line per run: what it was."""
    lines = []
    for info in run.infos:
        part = f"shard {info.shard.part.shard}" if info.shard else "a part"
        extent = "all overloads and crossrefs" if info.whole else f"{part}, crossrefs {' '.join(info.crossrefs)}"
        torch = f"torch {info.torch} git {info.git}, {info.device}, {info.features}"
        lines.append(f"run {info.id}: {torch}; {extent}; {info.seconds:.0f} s")
    return "\n".join(lines) + "\n"


def _table(run: Run) -> str:
    """A table with a row per namespace and one for all."""
    counts: dict[str, _Counts] = defaultdict(_Counts)
    for row in run.rows:
        if row.verdict is not None:
            counts[row.namespace].add(row, row.verdict, expected=run.info(row).expected)
    rows = [each.row(name) for name, each in sorted(counts.items(), key=lambda item: (-item[1].overloads, item[0]))]
    if len(rows) > 1:
        total = _Counts()
        for each in counts.values():
            total.update(each)
        rows.append(total.row("all"))
    return tabulate(rows, headers=_COLUMNS) + "\n"


class _Counts:
    """Numbers of overloads of one namespace, by status and by change; one that does not exist has a change only."""

    def __init__(self) -> None:
        self.overloads = 0
        self.without_kernel = 0
        self.statuses: Counter[Status] = Counter()
        self.changes: Counter[Change] = Counter()

    def add(self, row: Row, verdict: Verdict, *, expected: bool) -> None:
        reason = verdict.result.reason
        if not verdict.absent:
            self.overloads += 1
            self.statuses[verdict.result.status] += 1
            self.without_kernel += reason is not None and reason.kind is ReasonKind.NO_KERNEL
        if expected and row.change is not None:
            self.changes[row.change] += 1

    def update(self, other: _Counts) -> None:
        self.overloads += other.overloads
        self.without_kernel += other.without_kernel
        self.statuses.update(other.statuses)
        self.changes.update(other.changes)

    def row(self, name: str) -> tuple[str | int, ...]:
        """A row of the table; coverage is the part that is called, of the overloads with a kernel for the device."""
        called = self.overloads - self.statuses[Status.NOT_CALLED]
        with_kernel = self.overloads - self.without_kernel
        coverage = f"{called / with_kernel:.0%}" if with_kernel else ""
        statuses = (Status.AGREES, Status.KNOWN_BAD, Status.UNSUPPORTED, Status.NOT_CALLED, Status.FLAKY)
        counts = [*(self.statuses[status] for status in statuses), self.changes[Change.NEW], self.changes[Change.GONE]]
        return name, self.overloads, called, coverage, *counts


def _crossref_table(run: Run) -> Iterator[str]:
    """A table with a row per crossref and one for the real calls, if anything was called."""
    counts: dict[str, _CrossRefCounts] = defaultdict(_CrossRefCounts)
    for row in run.rows:
        if row.verdict is None or row.verdict.absent:
            continue
        result = row.verdict.result
        if result.calls:
            counts[CALL].add_calls(result.calls, None)
        for crossref, calls in result.compared.items():
            counts[crossref].add_calls(calls, result.seconds_of.get(crossref))
        for crossref in {finding.crossref for finding in result.findings}:
            counts[crossref].add_findings([finding for finding in result.findings if finding.crossref == crossref])
    if counts:
        rows = [each.row(name) for name, each in sorted(counts.items(), key=lambda item: (item[0] != CALL, item[0]))]
        yield tabulate(rows, headers=_CROSSREF_COLUMNS) + "\n"


class _CrossRefCounts:
    """Numbers of one crossref: what it looked at, what it reported, and the time that it took."""

    def __init__(self) -> None:
        self.overloads = self.calls = self.findings = self.known_bad = self.unsupported = 0
        self.seconds: float | None = None

    def add_calls(self, calls: int, seconds: float | None) -> None:
        """Adds the calls of one overload that it compared."""
        self.overloads += 1
        self.calls += calls
        if seconds is not None:
            self.seconds = (self.seconds or 0.0) + seconds

    def add_findings(self, findings: list[Finding]) -> None:
        """Adds all its findings about one overload; it is unsupported if each of them is a refusal."""
        wrong = sum(not finding.is_refusal for finding in findings)
        self.findings += wrong
        self.known_bad += wrong > 0
        self.unsupported += wrong == 0

    def row(self, name: str) -> tuple[str | int, ...]:
        """A row of the table; real calls are timed with everything else of an overload, not by themselves."""
        seconds = "" if self.seconds is None else f"{self.seconds:.0f}"
        return name, self.overloads, self.calls, self.findings, self.known_bad, self.unsupported, seconds


def _slowest(run: Run) -> Iterator[str]:
    slow = [f"{result.overload} {result.seconds:.1f} s" for result in run.slowest(_SLOWEST) if result.seconds >= _FAST]
    if slow:
        yield "slowest: " + ", ".join(slow)


def _differing(run: Run) -> Iterator[str]:
    """A line per overload that differs from its baseline or was not run, with its notes; per run the number of the former."""
    differing = run.differing()
    for row in differing:
        if row.verdict is not None:
            yield f"{row.change!s:4} {row.overload}: {row.verdict.transition}"
            yield from (f"     {note}" for note in row.notes)
    for row in run.rows:
        if row.verdict is None:
            yield f"not run {row.overload}: {row.not_run}"
    for info in run.infos:
        changes = [row.change for row in differing if row.run == info.id]
        if changes:
            yield _count(info, changes)


def _count(info: RunInfo, changes: list[Change | None]) -> str:
    if set(changes) == {Change.FLAKY}:
        return f"{len(changes)} unexpected, all of them flaky: run again"
    if info.native_cpu:
        return f"{len(changes)} CPU-dependent: with all instruction sets of this CPU they differ from the baseline"
    return f"{len(changes)} unexpected; to accept them: {info.accept_command}"


def _notes(run: Run) -> Iterator[str]:
    yield from dict.fromkeys(note for info in run.infos for note in info.notes)
