"""Preparing a run: a usable device, a fresh corpus, readable expect files, a selection; and the limits of its child processes.

Used by pytest (``plugin_hooks``) and by the ``commands`` alike. Runs in the parent; no torch.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from sweep import crossref, expect
from sweep.calls import corpus
from sweep.errors import UsageError
from sweep.expect import notes
from sweep.files import locked
from sweep.findings.reason import Reason
from sweep.isolation import instruction_sets
from sweep.isolation.sandbox import Sandbox
from sweep.operators.environment import Environment
from sweep.operators.overload import similar
from sweep.plan import Options, Plan, corpus_folder, scratch_folder, work_folder
from sweep.recording import record as recording
from sweep.recording.fingerprint import is_fresh, is_of
from sweep.sharding import Part, Shard, ShardedSweep, digest_of_corpus, digest_of_names

#: Default limit of a child's address space, in bytes.
MEMORY = 16 << 30


def prepare(options: Options, out: TextIO = sys.stderr) -> Plan:
    """Checks all that the user asked for, records a corpus if there is no fresh one, and plans the run.

    Raises:
        UserError: something cannot be done; no expect file was written.
    """
    check_combinations(options)
    crossrefs = crossref.check_names(options.crossrefs)
    people = notes.read(Path(options.results).resolve())
    with sandbox_for(options) as sandbox:
        environment: Environment = sandbox.request("sweep.operators.queries:environment", device=options.device)
        results = expect.folder_of(Path(options.results).resolve(), environment)
        files = expect.load(results)
        expected = {overload for file in files.values() for overload in file.overloads()}

        def check_selection() -> None:
            select(sorted({*sandbox.request("sweep.operators.queries:names"), *expected}), options.ops)

        folder, manifest = _corpus(options, environment, out, check_selection)
        reasons = _reasons(manifest, environment, sandbox)
        selected = select(sorted({*reasons, *expected}), options.ops)
    memory = memory_limit(environment, options.memory)
    unknown = len(set(manifest["overloads"]) - set(reasons))
    corpus_digest = digest_of_corpus(manifest)
    sweep = ShardedSweep(
        environment=environment,
        crossrefs=tuple(crossrefs),
        overloads=digest_of_names(selected),
        every_overload=set(reasons) <= set(selected),
        keyword=options.keyword,
        corpus=corpus_digest,
        unknown=unknown,
        expect_files=expect.digest(results),
        call_timeout=options.timeout,
        overload_timeout=options.overload_timeout,
        memory=memory,
    )
    return Plan(
        environment=environment,
        corpus=str(folder),
        own_corpus=options.corpus is None,
        crossrefs=crossrefs,
        all_crossrefs=crossrefs == crossref.names(),
        results=str(results),
        reasons=reasons,
        selected=_in_shard(selected, manifest, options.shard),
        unknown=unknown,
        expected=bool(files),
        timeout=options.timeout,
        overload_timeout=options.overload_timeout,
        memory=memory,
        native_cpu=options.native_cpu,
        work=str(work_folder(absolute_work(options), environment)),
        scratch=str(scratch_folder(absolute_work(options))),
        notes=people,
        baseline=files,
        corpus_digest=corpus_digest,
        part=None if options.shard is None else Part(options.shard, sweep),
    )


def _in_shard(names: list[str], manifest: Mapping[str, Any], shard: Shard | None) -> list[str]:
    """The overloads that a shard has of all that are selected; all of them for ``None``."""
    if shard is None:
        return names
    # Numbers of calls, unlike times, are the same on every machine.
    return shard.of({name: manifest["overloads"].get(name, {}).get("calls", 0) for name in names})


def check_combinations(options: Options) -> None:
    """Checks options that exclude or need each other.

    Raises:
        UsageError: they cannot be met together.
    """
    if options.libraries and Path(options.results).resolve() == Path(Options().results).resolve():
        raise UsageError("--import needs --results DIR: a folder of its own for the expect files of those operators")
    if options.native_cpu and options.accept:
        raise UsageError("--native-cpu compares this CPU with the baseline, which is what is accepted: accept without it")
    if options.shard is not None and options.accept:
        raise UsageError("a shard alone is not accepted: run all of them, then `python -m sweep merge DIR --accept`")


def select(names: Sequence[str], globs: Sequence[str]) -> list[str]:
    """The names that match at least one glob; all of them if there is no glob.

    Raises:
        UsageError: a glob matches none.

    >>> select(["aten.abs.default", "aten.abs.out", "prims.abs.default"], ["aten.*"])
    ['aten.abs.default', 'aten.abs.out']
    """
    for glob in globs:
        if not fnmatch.filter(names, glob):
            alike = similar(glob.rstrip("*"), names)
            hint = f"similar ones: {', '.join(alike)}" if alike else "`python -m sweep list` prints their names"
            raise UsageError(f"no overload matches {glob!r}; {hint}")
    return [n for n in names if not globs or any(fnmatch.fnmatchcase(n, glob) for glob in globs)]


def sandbox_for(options: Options, preloads: Sequence[str] = ()) -> Sandbox:
    """A sandbox for questions about torch, not yet started; its working folders lie in the user's work folder.

    Args:
        options: what the user asked for.
        preloads: as ``Sandbox`` has them.

    Raises:
        UsageError: the work folder cannot be written.
    """
    work = absolute_work(options)
    try:
        Path(work).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {work} ({error.strerror}): name another folder with --work-dir DIR") from None
    return Sandbox(scratch_folder(work), libraries=options.libraries, preloads=preloads, native_cpu=options.native_cpu)


def identify(options: Options) -> Environment:
    """The torch, device and libraries that the user asked for.

    Raises:
        UserError: the device cannot be used, a library not be imported, or the work folder not be written.
    """
    with sandbox_for(options) as sandbox:
        environment: Environment = sandbox.request("sweep.operators.queries:environment", device=options.device)
    return environment


def absolute_work(options: Options) -> str:
    """The user's work folder as an absolute path, since child processes work elsewhere."""
    return os.path.abspath(options.work)  # noqa: PTH100 - keeps symbolic links as the user wrote them


