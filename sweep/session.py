"""Everything that has to be true before the first item runs: a usable device, a fresh corpus, readable expect files, a selection.

Used by pytest (``conftest``) and by the commands (``__main__``) alike; never imports torch, which only the child does.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from sweep import crossref
from sweep.calls import corpus
from sweep.expect import expect_file as expect
from sweep.recording import record as recording
from sweep.isolation.sandbox import ChildError, Sandbox

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".sweep"
SCRATCH = WORK / "scratch"

#: What one child may have of the address space, in bytes.
MEMORY = 16 << 30


class UsageError(Exception):
    """The user asked for something that cannot be done; the message is one line that says what to do instead."""


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        device: such as ``cpu``, ``cuda``, ``cuda:1``.
        ops: globs of overloads; empty is all.
        crossrefs: names; empty is all.
        corpus: a folder of recorded calls to use as it is, or ``None`` for this torch's own.
        results: where expect files lie.
        timeout: seconds that one call may take.
        overload_timeout: seconds that the calls of one overload may take together; 0 is no limit.
        memory: bytes that one child process may use; 0 is no limit, ``None`` what is sensible on the device.
        libraries: modules whose operators are swept instead of torch's own.
        workers: how many processes record, where a corpus has to be made.
    """

    device: str = "cpu"
    ops: tuple[str, ...] = ()
    crossrefs: tuple[str, ...] = ()
    corpus: str | None = None
    results: str = str(ROOT / "results")
    timeout: float = 120.0
    overload_timeout: float = 900.0
    memory: int | None = None
    libraries: tuple[str, ...] = ()
    workers: int = field(default_factory=_cores)


@dataclass(frozen=True)
class Plan:
    """What one run does, as plain data that can travel to any worker.

    Attributes:
        identity: torch and device, as ``sweep.plan.identify`` gives them.
        corpus: the folder of recorded calls.
        own_corpus: whether that is the one that was made for this torch and device, rather than another one that was named.
        crossrefs: names, sorted.
        all_crossrefs: whether these are all there are.
        results: the folder of this torch's and device's expect files.
        reasons: overload -> why it is not called; empty for one that is. Holds every overload of this torch.
        selected: the overloads to run, sorted; those that only an expect file knows are among them.
        unknown: how many overloads the corpus has calls of that this torch does not know.
        expected: whether there are expect files to compare with.
        timeout: seconds that one call may take.
        overload_timeout: seconds that the calls of one overload may take together; 0 is no limit.
        memory: bytes that one child process may use; 0 is no limit.
    """

    identity: dict[str, Any]
    corpus: str
    own_corpus: bool
    crossrefs: list[str]
    all_crossrefs: bool
    results: str
    reasons: dict[str, str]
    selected: list[str]
    unknown: int
    expected: bool
    timeout: float
    overload_timeout: float
    memory: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def accept_command(self, overload: str | None = None) -> str:
        """The shell command that accepts what was found, about one overload or about all that there are."""
        options = {"--corpus": [] if self.own_corpus else [self.corpus], "--import": list(self.identity["libraries"])}
        base = Path(self.results).parent.parent  # of the folder of a torch and device
        options["--results"] = [] if base == Path(Options().results) else [str(base)]
        options["--crossref"] = [] if self.all_crossrefs else self.crossrefs
        device = self.identity["device"]
        if not any(options.values()):  # make can say it
            return "make accept" + (f" DEVICE={device}" if device != "cpu" else "") + (f" OPS={overload}" if overload else "")
        options |= {"--device": [device] if device != "cpu" else [], "--ops": [overload] if overload else []}
        given = [word for name, values in options.items() for value in values for word in (name, value)]
        return shlex.join(["EXPECTTEST_ACCEPT=1", "pytest", "-n", "auto", "sweep/", *given])

    def run_folder(self) -> Path:
        """Where a run leaves what it made: ``.sweep/2.13/cpu``."""
        return work_folder(self.identity)


def identify(device: str, libraries: Sequence[str] = ()) -> dict[str, Any]:
    """Which torch, device and libraries these are.

    Raises:
        UsageError: the device cannot be used, or a library not be imported.
    """
    with Sandbox(SCRATCH, libraries=libraries) as sandbox:
        return _identify(sandbox, device)


def _identify(sandbox: Sandbox, device: str) -> dict[str, Any]:
    try:
        return sandbox.request("sweep.operators.environment:identify", device=device)
    except ChildError as error:
        if error.name in ("DeviceError", "ModuleNotFoundError", "LibraryError"):
            raise UsageError(error.message) from None
        raise


