"""The recording of a corpus as a whole: stages in order, resuming, and putting the result in place. No torch.

Running tasks lives in ``scheduler``, putting their calls together in ``merge``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from sweep.calls import corpus
from sweep.crossref import LATE_IMPORTS
from sweep.errors import CorpusError
from sweep.findings.reason import Reason
from sweep.isolation.sandbox import Sandbox
from sweep.operators.environment import Environment
from sweep.recording.fingerprint import fingerprint, is_fresh
from sweep.recording.index import INDEX
from sweep.recording.journal import Journal
from sweep.recording.merge import Merger
from sweep.recording.scheduler import ACCELERATOR_LIMITS, DEVICE_MEMORY, LIMITS, Scheduler
from sweep.recording.stages import STAGES, title

__all__ = ["DEVICE_MEMORY", "fingerprint", "is_fresh", "record"]


def record(
    folder: Path,
    environment: Environment,
    *,
    workers: int,
    scratch: Path,
    only: list[str] | None = None,
    pairs: bool = False,
    out: TextIO = sys.stderr,
) -> dict[str, Any]:
    """Run every task of every adapter and derivation, and replace the corpus in a folder.

    A recording that is stopped keeps what it has done; the next one with the same fingerprint and tasks resumes from there.

    Args:
        folder: where the corpus goes; the journal and the log go beside it.
        environment: the torch and the device to record.
        workers: number of recording processes.
        scratch: where processes get their working folders.
        only: globs of the tasks to run, for a partial corpus.
        pairs: also derive calls that combine unusual arguments in pairs.
        out: where progress is shown.

    Returns:
        The manifest.

    Raises:
        UnknownTaskError: a glob matches no task; the corpus is unchanged.
        CorpusError: the corpus cannot be written, because the disk is full for instance; finished tasks are kept, and the corpus
        is
            unchanged.
    """
    try:
        return _Recording(folder, environment, workers, scratch, only, out, pairs=pairs).run()
    except OSError as error:
        path = error.filename or folder
        raise CorpusError(f"cannot write {path} ({error.strerror}): make room, and record again") from error


class _Recording:
    """One recording. Arguments as for :func:`record`."""

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        workers: int,
        scratch: Path,
        only: list[str] | None,
        out: TextIO,
        *,
        pairs: bool,
    ) -> None:
        self._folder, self._environment, self._workers = folder, environment, workers
        self._scratch, self._only, self._out = scratch, only, out
        self._making = folder.with_name(f"{folder.name}.making")
        self._log = folder.with_name(f"{folder.name}.log")
        self._fingerprint = fingerprint(environment)
        self._stages = range(len(STAGES) + pairs)  # stage 0 are the adapters, and pairs come last

    def run(self) -> dict[str, Any]:
        """Record, or resume, and put the corpus in place."""
        resume = self._making.exists()
        identity = {"fingerprint": self._fingerprint, "only": self._only, "stages": len(self._stages)}
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with Journal(self._folder.with_name(f"{self._folder.name}.jsonl"), identity, resume=resume) as journal:
            if resume and not journal.tasks:
                shutil.rmtree(self._making)
            try:
                manifest = self._make(journal)
            except BaseException:  # KeyboardInterrupt too
                self._stop(journal)
                raise
            finally:
                self._log.write_text(journal.summary())
        self._put_in_place()
        calls = sum(overload["calls"] for overload in manifest["overloads"].values())
        print(
            f"recorded {calls} distinct calls of {len(manifest['overloads'])} overloads in {manifest['seconds']:.0f} s; "
            f"log of what could not be recorded: {self._log}",
            file=self._out,
        )
        return manifest

    def _make(self, journal: Journal) -> dict[str, Any]:
        """Make the corpus in a folder of its own, and return its manifest.

        The shards of finished stages are kept until the end: a merge that was interrupted is done again from them.
        """
        self._making.mkdir(parents=True, exist_ok=True)
        for merged in self._making.glob("*.npz"):
            merged.unlink()
        merger = Merger(self._making)
        with ExitStack() as stack:
            sandboxes = [stack.enter_context(self._sandbox()) for _ in range(self._workers)]
            for stage in self._stages:
                shards = self._shards(stage)
                shards.mkdir(exist_ok=True)
                if stage >= len(journal.stages):
                    started = time.monotonic()
                    scheduler = Scheduler(sandboxes, stage, self._making, self._environment.device, journal, self._out)
                    scheduler.run(shards, self._only)
                    journal.finish_stage(stage, time.monotonic() - started)
                merger.add(shards, title(stage))
            overloads = merger.overloads()
            refusals = {name: refusal for name, refusal in journal.refusals().items() if name not in overloads}
            reasons = self._reasons(sandboxes[0], list(overloads), refusals)
        for stage in self._stages:
            shutil.rmtree(self._shards(stage))
        (self._making / INDEX).unlink()
        for name in merger.index.keys() - overloads.keys():  # nothing of it returned: it is not called, and says why
            (self._making / f"{name}.npz").unlink()
        manifest: dict[str, Any] = {
            "format": corpus.FORMAT,
            "fingerprint": self._fingerprint,
            "overloads": overloads,
            "refusals": refusals,
            "reasons": {name: reason and reason.as_json() for name, reason in reasons.items()},
            "log": journal.counts(),
            "seconds": round(sum(journal.stages), 1),
        }
        (self._making / corpus.MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        return manifest

    def _reasons(self, sandbox: Sandbox, called: list[str], refusals: dict[str, str]) -> dict[str, Reason | None]:
        """Why each overload of this torch is not called; ``None`` for one that is."""
        device_type = self._environment.device_type
        reasons: dict[str, Reason | None] = sandbox.request(
            "sweep.operators.queries:reasons", device_type=device_type, called=called, refusals=refusals
        )
        return reasons

    def _sandbox(self) -> Sandbox:
        return Sandbox(
            self._scratch,
            libraries=list(self._environment.libraries),
            limits=LIMITS if self._environment.device_type == "cpu" else ACCELERATOR_LIMITS,
            preloads=("sweep.recording.tasks", *LATE_IMPORTS, "sweep.operators.registrations:import_all"),
            native_cpu=self._environment.native_cpu,
        )

    def _shards(self, stage: int) -> Path:
        return self._making / f"shards-{stage}"

    def _stop(self, journal: Journal) -> None:
        """Keep what is worth resuming from."""
        if journal.tasks:
            print(f"stopped after {len(journal.tasks)} tasks; the next recording resumes from there", file=self._out)
        else:
            shutil.rmtree(self._making, ignore_errors=True)

    def _put_in_place(self) -> None:
        """Replace the corpus by the new one."""
        old = self._folder.with_name(f"{self._folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self._folder.exists():
            os.rename(self._folder, old)
        os.rename(self._making, self._folder)
        shutil.rmtree(old, ignore_errors=True)
