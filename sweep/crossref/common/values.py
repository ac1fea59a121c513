"""Mismatches of values: which of them say something about the operator, and not about rounding, chance or unwritten memory."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from sweep.crossref.common import memory
from sweep.crossref.common.comparison import Outcome, Tolerance, tensors_of, unequal
from sweep.crossref.common.protocol import PreparedCall
from sweep.crossref.common.reference import Reference, wrong_elements
from sweep.findings.finding import Mismatch, Place
from sweep.findings.kind import Difference


class Judged(enum.Enum):
    """The side that has to be as good as the other one, where a reference in double precision decides."""

    PREDICTED = enum.auto()
    ACTUAL = enum.auto()


def confirmed(
    call: PreparedCall,
    predicted: Outcome,
    mismatches: list[Mismatch],
    tolerance: Tolerance,
    makers: Sequence[Callable[[], Outcome]],
    actual: Outcome | None = None,
    *,
    reference: PreparedCall | None,
    judged: Judged,
    unstable: Callable[[Sequence[torch.Tensor]], torch.Tensor | None] = memory.changes,
) -> list[Mismatch]:
    """Drops mismatches of values that show nothing.

    Left out are elements that are not the same whenever either side is computed again, be it for chance or for memory that no
    kernel wrote to, and, where rounding is no mistake, elements that a reference in double precision confirms.

    Args:
        call: the call.
        predicted: the predicted outcome.
        mismatches: what a comparison of the outcomes came to.
        tolerance: its tolerance.
        makers: compute the outcome of each side again.
        actual: the actual outcome, if it is not that of the call.
        reference: the call whose outcome in double precision decides between two that round differently; ``None`` if they must
            not.
        judged: the side that is judged by it.
        unstable: which elements to leave out, given the outcome in each of ``memory.runs``.
    """
    doubted = {mismatch.place for mismatch in mismatches if mismatch.kind is Difference.VALUE}
    if not doubted:
        return mismatches
    actual = actual or call.actual
    double = Reference(reference) if reference is not None else None
    pairs = _pairs(call.op, predicted, actual, doubted)
    if not pairs:  # a number, not a tensor
        return mismatches
    changing = [_changing(call.op, make, [index for index, *_ in pairs], unstable) for make in makers]
    shown: dict[Place, tuple[str, str]] = {}
    for at, (index, place, p, a) in enumerate(pairs):
        kept = torch.ones_like(a, dtype=torch.bool)
        for masks in changing:
            left_out = masks[at]
            kept = torch.zeros_like(kept) if left_out is None or left_out.shape != kept.shape else kept & ~left_out
        one, other = (p, a) if judged is Judged.PREDICTED else (a, p)
        if double is None:
            mask = unequal(p, a, tolerance) & kept
        else:
            mask = wrong_elements(one, other, double.at(index), tolerance, kept)
        if mask.any():
            first = tuple(int(index) for index in mask.nonzero()[0])
            shown.setdefault(place, (_element(p, first), _element(a, first)))
    return [_shown(m, shown) for m in mismatches if m.kind is not Difference.VALUE or m.place in shown]


def _shown(mismatch: Mismatch, elements: dict[Place, tuple[str, str]]) -> Mismatch:
    """A mismatch of values with the first element that differs."""
    if mismatch.kind is not Difference.VALUE:
        return mismatch
    predicted, actual = elements[mismatch.place]
    return replace(mismatch, predicted=f"{mismatch.predicted}, {predicted}", actual=f"{mismatch.actual}, {actual}")


def _element(tensor: torch.Tensor, index: tuple[int, ...]) -> str:
    """An element and its index as text: ``[0, 2] is nan``."""
    return f"[{', '.join(map(str, index))}] is {word(tensor[index])}"


def word(element: torch.Tensor) -> str:
    """An element as text: an integer as it is, a floating-point number only by its class.

    >>> word(torch.tensor(3)), word(torch.tensor(0.1)), word(torch.tensor(complex(0, float("nan"))))
    ('3', 'a number', '(0.0, nan)')
    """
    value = element.item()
    if isinstance(value, complex):
        return f"({_class(value.real)}, {_class(value.imag)})"
    return _class(value) if isinstance(value, float) else repr(value)


def _class(value: float) -> str:
    if math.isfinite(value) and value:
        return "a number"
    return str(value)


def _pairs(
    op: torch._ops.OpOverload, predicted: Outcome, actual: Outcome, places: set[Place]
) -> list[tuple[int, Place, torch.Tensor, torch.Tensor]]:
    """The tensors at some places whose values can be compared: position among all, place, predicted and actual one."""
    both = zip(tensors_of(op, predicted), tensors_of(op, actual), strict=False)
    return [
        (index, place, p, a)
        for index, ((_, p), (place, a)) in enumerate(both)
        if place in places and p.dtype == a.dtype and p.shape == a.shape
    ]


def _changing(
    op: torch._ops.OpOverload,
    make: Callable[[], Outcome],
    indices: Sequence[int],
    unstable: Callable[[Sequence[torch.Tensor]], torch.Tensor | None],
) -> list[torch.Tensor | None]:
    """For each tensor of an outcome, the elements that change when it is computed again; ``None`` if all do."""
    results = memory.runs(lambda: [tensor for _, tensor in tensors_of(op, make())])
    fewest = min(len(result) for result in results)
    return [unstable([result[index] for result in results]) if index < fewest else None for index in indices]
