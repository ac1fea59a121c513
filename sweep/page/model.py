"""What the page shows, as plain data: every folder of expect files, people's notes, causes, the last runs, and what differs."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep import expect
from sweep.causes import causes_file
from sweep.causes.cause import Cause, Causes
from sweep.errors import UsageError
from sweep.expect import notes
from sweep.expect.difference import Difference, differences
from sweep.expect.known import Known, Standing
from sweep.expect.notes import Note
from sweep.report import run_jsonl
from sweep.report.model import Run
from sweep.report.run_jsonl import RunFileError


class Status(enum.Enum):
    """What the page says about an overload on a device in one word; the order is that of pictures."""

    AGREES = "agrees"
    KNOWN_BAD = "known-bad"
    UNSUPPORTED = "unsupported"
    NOT_CALLED = "not called"
    NO_KERNEL = "no kernel"

    def __str__(self) -> str:
        return self.value

    @property
    def css(self) -> str:
        """The class by which the style sheet knows it."""
        return self.value.replace(" ", "-")


_STATUSES = {
    Standing.AGREES: Status.AGREES,
    Standing.KNOWN_BAD: Status.KNOWN_BAD,
    Standing.UNSUPPORTED: Status.UNSUPPORTED,
    Standing.NOT_CALLED: Status.NOT_CALLED,
}


def status_of(known: Known) -> Status | None:
    """The status of an overload; ``None`` if there is no such overload."""
    if known.standing is Standing.NOT_CALLED and not known.has_kernel:
        return Status.NO_KERNEL
    return _STATUSES.get(known.standing)


@dataclass(frozen=True)
class Folder:
    """The results of one torch on one device.

    Attributes:
        release: torch's major and minor version.
        device: the folder's name, such as ``cpu`` or ``cpu-aarch64``.
        head: the line of its files that says which torch, device and instruction sets wrote them.
        overloads: overload -> what is said of it, sorted by name.
    """

    release: str
    device: str
    head: str
    overloads: Mapping[str, Known]

    @property
    def name(self) -> str:
        """Both names, as the commands take them: ``2.13/cpu``."""
        return f"{self.release}/{self.device}"


@dataclass(frozen=True)
class Changes:
    """What differs between two consecutive releases on a device.

    Attributes:
        old: the name of the older folder.
        new: the name of the newer one.
        differences: in the order of :func:`sweep.expect.difference.differences`.
    """

    old: str
    new: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Page:
    """Everything that the page shows.

    Attributes:
        folders: newest release first, then by device.
        notes: people's notes.
        changes: newest first.
        causes: folder name -> its causes; empty if they are not known.
        runs: folder name -> the last run that was compared with it.
        unreadable: why a file of a run was left out, a line each.
    """

    folders: tuple[Folder, ...]
    notes: tuple[Note, ...] = ()
    changes: tuple[Changes, ...] = ()
    causes: Mapping[str, Causes] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()

    def overloads(self) -> list[str]:
        """Every overload that a folder has, those of the largest namespace first, and then by name."""
        names = {overload for folder in self.folders for overload in folder.overloads}
        sizes = Counter(name.partition(".")[0] for name in names)

        def order(name: str) -> tuple[int, str]:
            return -sizes[name.partition(".")[0]], name

        return sorted(names, key=order)

    def causes_of(self, folder: Folder) -> list[Cause]:
        """The causes of a folder, those that explain most overloads first."""
        return self.causes.get(folder.name, Causes()).by_size()


def read(results: Path, work: Path | None = None, causes: Mapping[str, Causes] | None = None) -> Page:
    """What the page shows of a folder of results.

    Args:
        results: the folder of all expect files.
        work: the folder in which runs leave ``run.jsonl``; ``None`` leaves runs out.
        causes: as in :class:`Page`; ``None`` reads them from the files beside the expect files.

    Raises:
        UsageError: there are no expect files.
        CausesError, ExpectError, NotesError: a file cannot be parsed.
    """
    paths = expect.checked_in(results)
    if not paths:
        raise UsageError(
            f"no expect files in {expect.shown(results)}: make them with `make accept`, or name a folder with --results"
        )
    files = {path: expect.load(path) for path in paths}
    runs, unreadable = _runs(paths, work) if work is not None else ({}, [])
    newest_first = sorted(paths, key=lambda path: -[p.parent for p in paths].index(path.parent))
    return Page(
        folders=tuple(_folder(path, files[path]) for path in newest_first),
        notes=notes.read(results),
        changes=tuple(_changes(paths, files)),
        causes={_name(path): causes_file.load(path) for path in paths} if causes is None else causes,
        runs=runs,
        unreadable=tuple(unreadable),
    )


def _folder(path: Path, files: Mapping[str, expect.ExpectFile]) -> Folder:
    overloads = {overload: file.known(overload) for file in files.values() for overload in file.overloads()}
    head = next((file.head[1] for file in files.values() if len(file.head) > 1), f"results in {_name(path)}")
    return Folder(path.parent.name, path.name, head, dict(sorted(overloads.items())))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _changes(paths: Sequence[Path], files: Mapping[Path, Mapping[str, expect.ExpectFile]]) -> Iterator[Changes]:
    """The changes between consecutive releases of each device, newest first."""
    for at, new in reversed(list(enumerate(paths))):
        older = [path for path in paths[:at] if path.name == new.name]
        if older:
            yield Changes(_name(older[-1]), _name(new), tuple(differences(files[older[-1]], files[new])))


def _runs(paths: Sequence[Path], work: Path) -> tuple[dict[str, Run], list[str]]:
    """The last run of each folder, where there is one, and why a file of a run cannot be read."""
    runs: dict[str, Run] = {}
    unreadable = []
    for file in sorted(work.glob(f"*/*/{run_jsonl.NAME}")):
        try:
            run = run_jsonl.read(file)
        except RunFileError as error:  # of another version of the harness, for instance
            unreadable.append(str(error))
            continue
        compared = {Path(info.results).resolve() for info in run.infos}
        runs.update({_name(path): run for path in paths if path.resolve() in compared})
    return runs, unreadable