def recorded_corpus(options: Options, environment: Environment) -> Path:
    """The folder of the corpus that the user named, or of that of the torch and device."""
    return Path(options.corpus).resolve() if options.corpus else corpus_folder(absolute_work(options), environment)


def recording_environment(environment: Environment) -> Environment:
    """The environment that a corpus is recorded in: calls are always recorded with the baseline's instruction sets."""
    if environment.device_type != "cpu" or not environment.native_cpu:
        return environment
    return replace(environment, features=instruction_sets.baseline().name, native_cpu=False)


def _reasons(manifest: Mapping[str, Any], environment: Environment, sandbox: Sandbox) -> dict[str, Reason | None]:
    """Why each overload of this torch is not called; ``None`` for one that has recorded calls.

    The manifest says so if its corpus was recorded by these sources. Asking torch takes seconds, as its modules are imported.
    """
    if is_of(manifest, recording_environment(environment)):
        return {name: reason and Reason.from_json(reason) for name, reason in manifest["reasons"].items()}
    reasons: dict[str, Reason | None] = sandbox.request(
        "sweep.operators.queries:reasons",
        device_type=environment.device_type,
        called=list(manifest["overloads"]),
        refusals=manifest.get("refusals", {}),
    )
    return reasons


def _corpus(
    options: Options, environment: Environment, out: TextIO, check_selection: Callable[[], None]
) -> tuple[Path, dict[str, Any]]:
    """The folder and manifest of the corpus to use, which is recorded now if there is no fresh one.

    Args:
        options: what the user asked for.
        environment: the torch and device.
        out: takes progress.
        check_selection: raises a mistake in ``--ops``; called before a recording, which takes minutes.
    """
    folder = recorded_corpus(options, environment)
    if options.corpus is not None:
        return folder, corpus.read_manifest(folder)
    recorded_in = recording_environment(environment)
    with corpus_lock(folder):
        if is_fresh(folder, recorded_in):
            return folder, corpus.read_manifest(folder)
        check_selection()
        torch = f"torch {environment.torch} on {environment.device}"
        print(f"no corpus for {torch} recorded by these sources: recording one", file=out)
        scratch = scratch_folder(absolute_work(options))
        return folder, recording.record(folder, recorded_in, workers=options.workers, scratch=scratch, out=out)


def corpus_lock(folder: Path) -> AbstractContextManager[None]:
    """Exclusive lock on recording into a folder; blocks until it is free."""
    return locked(folder.with_name(f".{folder.name}-lock"))


def memory_limit(environment: Environment, wanted: int | None = None) -> int:
    """How many bytes a child may use: of address space, or of an accelerator's memory; 0 is no limit."""
    if wanted is not None:
        return wanted
    return MEMORY if environment.device_type == "cpu" else recording.DEVICE_MEMORY


def address_space(environment: Environment, memory: int) -> int:
    """How many bytes of address space a child may have that may use ``memory`` bytes; 0 is no limit.

    An accelerator's runtime reserves far more address space than it uses, so there the allocator is limited instead
    (see ``execution.accelerator``).
    """
    return memory if environment.device_type == "cpu" else 0
