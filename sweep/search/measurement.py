"""What the known calls of overloads reach, as children measure it. Runs in the parent; no torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from sweep.errors import MissingExtraError, SweepError
from sweep.files import replace as replace_file
from sweep.isolation.sandbox import Sandbox
from sweep.recording.progress_bar import ProgressBar
from sweep.search import pool
from sweep.search.pool import Job
from sweep.search.stored import Stored
from sweep.search.table import Reached, Table

#: What a fork server of measuring children imports.
PRELOADS = ("sweep.search.work:import_places", "sweep.operators.registrations:import_all")

#: Seconds that one call may take.
TIMEOUT = 30.0

#: After this many deaths the calls of an overload that come later are not measured.
_MAX_DEATHS = 5


def check_installed() -> None:
    """Checks that the library that measures is there.

    Raises:
        MissingExtraError: it is not.
    """
    if importlib.util.find_spec("coverage") is None:
        raise MissingExtraError("measuring branches needs the library coverage: pip install 'operator-sweep[search]'")


@dataclass
class Measurement:
    """What the known calls of some overloads reach.

    Attributes:
        sandboxes: the processes to use.
        corpus: folder of the recorded calls.
        places: the files that are measured, as in ``measuring.table_of``.
        folder: where the table and what was measured are kept.
        searched: the searched calls.
        out: takes progress.
        reached: what each overload reaches, once it is measured.
        table: all branches of those files.
        root: the folder from which the names of files count.
    """

    sandboxes: Sequence[Sandbox]
    corpus: Path
    places: Sequence[str]
    folder: Path
    searched: Stored
    out: TextIO
    reached: dict[str, Reached] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table_file = self.folder / "branches.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        path = str(self.table_file)
        self.root = Path(self.sandboxes[0].request("sweep.search.work:make_table", places=tuple(self.places), path=path))
        self.table = Table.load(self.table_file)
        self._deaths: dict[str, set[int]] = {}

    def run(self, names: Iterable[str]) -> None:
        """Measures the overloads whose calls have changed since the last time, or that were never measured."""
        cache = self.folder / "reached.json"
        known = _read(cache)
        digests = {name: self._digest(name) for name in names}
        fresh = {name for name, digest in digests.items() if known.get(name, {}).get("digest") == digest}
        self.reached = {name: Reached.from_json(known[name]) for name in fresh}
        waiting = sorted(digests.keys() - fresh, reverse=True)
        if not waiting:
            return
        bar = ProgressBar("measured", len(waiting), 0, self.out)
        together = self.everything()
        done: set[str] = set()

        def finished(job: Job, result: dict[str, object]) -> None:
            own = self.reached.setdefault(job.name, Reached())
            own.add(Reached.from_json(result))
            together.add(own)
            done.add(job.name)
            bar.advance(self.summary(together).text())

        try:
            pool.run(self.sandboxes, lambda: self._job(waiting.pop()) if waiting else None, finished, self._died, TIMEOUT)
        finally:  # a measurement that is stopped goes on from here
            bar.close()
            new = {name: {"digest": digests[name], **self.reached[name].as_json()} for name in sorted(done)}
            replace_file(cache, json.dumps({**known, **new}))

    def everything(self) -> Reached:
        """What all measured overloads together reach."""
        together = Reached()
        for reached in self.reached.values():
            together.add(reached)
        return together

    def summary(self, together: Reached) -> Summary:
        """The numbers of branches, of what some calls reach together."""
        return Summary(len(together.branches), len(self.table.within(together.functions)))

    def common(self) -> dict[str, Any]:
        """The arguments that every job has."""
        return {"folder": str(self.corpus), "places": tuple(self.places), "table": str(self.table_file)}

    def _job(self, name: str) -> Job:
        return Job("sweep.search.work:measure", name, {**self.common(), "searched": self.searched.get(name, [])})

    def _died(self, job: Job, error: SweepError) -> Job | None:
        """Goes on behind a call that ended its process, with what was reached before."""
        own = self.reached.setdefault(job.name, Reached())
        start = job.arguments.get("start", 0)
        for at, reached in error.checkpoints:
            own.add(Reached.from_json(reached))
            start = at + 1
        skip = {*job.arguments.get("skip", ()), error.call}
        if error.call < 0 or len(skip) > _MAX_DEATHS:
            return None  # what was reached so far counts
        return replace(job, arguments={**job.arguments, "start": start, "skip": sorted(skip)})

    def _digest(self, name: str) -> str:
        """Digest of all that decides what an overload reaches."""
        path = self.corpus / f"{name}.npz"
        stat = path.stat() if path.exists() else None
        known = (name, stat and (stat.st_size, stat.st_mtime_ns), self.searched.get(name), self.table.digest())
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Summary:
    """Numbers of branches.

    Attributes:
        reached: those that some prediction reaches.
        total: those of the functions that some prediction enters.
    """

    reached: int
    total: int

    def text(self) -> str:
        share = f" ({self.reached / self.total:.1%})" if self.total else ""
        return f"{self.reached} of {self.total} branches{share}"


def _read(path: Path) -> dict[str, Any]:
    """What an earlier measurement has kept; nothing if there is none that can be read."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return kept
