"""The search over many overloads: which is searched next, for how long, and what is kept. Runs in the parent; no torch."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from sweep.errors import SweepError
from sweep.search import pool
from sweep.search.measurement import TIMEOUT, Measurement
from sweep.search.pool import Job
from sweep.search.stored import Stored
from sweep.search.table import Found, SearchResult

#: Mutated calls that one search of an overload tries, and the seconds after which it stops earlier.
_ATTEMPTS, _SECONDS = 400, 15.0

#: After so many searches in a row that found nothing, an overload is not searched again.
_FRUITLESS = 3

#: An overload is not searched again once so many mutated calls of one search have ended their process.
_MAX_DEATHS = 5

#: Seconds between two lines of progress.
_INTERVAL = 30.0


class Driver:
    """Searches overloads, the most promising first, until the time is over or nothing more is found.

    An overload promises as much as there are branches that no call reaches in the functions that its predictions enter, each
    counted in proportion to how few overloads enter its function.

    Args:
        measurement: what known calls reach.
        names: the overloads to search.
        out: takes progress.

    Attributes:
        found: the calls that were found, by overload.
    """

    def __init__(self, measurement: Measurement, names: Sequence[str], out: TextIO) -> None:
        self._measurement, self._out = measurement, out
        self.found: Stored = {}
        self._together = measurement.everything()
        self._entering = Counter(f for reached in measurement.reached.values() for f in reached.functions)
        self._branches_of: dict[int, set[int]] = {}
        for number, branch in enumerate(measurement.table.branches):
            self._branches_of.setdefault(branch.function, set()).add(number)
        self._rounds: Counter[str] = Counter()
        self._fruitless: Counter[str] = Counter()
        self._heap = [(-self._promise(name), name) for name in names]
        heapq.heapify(self._heap)
        self._end, self._shown = 0.0, 0.0
        self._tried = 0

    def run(self, seconds: float) -> None:
        """Searches for some time.

        Args:
            seconds: how long.

        Raises:
            ChildFailedError: a search has a bug.
        """
        self._end = time.monotonic() + seconds
        self._shown = time.monotonic()
        pool.run(self._measurement.sandboxes, self._following, self._finished, self._died, TIMEOUT)

    def _promise(self, name: str) -> float:
        """What an overload promises, less after each search that found nothing."""
        functions = self._measurement.reached[name].functions
        reached = self._together.branches
        open_branches = sum(
            len(self._branches_of.get(function, set()) - reached) / self._entering[function] for function in functions
        )
        return open_branches / (1 + self._fruitless[name])

    def _following(self) -> Job | None:
        """The search of the overload that promises most now."""
        while self._heap and time.monotonic() < self._end:
            promised, name = heapq.heappop(self._heap)
            promise = self._promise(name)
            if not promise:
                continue
            if promise < -promised:  # others have reached some of its branches since
                heapq.heappush(self._heap, (-promise, name))
                continue
            return self._job(name)
        return None

    def _job(self, name: str) -> Job:
        known = self._measurement
        arguments = {
            **known.common(),
            "searched": [*known.searched.get(name, []), *self.found.get(name, [])],
            "reached": sorted(self._together.branches),
            "functions": sorted(known.reached[name].functions),
            "round_number": self._rounds[name],
            "attempts": _ATTEMPTS,
            "seconds": max(1.0, min(_SECONDS, self._end - time.monotonic())),
        }
        return Job("sweep.search.work:search", name, arguments)

    def _finished(self, job: Job, result: SearchResult) -> None:
        self._tried += result.tried
        self._keep(job.name, result.found)

    def _keep(self, name: str, found: Sequence[Found]) -> None:
        """Keeps what was found, unless another process has reached the same meanwhile, and queues the overload again."""
        new = 0
        for one in found:
            if not self._together.branches.issuperset(one.branches):
                self._together.branches.update(one.branches)
                self.found.setdefault(name, []).append(one.call)
                new += 1
        self._rounds[name] += 1
        self._fruitless[name] = 0 if new and self._fruitless[name] < _FRUITLESS else self._fruitless[name] + 1
        if self._fruitless[name] < _FRUITLESS:
            heapq.heappush(self._heap, (-self._promise(name), name))
        self._show()

    def _died(self, job: Job, error: SweepError) -> Job | None:
        """Goes on behind the mutated call that ended its process; what was found before counts."""
        found = (*job.arguments.get("found", ()), *(one for _, one in error.checkpoints))
        skip = {*job.arguments.get("skip", ()), error.call}
        if error.call < 0 or len(skip) > _MAX_DEATHS or time.monotonic() > self._end:
            self._fruitless[job.name] += _FRUITLESS if len(skip) > _MAX_DEATHS else 0
            self._keep(job.name, found)
            return None
        return replace(job, arguments={**job.arguments, "found": found, "skip": sorted(skip), "start": error.call + 1})

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown < _INTERVAL:
            return
        self._shown = now
        calls = sum(map(len, self.found.values()))
        text = self._measurement.summary(self._together).text()
        print(f"{text}; {calls} calls found, {self._tried} tried; {self._end - now:.0f} s left", file=self._out, flush=True)
