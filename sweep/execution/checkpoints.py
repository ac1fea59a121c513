"""Checkpoints: what the calls of one overload have shown so far, saved while the process lives.

A process that dies loses the mismatches since its last checkpoint and no more; its successor goes on from there. No torch: the
parent keeps the checkpoints and hands them back.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sweep.findings.finding import Key, Mismatch

#: Seconds between two checkpoints.
_INTERVAL = 0.5


@dataclass(frozen=True)
class Checkpoint:
    """What was observed since the checkpoint before.

    Attributes:
        following: position of the first call that is not done.
        mismatches: position of a call, crossref, mismatch; in order.
        compared: crossref -> number of calls that it compared.
    """

    following: int
    mismatches: tuple[tuple[int, str, Mismatch], ...]
    compared: dict[str, int]


class Observations:
    """The mismatches of the calls of one overload so far, with a checkpoint now and then.

    Args:
        checkpoints: those that earlier processes saved, in order.
        save: takes each new checkpoint.

    Attributes:
        start: position of the first call that is not done according to the checkpoints.
        mismatches: key -> position of a call -> its first mismatch of that key.
        compared: crossref -> number of calls that it compared.
    """

    def __init__(
        self, checkpoints: Sequence[Checkpoint] = (), save: Callable[[Checkpoint], None] = lambda checkpoint: None
    ) -> None:
        self.start = checkpoints[-1].following if checkpoints else 0
        self.mismatches: dict[Key, dict[int, Mismatch]] = {}
        self.compared: Counter[str] = Counter()
        self._save = save
        for checkpoint in checkpoints:
            self.compared.update(checkpoint.compared)
            for position, crossref, mismatch in checkpoint.mismatches:
                self._insert(position, crossref, mismatch)
        self._unsaved: list[tuple[int, str, Mismatch]] = []
        self._unsaved_compared: Counter[str] = Counter()
        self._last = time.perf_counter()

    def add(self, position: int, crossref: str, mismatch: Mismatch) -> None:
        """Adds a mismatch of a call, unless the call has one of the same key already."""
        if self._insert(position, crossref, mismatch):
            self._unsaved.append((position, crossref, mismatch))

    def count(self, crossref: str) -> None:
        """Counts a call that a crossref has compared."""
        self.compared[crossref] += 1
        self._unsaved_compared[crossref] += 1

    def checkpoint(self, following: int, *, now: bool = False) -> None:
        """Saves what is unsaved if the last checkpoint is old enough.

        Args:
            following: position of the next call; everything before it is done.
            now: save in any case.
        """
        if now or time.perf_counter() - self._last > _INTERVAL:
            self._save(Checkpoint(following, tuple(self._unsaved), dict(self._unsaved_compared)))
            self._unsaved = []
            self._unsaved_compared = Counter()
            self._last = time.perf_counter()

    def _insert(self, position: int, crossref: str, mismatch: Mismatch) -> bool:
        by_position = self.mismatches.setdefault(Key.of(crossref, mismatch), {})
        if position in by_position:
            return False
        by_position[position] = mismatch
        return True
