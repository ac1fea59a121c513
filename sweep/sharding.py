"""Shards: the parts of a sweep that several jobs or hosts run, each by itself. Merging them is in ``report.merging``."""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.errors import UsageError
from sweep.operators.environment import Environment


@dataclass(frozen=True)
class Shard:
    """One of the parts of a sweep.

    Attributes:
        number: which one, from 1.
        count: how many there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that a user names.

        Raises:
            UsageError: it is not of the form ``2/8``, or the number is not between 1 and the count.

        >>> Shard.parse("2/8")
        Shard(number=2, count=8)
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--shard {text}: write K/N with K from 1 to N, as --shard 2/8 for the second of eight shards")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, weights: Mapping[str, int]) -> list[str]:
        """The names that this shard has, sorted.

        Every name is in exactly one shard of a count. Each name, the heaviest first, goes to the shard that weighs least so far.

        Args:
            weights: name -> how much it weighs.

        >>> weights = {"a": 3, "b": 2, "c": 2, "d": 0}
        >>> Shard(1, 2).of(weights), Shard(2, 2).of(weights)
        (['a', 'd'], ['b', 'c'])
        """
        loads = [(0, number) for number in range(1, min(self.count, len(weights)) + 1)]
        names = []
        for name in sorted(weights, key=lambda name: (-weights[name], name)):
            load, number = loads[0]
            heapq.heapreplace(loads, (load + weights[name], number))
            if number == self.number:
                names.append(name)
        return sorted(names)


@dataclass(frozen=True)
class ShardedSweep:
    """What shards have in common if they are parts of one sweep: all that decides about its results.

    Attributes:
        environment: torch, device and libraries.
        crossrefs: names, sorted.
        overloads: digest of the names of the overloads that the shards divide among them.
        every_overload: whether these are all of this torch.
        keyword: pytest's ``-k``.
        corpus: digest of the recorded calls (see :func:`digest_of_corpus`).
        unknown: number of overloads in the corpus that this torch does not have.
        expect_files: digest of the expect files that results are compared with.
        call_timeout: seconds that one call may take.
        overload_timeout: seconds that the calls of one overload may take together; 0 is no limit.
        memory: bytes that one child process may use; 0 is no limit.
    """

    environment: Environment
    crossrefs: tuple[str, ...]
    overloads: str
    every_overload: bool
    keyword: str
    corpus: str
    unknown: int
    expect_files: str
    call_timeout: float
    overload_timeout: float
    memory: int

    def difference(self, other: ShardedSweep) -> str:
        """What differs between this sweep and another, as in ``torch: 2.13.0 and 2.12.1``; empty if nothing does."""
        return difference(self.environment, other.environment) or difference(self, other)


@dataclass(frozen=True)
class Part:
    """A shard, and the sweep that it is a part of."""

    shard: Shard
    sweep: ShardedSweep


def difference(one: Any, other: Any) -> str:
    """The first field in which two dataclasses differ, and both of its values; empty if they are equal."""
    for field in dataclasses.fields(one):
        values = getattr(one, field.name), getattr(other, field.name)
        if values[0] != values[1]:
            return f"{field.name.replace('_', ' ')}: {values[0]} and {values[1]}"
    return ""


def digest_of_names(names: Sequence[str]) -> str:
    """Digest of some names, in that order."""
    return _digest(list(names))


def digest_of_corpus(manifest: Mapping[str, Any]) -> str:
    """Digest of what the manifest of a corpus says of each file: how many calls it has, of which kinds, and its size."""
    return _digest(manifest["overloads"])


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
