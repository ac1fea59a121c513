"""Pointwise operators on the same elements at other positions: each alone, as in a scalar tail, and among many, as in a vector.

The elements are special values of the arguments' dtypes in all combinations. A call's own elements play no part, so a verdict
holds for all calls of an overload with the same dtypes and other arguments.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from sweep.calls.tensors import is_strided
from sweep.crossref.common.comparison import Tolerance, unequal
from sweep.crossref.common.protocol import DoesNotApply, PreparedCall
from sweep.crossref.common.values import word
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import Mismatch, Place
from sweep.findings.kind import Difference

#: Lengths are multiples of this, so that no vector loop has a tail: 64 bytes of the smallest dtype, unrolled four times.
_MULTIPLE = 256

#: Length of a vector without a full vector register. A single element will not do: kernels treat it as a number, of which they
#: keep more digits.
_FEW = 3

#: Most combinations of elements; of more, every n-th is taken.
_COMBINATIONS = 256

#: Operators that cannot be given every element (torch 2.13).
_EXEMPT = {
    "aten::lcm": "divides the smallest integer by -1, which ends the process",
    **dict.fromkeys(
        [f"aten::special_{shifted}chebyshev_polynomial_{kind}" for shifted in ("", "shifted_") for kind in "tuvw"],
        "returns a variable that it has not written to for NaN",
    ),
    "aten::special_laguerre_polynomial_l": "takes as many steps as an element says",
    "aten::special_legendre_polynomial_p": "takes as many steps as an element says",
}

_INF, _NAN = float("inf"), float("nan")
_REALS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, _INF, -_INF, _NAN)
_COMPLEX_PARTS = (0.0, -0.0, 1.5, -_INF, _NAN)


@functools.cache
def _elements(dtype: torch.dtype) -> tuple[bool | int | float | complex, ...]:
    """Special values of a dtype."""
    if dtype is torch.bool:
        return (False, True)
    if dtype.is_complex:
        return tuple(complex(re, im) for re in _COMPLEX_PARTS for im in _COMPLEX_PARTS)
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        return (*_REALS, info.max, info.min, info.tiny, info.smallest_normal * info.eps, info.eps)
    limits = torch.iinfo(dtype)
    small = (0, 1, 2, 3, 7) if limits.min == 0 else (0, 1, -1, 2, -3, 7)
    return (*small, limits.min, limits.max)


def mismatches(call: PreparedCall) -> list[Mismatch]:
    """Lists the outputs of which an element has another value among others than alone.

    Raises:
        DoesNotApply: the operator does not accept vectors of special values in place of the call's tensors.
    """
    if call.op._schema.name in _EXEMPT:
        raise DoesNotApply(_EXEMPT[call.op._schema.name])
    leaves, structure = tree_flatten(call.arguments())
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    if not tensors or not all(is_strided(tensor) for tensor in tensors):
        raise DoesNotApply("takes no strided tensor")
    combinations = _combinations([tensor.dtype for tensor in tensors])

    def results(columns: Sequence[Sequence[Any]], stride: int = 1) -> list[torch.Tensor]:
        vectors = iter(_vector(column, t, stride) for column, t in zip(columns, tensors, strict=True))
        new = [next(vectors) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(new, structure)
        try:
            result = call.op(*args, **kwargs)
        except ProcessUnusableError:
            raise
        except Exception as error:
            raise DoesNotApply(f"refuses special values: {type(error).__name__}") from None
        return [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]

    length = -(-len(combinations) // _MULTIPLE) * _MULTIPLE
    padded = [combinations[at % len(combinations)] for at in range(length)]
    columns = list(zip(*padded, strict=True))
    among = results(columns)
    if not all(is_strided(result) and result.shape == (length,) for result in among):
        raise DoesNotApply("does not return an element for each element")
    separate = [results([[value] * _FEW for value in combination]) for combination in combinations]
    alone = [torch.stack([each[at][0] for each in separate]) for at in range(len(among))]
    found = [_compared(at, alone[at], result, combinations) for at, result in enumerate(among)]
    apart = [_compared(at, alone[at], result, combinations) for at, result in enumerate(results(columns, stride=2))]
    return [mismatch for both in zip(found, apart, strict=True) for mismatch in (both[0] or both[1])]


def _vector(column: Sequence[Any], like: torch.Tensor, stride: int) -> torch.Tensor:
    """A vector of some elements, of the dtype and device of a tensor."""
    vector = torch.tensor(column, dtype=like.dtype, device=like.device)
    return vector.repeat_interleave(stride)[::stride] if stride > 1 else vector


def _combinations(dtypes: Sequence[torch.dtype]) -> list[tuple[Any, ...]]:
    """Combinations of elements, one of each dtype: all, or evenly many of them."""
    every = list(itertools.product(*(_elements(dtype) for dtype in dtypes[:3])))
    every = [(*combination, *combination[-1:] * (len(dtypes) - 3)) for combination in every]
    step = -(-len(every) // _COMBINATIONS)
    return every[:: step if step % 2 else step + 1]  # an odd step does not keep to a few elements of the last dtype


def _compared(output: int, alone: torch.Tensor, among: torch.Tensor, combinations: Sequence[tuple[Any, ...]]) -> list[Mismatch]:
    """The mismatch of one output, which shows the first element that differs."""
    among = among[: len(combinations)]
    wrong = unequal(alone, among, Tolerance())
    if not wrong.any():
        return []
    at = int(wrong.nonzero()[0])
    given = ", ".join(map(repr, combinations[at]))
    predicted, actual = (f"{word(tensor[at])} for {given}" for tensor in (alone, among))
    return [Mismatch(Place(output=output), Difference.VALUE, None, predicted, actual)]
