"""Checkpoints: what the calls of one overload have shown so far, saved while the process lives.

A process that dies loses the mismatches since its last checkpoint and no more; its successor goes on from there. No torch: the
parent keeps the checkpoints and hands them back.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sweep.findings.finding import Claim, Key, Mismatch

#: Seconds between two checkpoints.
_INTERVAL = 0.5


@dataclass(frozen=True)
class Checkpoint:
    """What was observed since the checkpoint before.

    Attributes:
        following: position of the first call that is not done.
        mismatches: position of a call, crossref, form, mismatch; in order.
        compared: crossref -> number of calls that it compared.
        seconds: crossref -> time that it took.
    """

    following: int
    mismatches: tuple[tuple[int, str, str, Mismatch], ...]
    compared: dict[str, int]
    seconds: dict[str, float] = field(default_factory=dict)


class Observations:
    """The mismatches of the calls of one overload so far, with a checkpoint now and then.

    Args:
        checkpoints: those that earlier processes saved, in order.
        save: takes each new checkpoint.

    Attributes:
        start: position of the first call that is not done according to the checkpoints.
        mismatches: key -> position of a call -> its first mismatch of that key.
        refuted: the keys that some call refutes.
        compared: crossref -> number of calls that it compared.
        seconds: crossref -> time that it took.
    """

    def __init__(
        self, checkpoints: Sequence[Checkpoint] = (), save: Callable[[Checkpoint], None] = lambda checkpoint: None
    ) -> None:
        self.start = checkpoints[-1].following if checkpoints else 0
        self.mismatches: dict[Key, dict[int, Mismatch]] = {}
        self.refuted: set[Key] = set()
        self.compared: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._save = save
        for checkpoint in checkpoints:
            self.compared.update(checkpoint.compared)
            for crossref, seconds in checkpoint.seconds.items():
                self.seconds[crossref] += seconds
            for position, crossref, form, mismatch in checkpoint.mismatches:
                self._insert(position, crossref, form, mismatch)
        self._unsaved: list[tuple[int, str, str, Mismatch]] = []
        self._unsaved_compared: Counter[str] = Counter()
        self._unsaved_seconds: defaultdict[str, float] = defaultdict(float)
        self._last = time.perf_counter()

    def add(self, position: int, crossref: str, mismatch: Mismatch, form: str = "") -> None:
        """Adds a mismatch of a call, unless the call has one of the same key already, or its refutation, unless that is known."""
        if self._insert(position, crossref, form, mismatch):
            self._unsaved.append((position, crossref, form, mismatch))

    def count(self, crossref: str, *, compared: bool, seconds: float) -> None:
        """Counts what a crossref did with a call: whether it compared it, and the time."""
        if compared:
            self.compared[crossref] += 1
            self._unsaved_compared[crossref] += 1
        self.seconds[crossref] += seconds
        self._unsaved_seconds[crossref] += seconds

    def checkpoint(self, following: int, *, now: bool = False) -> None:
        """Saves what is unsaved if the last checkpoint is old enough.

        Args:
            following: position of the next call; everything before it is done.
            now: save in any case.
        """
        if now or time.perf_counter() - self._last > _INTERVAL:
            compared, seconds = dict(self._unsaved_compared), dict(self._unsaved_seconds)
            self._save(Checkpoint(following, tuple(self._unsaved), compared, seconds))
            self._unsaved = []
            self._unsaved_compared.clear()
            self._unsaved_seconds.clear()
            self._last = time.perf_counter()

    def _insert(self, position: int, crossref: str, form: str, mismatch: Mismatch) -> bool:
        key = Key.of(crossref, mismatch, form)
        if mismatch.claim is Claim.REFUTED:
            is_new = key not in self.refuted
            self.refuted.add(key)
            return is_new
        by_position = self.mismatches.setdefault(key, {})
        if position in by_position:
            return False
        by_position[position] = mismatch
        return True
