"""Makes the corpus: hands tasks to recording processes, merges what they wrote, and puts it in place whole.

The result does not depend on how many processes there were: of the same call from several tasks the first task's is kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from opinfo_adapters import GUESSED, INCIDENTAL, STAGES
from sweep.calls import corpus
from sweep.crossref import LATE_IMPORTS
from sweep.recording.journal import Journal
from sweep.isolation.sandbox import ChildError, Died, Sandbox, each_done

_ROOT = Path(__file__).resolve().parent.parent

#: The modules of ``sweep`` that have a say in what is recorded.
_MODULES = ("accelerator", "calls", "corpus", "libraries", "overloads", "process_group", "process_state", "recording")
_SOURCES = (_ROOT / "opinfo_adapters", *(_ROOT / "sweep" / f"{name}.py" for name in _MODULES))

#: What a task may cost before it is given up, in seconds without a sign of life.
_TASK_TIMEOUT = 300.0

#: What one attempt of a derivation may cost, in seconds, and how many may kill their process before the rest is not tried.
#: On an accelerator the first call of a kind loads libraries and compiles kernels, in many processes at once.
_LIMITS = {"attempt": 10.0, "attempt on the cpu": 10.0}
_DEVICE_LIMITS = {"attempt": 90.0, "attempt on the cpu": 10.0}
_DEATHS = 4

#: What one process may have of an accelerator's memory, in bytes, for many share it.
DEVICE_MEMORY = 4 << 30

#: Endings that are the call's own doing. An abort may be the allocator's, which finds what another call has done.
_CRASHES = {f"crash {signal}" for signal in ("SIGSEGV", "SIGFPE", "SIGILL", "SIGBUS")}
_CORRUPTED = "crash SIGABRT"


def fingerprint(identity: dict[str, Any]) -> dict[str, Any]:
    """Everything that can change a corpus: torch, device, Python and numpy, and the sources that record.

    Which of several equal devices it was is not among that: a call says nothing of it.
    """
    kept = {k: identity[k] for k in ("torch", "git", "device_type", "capability", "python", "numpy", "libraries")}
    return {**kept, "sources": corpus.sources_digest(_SOURCES)}


def is_fresh(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether a corpus was made from just this torch, device and sources.

    Raises:
        sweep.corpus.CorpusError: there is one, and it is damaged.
    """
    if not (folder / corpus.MANIFEST).exists():
        return False
    return corpus.read_manifest(folder)["fingerprint"] == fingerprint(identity)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the one right to make a corpus in a folder; who comes second waits."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def record(
    folder: Path,
    identity: dict[str, Any],
    *,
    workers: int,
    scratch: Path,
    only: list[str] | None = None,
    out: TextIO = sys.stderr,
) -> dict[str, Any]:
    """Runs every task of every adapter and replaces the corpus in ``folder``.

    One that is stopped leaves what it has done to the next of the same torch, device, sources and tasks, which goes on from it.

    Args:
        folder: where the corpus goes.
        identity: what ``sweep.plan.identify`` says about torch and the device.
        workers: number of recording processes.
        scratch: where processes get their working folders.
        only: globs of the tasks to run, for a partial corpus.
        out: where progress is shown.

    Returns:
        The manifest.

    Raises:
        sweep.sandbox.ChildError: of a ``LookupError``, where a glob matches no task; the corpus is as it was.
        sweep.corpus.CorpusError: there is no room for it; what is done is kept, and the corpus is as it was.
    """
    try:
        return _record(folder, identity, workers, scratch, only, out)
    except OSError as error:
        where = error.filename or folder
        raise corpus.CorpusError(f"cannot write {where} ({error.strerror}): make room, and record again") from error


def _record(
    folder: Path, identity: dict[str, Any], workers: int, scratch: Path, only: list[str] | None, out: TextIO
) -> dict[str, Any]:
    made_from = fingerprint(identity)
    making, log = folder.with_name(f"{folder.name}.making"), folder.with_name(f"{folder.name}.log")
    resume = making.exists()
    with Journal(folder.with_name(f"{folder.name}.jsonl"), {"fingerprint": made_from, "only": only}, resume=resume) as journal:
        if resume and not journal.tasks:
            shutil.rmtree(making)
        try:
            manifest = _make(making, made_from, identity["device"], workers, scratch, only, journal, out)
        except BaseException:
            if journal.tasks:
                print(f"stopped; {len(journal.tasks)} tasks are done, and the next recording goes on from there", file=out)
            else:
                shutil.rmtree(making, ignore_errors=True)
            raise
        finally:
            log.write_text(journal.summary())
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(making, folder)
    shutil.rmtree(old, ignore_errors=True)
    calls = sum(o["calls"] for o in manifest["overloads"].values())
    print(
        f"recorded {calls} distinct calls of {len(manifest['overloads'])} overloads in {manifest['seconds']:.0f} s; "
        f"what could not be recorded: {log}",
        file=out,
    )
    return manifest