def prepare(options: Options, out: TextIO = sys.stderr) -> Plan:
    """Checks everything, records a corpus if there is no fresh one, and says what to run.

    Raises:
        UsageError: something that the user asked for cannot be done; nothing was written.
    """
    if options.libraries and Path(options.results).resolve() == Path(Options().results).resolve():
        raise UsageError("--import needs --results DIR: a folder of its own for the expect files of those operators")
    try:
        crossrefs = crossref.check_names(list(options.crossrefs))
        with Sandbox(SCRATCH, libraries=options.libraries) as sandbox:
            identity = _identify(sandbox, options.device)
            results = expect.folder_of(Path(options.results), identity)
            files = expect.load(results)
            known = {o for file in files.values() for o in file.overloads()}
            inventory = sandbox.request("sweep.operators.environment:names")
            selected = select(sorted({*inventory, *known}), options.ops)
            folder, manifest = _corpus(options, identity, out)
            called = list(manifest["overloads"])
            refusals = manifest.get("refusals", {})
            reasons = sandbox.request(
                "sweep.operators.environment:reasons", device_type=identity["device_type"], called=called, refusals=refusals
            )
    except (crossref.UnknownCrossRef, expect.ExpectError, corpus.CorpusError) as error:
        raise UsageError(str(error)) from None
    return Plan(
        identity=identity,
        corpus=str(folder),
        own_corpus=options.corpus is None,
        crossrefs=crossrefs,
        all_crossrefs=crossrefs == crossref.names(),
        results=str(results),
        reasons=reasons,
        selected=selected,
        unknown=len(set(called) - set(reasons)),
        expected=bool(files),
        timeout=options.timeout,
        overload_timeout=options.overload_timeout,
        memory=memory_of(identity, options.memory),
    )


def select(names: Sequence[str], globs: Sequence[str]) -> list[str]:
    """The names that match at least one glob; all of them where there is no glob.

    Raises:
        UsageError: a glob matches none.

    >>> select(["aten.abs.default", "aten.abs.out", "prims.abs.default"], ["aten.*"])
    ['aten.abs.default', 'aten.abs.out']
    """
    for glob in globs:
        if not fnmatch.filter(names, glob):
            raise UsageError(f"no overload matches {glob!r}; `python -m sweep list` prints their names, as in aten.add.Tensor")
    return [n for n in names if not globs or any(fnmatch.fnmatchcase(n, g) for g in globs)]


def _corpus(options: Options, identity: dict[str, Any], out: TextIO) -> tuple[Path, dict[str, Any]]:
    """The corpus to use, made now if there is no fresh one."""
    if options.corpus is not None:
        folder = Path(options.corpus).resolve()
        return folder, corpus.read_manifest(folder)
    folder = corpus_folder(identity)
    with recording.locked(folder):
        if recording.is_fresh(folder, identity):
            return folder, corpus.read_manifest(folder)
        print(f"no corpus for torch {identity['torch']} on {identity['device']} made by these sources: recording one", file=out)
        return folder, recording.record(folder, identity, workers=options.workers, scratch=SCRATCH, out=out)


def work_folder(identity: dict[str, Any]) -> Path:
    """Where what runs make for a torch and device lies; imported libraries have one of their own."""
    folder = WORK / identity["release"] / identity["device_type"]
    return folder / "+".join(identity["libraries"]) if identity["libraries"] else folder


def corpus_folder(identity: dict[str, Any]) -> Path:
    """Where the corpus that is made for a torch and device lies."""
    return work_folder(identity) / "corpus"


def memory_of(identity: dict[str, Any], wanted: int | None = None) -> int:
    """How many bytes a child may use: of address space, or of an accelerator's memory."""
    if wanted is not None:
        return wanted
    return MEMORY if identity["device_type"] == "cpu" else recording.DEVICE_MEMORY


def address_space(identity: dict[str, Any], memory: int) -> int:
    """How many bytes of address space a child may have that may use so much memory; 0 is no limit.

    An accelerator's runtime reserves address space without end, so there the limit is its allocator's (see ``accelerator``).
    """
    return memory if identity["device_type"] == "cpu" else 0


def clean() -> None:
    """Removes everything that runs have made, corpora included; expect files stay."""
    shutil.rmtree(WORK, ignore_errors=True)
