"""Calls with pairs of mutations: a pairwise covering array over the parameters of a call, within a bounded number of calls.

Most wrong predictions need one argument to be unusual, or two at once; more than two hardly ever. One call of each overload is
varied in every parameter (see ``mutations``): first each by itself, except memory formats, which kernels hardly ever refuse; then
in pairs. Each call covers as many new pairs as possible, in the manner of AETG (Cohen et al., "The AETG system", 1997). If it is
refused, the first of its pairs is attempted alone; refused again, that pair counts as infeasible.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch

from opinfo_adapters.derived import tensor_variants
from opinfo_adapters.derived.mutations import Aspect, Mutation, mutated, of_arguments
from sweep.calls.call import COMBINED, Call
from sweep.operators.inventory import kind_of, resolve
from sweep.operators.overload import OverloadKind
from sweep.recording.attempts import Attempts
from sweep.recording.outcome import PairCounts
from sweep.recording.recorded import RecordedCalls

#: Largest number of variants of an overload that are kept; twice as many are attempted. In-place and out= overloads share nearly
#: everything with the functional one.
_KEPT, _KEPT_OF_FORMS = 160, 64

#: Mutations other than memory formats that one call may have beside its first pair.
_WIDEST = 3

#: The mutations of a call, at most one for each parameter.
Row = tuple[Mutation, ...]


#: Every overload that is called with a tensor.
tasks = tensor_variants.tasks


def run(task: str, recorded: RecordedCalls, attempts: Attempts) -> None:
    """Attempt variants of the selected call of one overload."""
    calls = tensor_variants.variable_calls(recorded, task)
    if calls:
        _Variants(task, resolve(task), recorded, attempts).run(calls)


class _Variants:
    """The variants of the calls of one overload."""

    def __init__(self, name: str, op: torch._ops.OpOverload, recorded: RecordedCalls, attempts: Attempts) -> None:
        self._op, self._recorded, self._attempts = op, recorded, attempts
        self._omitted = tensor_variants.OMITTED.get(name, set())
        self._kept = _KEPT_OF_FORMS if kind_of(op) in (OverloadKind.IN_PLACE, OverloadKind.OUT) else _KEPT
        self._left = 2 * self._kept

    def run(self, calls: list[Call]) -> None:
        """Attempts variants of the most suitable call until all pairs are covered or the limit is reached."""
        call = max(calls, key=_aptness)
        mutations = list(of_arguments(self._op, call, calls, self._recorded.device))
        formats = [m for m in mutations if m.is_format]
        others = sorted((m for m in mutations if not m.is_format), key=lambda m: m.aspect)  # options first
        others = [m for m in others if self._attempt(call, (m,))]
        pairs = _Pairs([*others, *formats])
        width = _WIDEST
        while (row := pairs.next_row(width)) and self._is_allowed():
            if self._attempt(call, row):
                pairs.cover(row)
                width = min(width + 1, _WIDEST)
                continue
            width = max(width - 1, 0)
            if len(row) > 2 and self._attempt(call, row[:2]):
                pairs.cover(row[:2])
            elif self._is_allowed():
                pairs.drop(row[:2])
        self._attempts.pairs = pairs.counts

    def _is_allowed(self) -> bool:
        return self._left > 0 and len(self._attempts.kept) < self._kept

    def _attempt(self, call: Call, row: Row) -> bool:
        """Attempts a call with some mutations, and returns whether it is accepted."""
        if not self._is_allowed() or not self._omitted.isdisjoint(m.variant for m in row):
            return False
        arguments = mutated(self._op, call, self._recorded.device, row)
        if arguments is None:
            return False
        self._left -= 1
        source = f"pairs {', '.join(map(str, row))}: {call.source}"
        variants = sorted({m.variant for m in row})
        variant = variants[0] if len(variants) == 1 else COMBINED
        return self._attempts(*arguments, source, variant, guessed=self._recorded.is_guess(call)) is None


def _aptness(call: Call) -> tuple[bool, int, int, int, str]:
    """How well a call suits to be varied: by its longer dimensions, three of each tensor at most, its options, and its size."""
    is_strided = not any("parts" in tensor for tensor in call.tensors)
    sizes = [tensor["size"] for tensor in call.tensors if tensor_variants.has_dimensions(tensor)]
    long = sum(min(sum(n > 1 for n in size), 3) for size in sizes[:3])
    return is_strided, long, len(call.args) + len(call.kwargs), -call.number_of_elements(), call.key()


class _Pairs:
    """The pairs of mutations that no call has yet.

    Args:
        mutations: all of them.
    """

    def __init__(self, mutations: Sequence[Mutation]) -> None:
        self._by_parameter: dict[tuple[str, Aspect], list[Mutation]] = defaultdict(list)
        for mutation in mutations:
            self._by_parameter[mutation.parameter].append(mutation)
        singles = [(m, m) for m in mutations if m.is_format]  # a pair with itself stands for the mutation alone
        pairs = [(a, b) for a, b in itertools.combinations(mutations, 2) if not a.excludes(b)]
        self._order = {mutation: at for at, mutation in enumerate(mutations)}
        self._waiting = dict.fromkeys([*singles, *pairs], True)
        self._of_formats = dict.fromkeys(pair for pair in self._waiting if pair[0].is_format and pair[1].is_format)
        self._of_others = dict.fromkeys(pair for pair in self._waiting if pair not in self._of_formats)
        self._rows = self._covered = self._infeasible = 0

    def next_row(self, width: int) -> Row:
        """The mutations of the next call; the first two are its first pair. Empty if all pairs are covered.

        Pairs of two memory formats and all others take turns as first pairs, so that neither has to wait for the other.

        Args:
            width: the number of mutations other than memory formats that it may have beside its first pair.
        """
        self._rows += 1
        turns = [self._of_others, self._of_formats] if self._rows % 2 else [self._of_formats, self._of_others]
        first = next((pair for turn in turns for pair in turn), None)
        if first is None:
            return ()
        row = list(dict.fromkeys(first))
        for parameter, mutations in self._by_parameter.items():
            is_format = parameter[1] is Aspect.FORMAT
            if any(mutations[0].excludes(m) for m in row) or not (is_format or width):
                continue
            gains = [(sum(self._pair(m, other) in self._waiting for other in row), -at) for at, m in enumerate(mutations)]
            gain, at = max(gains)
            if gain:
                row.append(mutations[-at])
                width -= not is_format
        return tuple(row)

    def cover(self, row: Row) -> None:
        """Notes that a call with these mutations is kept."""
        self._covered += self._remove(row)

    def drop(self, row: Row) -> None:
        """Notes that these mutations cannot be combined."""
        self._infeasible += self._remove(row)

    @property
    def counts(self) -> PairCounts:
        """How many pairs are covered, infeasible and left."""
        return PairCounts(self._covered, self._infeasible, len(self._waiting))

    def _remove(self, row: Row) -> int:
        removed = [pair for pair in self._pairs(row) if self._waiting.pop(pair, None)]
        for pair in removed:
            (self._of_formats if pair in self._of_formats else self._of_others).pop(pair)
        return len(removed)

    def _pairs(self, row: Row) -> Iterator[tuple[Mutation, Mutation]]:
        yield from ((m, m) for m in row)
        yield from (self._pair(a, b) for a, b in itertools.combinations(row, 2))

    def _pair(self, one: Mutation, other: Mutation) -> tuple[Mutation, Mutation]:
        return (one, other) if self._order[one] <= self._order[other] else (other, one)