def _make(
    making: Path,
    made_from: dict[str, Any],
    device: str,
    workers: int,
    scratch: Path,
    only: list[str] | None,
    journal: Journal,
    out: TextIO,
) -> dict[str, Any]:
    """Makes a whole corpus in a folder, or goes on with it, and returns its manifest.

    In stages: samples and handwritten calls first, then what is derived from the calls that earlier stages have found. What tasks
    wrote is kept until the end, beside what it was merged into, which may have been left half done.
    """
    making.mkdir(parents=True, exist_ok=True)
    for merged in making.glob("*.npz"):
        merged.unlink()
    merger = _Merger(making)
    with ExitStack() as stack:
        libraries, modules = list(made_from["libraries"]), ("sweep.recording.tasks", *LATE_IMPORTS)
        limits = _LIMITS if made_from["device_type"] == "cpu" else _DEVICE_LIMITS
        sandboxes = [
            stack.enter_context(Sandbox(scratch, libraries=libraries, limits=limits, modules=modules)) for _ in range(workers)
        ]
        for stage in range(len(STAGES) + 1):
            shards = making / f"shards-{stage}"
            shards.mkdir(exist_ok=True)
            if stage >= len(journal.stages):
                started = time.monotonic()
                _run_tasks(sandboxes, stage, shards, device, only, journal, out)
                journal.finished(stage, time.monotonic() - started)
            merger.add(shards)
    for stage in range(len(STAGES) + 1):
        shutil.rmtree(making / f"shards-{stage}")
    manifest: dict[str, Any] = {
        "format": corpus.FORMAT,
        "fingerprint": made_from,
        "overloads": merger.written,
        "refusals": {name: why for name, why in journal.refusals().items() if name not in merger.written},
        "log": journal.counts(),
        "seconds": round(sum(journal.stages), 1),
    }
    (making / corpus.MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    return manifest


@dataclass(frozen=True)
class _Task:
    """One task that a process has.

    Attributes:
        at: its position among the tasks of its stage.
        name: its name.
        skip: attempts in it that are not to be made again, because they took a process with them.
        crashes: those that do so every time, of which calls are kept.
        confirm: the attempt of which that is to be seen, and how it ended the first time.
        stop: the first attempt that is not made any more, because too many took a process with them.
        fresh: whether it already had a process of its own, after one that others had used before it.
    """

    at: int
    name: str
    skip: tuple[int, ...] = ()
    crashes: tuple[int, ...] = ()
    confirm: tuple[int, str] | None = None
    stop: int | None = None
    fresh: bool = False

    def attempts(self) -> dict[str, Any]:
        """What the process is told about its attempts."""
        if self.confirm:
            return {"skip": self.skip, "only": self.confirm[0]}
        return {"skip": self.skip, "crashes": self.crashes, "stop": self.stop}

    def after(self, error: Died | ChildError) -> _Task | None:
        """The task once more after it ended so, or ``None`` if it is given up."""
        name, ending = (error.name, "") if isinstance(error, ChildError) else ("", error.ending)
        if ending == _CORRUPTED and not self.fresh:
            return replace(self, fresh=True)  # perhaps memory was damaged by a task before it
        if not error.phase.startswith("attempt") or name not in ("", "Unusable") or self.stop is not None:
            return None
        number = error.call
        if len(self.skip) >= _DEATHS:
            return replace(self, confirm=None, stop=number)  # what was accepted before it is kept
        if self.confirm:
            return self.confirmed(self.confirm == (number, ending))
        if ending in _CRASHES and error.phase == "attempt" and not self.name.startswith(f"{GUESSED}:") and not self.crashes:
            return replace(self, confirm=(number, ending))
        return replace(self, skip=(*self.skip, number))

    def confirmed(self, crashes: bool) -> _Task:
        """The task once it is known whether the attempt in question takes the process with it every time."""
        assert self.confirm is not None
        number = self.confirm[0]
        return replace(
            self, skip=(*self.skip, number), crashes=(*self.crashes, number) if crashes else self.crashes, confirm=None
        )


def _run_tasks(
    sandboxes: list[Sandbox], stage: int, shards: Path, device: str, only: list[str] | None, journal: Journal, out: TextIO
) -> None:
    """Runs those tasks of a stage that have not been, in several processes.

    One that kills its process costs only itself, or the attempt that did.
    """
    known = str(shards.parent)
    names = sandboxes[0].request("sweep.recording.tasks:list_tasks", device=device, stage=stage, known=known, only=only)
    tasks = [_Task(at, name) for at, name in enumerate(names)]
    waiting = deque(task for task in tasks if (stage, task.name) not in journal.tasks)
    found = sum(journal.tasks[stage, name].get("calls", 0) for name in names if (stage, name) in journal.tasks)
    progress = _Progress(STAGES[stage - 1] if stage else "recording", len(names), len(names) - len(waiting), out)
    running: dict[int, tuple[Sandbox, _Task, float]] = {}

    def give(sandbox: Sandbox) -> None:
        if waiting:
            task = waiting.popleft()
            arguments: dict[str, Any] = {
                "task": task.name,
                "device": device,
                "file": str(shards / f"{task.at:06}.npz"),
                "known": known,
                "attempts": task.attempts(),
                "memory": DEVICE_MEMORY,
            }
            running[id(sandbox)] = (sandbox, task, time.monotonic())
            sandbox.send("sweep.recording.tasks:run_task", **arguments)

    for sandbox in sandboxes:
        give(sandbox)
    while running:
        for sandbox in each_done([s for s, _, _ in running.values()], _TASK_TIMEOUT):
            _, task, started = running.pop(id(sandbox))
            again, done = None, {}
            try:
                done = sandbox.receive(timeout=_TASK_TIMEOUT)
            except (Died, ChildError) as error:
                if isinstance(error, ChildError):
                    sandbox.end_child()  # whatever it was in the middle of
                    if error.name == "CorpusError":
                        raise corpus.CorpusError(error.message) from None
                again = task.after(error)
                journal.replaced(stage, task.name, time.monotonic() - started, str(error).splitlines()[0][:200])
            else:
                if task.confirm:
                    again = task.confirmed(False)
            if again:
                waiting.appendleft(again)
            else:
                journal.ended(stage, task.name, time.monotonic() - started, done)
                found += done.get("calls", 0)
                progress.advance(f"{found} calls")
            give(sandbox)
    progress.close()


class _Merger:
    """Makes one file per overload out of one file per task, each call once, in the order of the tasks.

    Every process wrote the first so many incidental calls that it saw of an overload and dtype, with those that were asked for
    elsewhere and those that cannot be made again among them; so the first so many of all are there, whoever ran which task.

    Attributes:
        written: overload -> what the manifest says of its file.
    """

    def __init__(self, folder: Path) -> None:
        self.written: dict[str, dict[str, int]] = {}
        self._folder = folder
        self._seen: set[str] = set()
        self._incidental: dict[tuple[str, str], set[str]] = defaultdict(set)

    def add(self, shards: Path) -> None:
        """Adds the calls of one stage's files to those that are there."""
        calls: dict[str, list[dict[str, Any]]] = {}
        chunks: dict[str, list[bytes | memoryview]] = {}
        for shard in sorted(shards.glob("*.npz")):
            for call, chunk in corpus.read_file(shard):
                name, dtype, repeats = call["overload"], call.pop("incidental"), call.pop("repeats")
                if dtype is not None:
                    first = self._incidental[name, dtype]
                    if call["id"] in first or len(first) >= INCIDENTAL:
                        continue
                    first.add(call["id"])
                if call["id"] in self._seen or not repeats:
                    continue
                self._seen.add(call["id"])
                calls.setdefault(name, []).append(call)
                chunks.setdefault(name, []).append(chunk)
        for name in sorted(calls):
            path = self._folder / f"{name}.npz"
            for call, chunk in reversed(list(corpus.read_file(path)) if name in self.written else []):
                calls[name].insert(0, call)
                chunks[name].insert(0, chunk)
            size = corpus.write_file(path, calls[name], chunks[name])
            # What was derived from a guess is one: its source ends with that of the call it was derived from.
            guessed = sum(c["source"].rpartition(": ")[2] == GUESSED for c in calls[name])
            self.written[name] = {"calls": len(calls[name]), "guessed": guessed, "bytes": size}


class _Progress:
    """A line that is redrawn on a terminal, and one line per tenth elsewhere."""

    def __init__(self, title: str, total: int, done: int, out: TextIO) -> None:
        self.title, self.total, self.done, self.out = title, total, done, out
        self._started = time.monotonic()
        self._drawn = 0.0

    def advance(self, note: str) -> None:
        self.done += 1
        now = time.monotonic()
        share = self.done / max(self.total, 1)
        note = f"{note}  {now - self._started:.0f} s"
        if self.out.isatty():
            if now - self._drawn > 0.1 or self.done == self.total:
                self._drawn = now
                bar = "█" * int(30 * share)
                print(f"\r{self.title} {bar:░<30} {share:4.0%}  {note}", end="", file=self.out, flush=True)
        elif int(10 * share) != int(10 * (self.done - 1) / max(self.total, 1)):
            print(f"{self.title} {share:.0%}  {note}", file=self.out, flush=True)

    def close(self) -> None:
        if self.out.isatty():
            print(file=self.out)
