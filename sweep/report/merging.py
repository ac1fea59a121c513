"""Puts the shards of a sweep together, so that they end like one run over all of their overloads."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep import expect
from sweep.errors import MergeError
from sweep.expect import notes
from sweep.expect.folder import shown
from sweep.plan import RunSettings, corpus_folder, scratch_folder, work_folder
from sweep.report import run_jsonl
from sweep.report.conclusion import Conclusion
from sweep.report.model import Row, RunInfo, ShardInfo, new_id
from sweep.sharding import Part


@dataclass(frozen=True)
class ShardRun:
    """A run over a shard, as a ``run.jsonl`` has it.

    Attributes:
        path: the file.
        info: the run.
        shard: what it says about itself as a shard.
        rows: its rows.
    """

    path: Path
    info: RunInfo
    shard: ShardInfo
    rows: tuple[Row, ...]

    @property
    def part(self) -> Part:
        """Which shard it is, and of which sweep."""
        return self.shard.part

    def __str__(self) -> str:
        return f"shard {self.part.shard} of {self.info.started} ({shown(self.path)})"


def files_of(paths: Iterable[str]) -> list[Path]:
    """The files that a user names, each once: themselves, or every ``run.jsonl`` in a folder and the folders below it.

    Raises:
        MergeError: one does not exist, a folder has none, or none is named at all.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise MergeError(f"{path} does not exist")
        files = sorted(path.rglob(run_jsonl.NAME)) if path.is_dir() else [path]
        if not files:
            raise MergeError(f"{path} has no {run_jsonl.NAME}")
        found.update({file.resolve(): file for file in files})
    if not found:
        raise MergeError(f"nothing to merge: name the {run_jsonl.NAME} of every shard, or a folder that has them")
    return list(found.values())


def read(files: Iterable[Path]) -> list[ShardRun]:
    """The shards of one sweep by their number, all of them.

    Raises:
        RunFileError: a file cannot be read.
        MergeError: a file is not about a shard, or these are not the shards of one sweep, each once and unchanged.
    """
    shards = sorted((shard for file in files for shard in _shards_in(file)), key=lambda shard: shard.part.shard.number)
    _check_same_sweep(shards)
    _check_all_there(shards)
    return shards


def _shards_in(path: Path) -> list[ShardRun]:
    run = run_jsonl.read(path, remedy="run that shard again")
    shards = [
        ShardRun(path, info, info.shard, tuple(row for row in run.rows if row.run == info.id))
        for info in run.infos
        if info.shard is not None
    ]
    if not shards:
        raise MergeError(f"{shown(path)} is not about a shard: it was written by a run without --shard")
    return shards


def _check_same_sweep(shards: Sequence[ShardRun]) -> None:
    first = shards[0]
    for other in shards[1:]:
        counts = first.part.shard.count, other.part.shard.count
        difference = f"number of shards: {counts[0]} and {counts[1]}" if counts[0] != counts[1] else ""
        difference = difference or first.part.sweep.difference(other.part.sweep)
        if difference:
            raise MergeError(f"{first} and {other} are not of the same sweep: they differ in {difference}")


def _check_all_there(shards: Sequence[ShardRun]) -> None:
    for one, other in itertools.pairwise(shards):
        if one.part.shard == other.part.shard:
            raise MergeError(f"the same shard twice: {one}, {other}")
    count = shards[0].part.shard.count
    there = {shard.part.shard.number for shard in shards}
    missing = [str(number) for number in range(1, count + 1) if number not in there]
    if missing:
        raise MergeError(f"of {count} shards these are missing: {', '.join(missing)}")
    for shard in shards:
        if len(shard.rows) != shard.shard.rows:
            raise MergeError(f"a later run has replaced rows of {shard}: run it again")
    if not any(shard.rows for shard in shards):
        raise MergeError("no shard has run an overload: -k matches none")


def conclusion(shards: Sequence[ShardRun], results: Path, work: str, arguments: Sequence[str], *, accept: bool) -> Conclusion:
    """The end of the run that the shards are together.

    Args:
        shards: all shards of a sweep.
        results: the folder of all expect files.
        work: the folder of corpora and of what runs leave behind.
        arguments: the command line.
        accept: whether to accept the results.

    Raises:
        NotesError: the notes cannot be read.
        MergeError: the results are to be accepted, and were compared with other expect files than there are.
    """
    settings = _settings(shards, results, work)
    sweep = shards[0].part.sweep
    if accept and expect.digest(Path(settings.results)) != sweep.expect_files:
        folder = shown(Path(settings.results))
        raise MergeError(
            f"the shards were not compared with the expect files in {folder}: restore those, or run the shards again"
        )
    started = min(datetime.datetime.fromisoformat(shard.info.started) for shard in shards)
    info = RunInfo(
        id=new_id(started),
        started=started.isoformat(timespec="seconds"),
        seconds=round(sum(shard.info.seconds for shard in shards), 3),
        arguments=tuple(arguments),
    )
    rows = [row for shard in shards for row in shard.rows]
    return Conclusion(
        settings,
        info,
        {row.overload: row.verdict for row in rows if row.verdict is not None},
        {row.overload: row.not_run for row in rows if row.verdict is None},
        every_overload=sweep.every_overload and all(shard.shard.complete for shard in shards),
        accept=accept,
        finished=all(shard.shard.finished for shard in shards),
    )


def _settings(shards: Sequence[ShardRun], results: Path, work: str) -> RunSettings:
    first = shards[0]
    sweep = first.part.sweep
    return RunSettings(
        environment=sweep.environment,
        corpus=first.shard.corpus or str(corpus_folder(work, sweep.environment)),
        own_corpus=not first.shard.corpus,
        crossrefs=list(sweep.crossrefs),
        all_crossrefs=first.info.all_crossrefs,
        results=str(expect.folder_of(results, sweep.environment)),
        unknown=sweep.unknown,
        expected=first.info.expected,
        work=str(work_folder(work, sweep.environment)),
        scratch=str(scratch_folder(work)),
        notes=notes.read(results),
    )
