"""A run as plain data: a row per overload and what the run was. Files of it are in ``run_jsonl``, text in ``renderers``."""

from __future__ import annotations

import dataclasses
import datetime
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sweep.expect.expect_file import merge
from sweep.expect.verdict import Change, Verdict
from sweep.findings.finding import CALL, Finding, Result, ordered
from sweep.findings.reason import ReasonKind
from sweep.sharding import Part


def new_id(started: datetime.datetime) -> str:
    """A new id of a run: its start time, in UTC, and a random suffix."""
    return f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class ShardInfo:
    """What a run over a shard says about itself to whoever merges it with the others.

    Attributes:
        part: the shard, and what all of them have in common.
        rows: how many rows the run has.
        complete: every overload of the shard has a result.
        finished: the run came to its end.
        corpus: the folder of recorded calls if the user named one, or empty.
    """

    part: Part
    rows: int
    complete: bool
    finished: bool
    corpus: str = ""


@dataclass(frozen=True)
class RunInfo:
    """The settings of one run, and what it said about itself.

    Attributes:
        id: start time and a random suffix, as in ``20260131T120000Z-1f9c``.
        started: start time in UTC, in ISO 8601.
        seconds: wall-clock time, in seconds.
        torch: torch's version.
        git: the commit that torch was built from.
        device: such as ``cpu``, ``cuda:1``.
        features: the CPU's instruction sets or the accelerator's name.
        native_cpu: whether calls used all instruction sets of the CPU, not those of the baseline.
        crossrefs: names, sorted.
        all_crossrefs: whether these are all that are registered.
        arguments: the command line.
        results: the folder of the expect files.
        whole: every overload was run under every crossref.
        expected: there were expect files to compare with.
        accepted: the results were accepted.
        expired: a note has expired, which fails the run.
        accept_command: the shell command that accepts what is unexpected.
        notes: lines for the user.
        shard: which part of a sharded sweep it was; ``None`` if it was none.
    """

    id: str
    started: str = ""
    seconds: float = 0.0
    torch: str = ""
    git: str = ""
    device: str = ""
    features: str = ""
    native_cpu: bool = False
    crossrefs: tuple[str, ...] = ()
    all_crossrefs: bool = True
    arguments: tuple[str, ...] = ()
    results: str = ""
    whole: bool = True
    expected: bool = True
    accepted: bool = False
    expired: bool = False
    accept_command: str = ""
    notes: tuple[str, ...] = ()
    shard: ShardInfo | None = None


@dataclass(frozen=True)
class Row:
    """What is reported about one overload.

    Attributes:
        overload: qualified name; of an item that is no overload, its node id.
        run: the id of the last run that was over it.
        verdict: its result and baseline; ``None`` if the item failed before it had one.
        not_run: in that case, why, in one line.
        crossref_runs: crossref -> the id of the run that its findings are from.
        accepted: whether the result was accepted.
        notes: people's notes on it, a line each.
    """

    overload: str
    run: str
    verdict: Verdict | None = None
    not_run: str = ""
    crossref_runs: Mapping[str, str] = field(default_factory=dict)
    accepted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def change(self) -> Change | None:
        """How the result differs from the baseline; ``None`` if it does not, or if there is no result."""
        return self.verdict.change if self.verdict is not None else None

    @property
    def namespace(self) -> str:
        """The namespace of the overload."""
        return self.overload.partition(".")[0]


@dataclass(frozen=True)
class Run:
    """One run, or several runs of which each was over a part.

    Attributes:
        infos: by start time.
        rows: by overload.
    """

    infos: tuple[RunInfo, ...]
    rows: tuple[Row, ...]

    def info(self, row: Row) -> RunInfo:
        """The last run that was over a row."""
        return next(info for info in self.infos if info.id == row.run)

    def differing(self) -> list[Row]:
        """The rows that differ from a baseline that there is, and were not accepted."""
        expected = {info.id for info in self.infos if info.expected}
        return [row for row in self.rows if row.change is not None and row.run in expected and not row.accepted]

    def slowest(self, number: int) -> list[Result]:
        """The results that took longest, slowest first."""
        results = (row.verdict.result for row in self.rows if row.verdict is not None)
        return sorted(results, key=lambda result: (-result.seconds, result.overload))[:number]

    def updated(self, part: Run) -> Run:
        """This run with the rows of a later one.

        A run over every overload and crossref replaces everything. Any other replaces the rows of its overloads; under some
        crossrefs only, the findings of these.
        """
        [info] = part.infos
        if info.whole:
            return part
        rows = {row.overload: row for row in self.rows}
        for row in part.rows:
            if not info.all_crossrefs and row.overload in rows:
                row = _merged_rows(rows[row.overload], row, info.crossrefs)
            rows[row.overload] = row
        used = {name for row in rows.values() for name in (row.run, *row.crossref_runs.values())}
        # A shard may have no row at all, and is there all the same until it is run again.
        empty = [i for i in self.infos if i.shard and not i.shard.rows and not (info.shard and i.shard.part == info.shard.part)]
        infos = {i.id: i for i in (*self.infos, info) if i.id in used or i in empty or i is info}
        return Run(
            tuple(sorted(infos.values(), key=lambda i: (i.started, i.id))),
            tuple(rows[overload] for overload in sorted(rows)),
        )


def _merged_rows(old: Row, new: Row, crossrefs: Collection[str]) -> Row:
    """A row after a run under some crossrefs: what others found stays."""
    if old.verdict is None or new.verdict is None or new.verdict.absent:
        return new
    return dataclasses.replace(
        new,
        verdict=Verdict(
            _merged_results(old.verdict.result, new.verdict.result, crossrefs),
            merge(_baseline(old, old.verdict), _baseline(new, new.verdict), crossrefs),
            merge(old.verdict.actual, new.verdict.actual, crossrefs),
        ),
        crossref_runs={**old.crossref_runs, **new.crossref_runs},
        accepted=old.accepted and new.accepted,
    )


def _baseline(row: Row, verdict: Verdict) -> str:
    """What the expect file said once the row's run was over."""
    return verdict.actual if row.accepted else verdict.expected


def _merged_results(old: Result, new: Result, crossrefs: Collection[str]) -> Result:
    """A result after a run under some crossrefs; it is flaky if what both runs found now differs from what both reruns did."""
    merged = _merged_once(old, new, crossrefs)
    if old.rerun is None and new.rerun is None:
        return merged
    rerun = _merged_once(old.rerun or old, new.rerun or new, crossrefs)
    return dataclasses.replace(merged, rerun=None if rerun.findings == merged.findings else rerun)


def _merged_once(old: Result, new: Result, crossrefs: Collection[str]) -> Result:
    if old.reason is not None:
        return dataclasses.replace(new, rerun=None)

    def of_others(replaced: Collection[str]) -> list[Finding]:
        return [finding for finding in old.findings if finding.crossref not in replaced]

    compared = {name: calls for name, calls in old.compared.items() if name not in crossrefs}
    seconds = {name: time for name, time in old.seconds_of.items() if name not in crossrefs}
    if new.reason is None:
        findings = ordered([*of_others({*crossrefs, CALL}), *new.findings])
        compared, seconds = {**compared, **new.compared}, {**seconds, **new.seconds_of}
        return dataclasses.replace(new, findings=findings, compared=compared, seconds_of=seconds, rerun=None)
    if new.reason.kind is ReasonKind.EXEMPT:  # from these crossrefs only; no real call was made
        findings = ordered(of_others(crossrefs))
        return dataclasses.replace(old, findings=findings, compared=compared, seconds_of=seconds, rerun=None)
    return new
