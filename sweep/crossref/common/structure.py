"""Structure of a call: what of its arguments decides how symbolic sizes propagate through the operator.

A symbol has no value that an operator could see other than by a guard, so calls of one structure nearly always have the same
outcome. Running each is out of reach: one call with symbolic sizes costs as much as a hundred real ones.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sweep.calls.call import Unrecordable
from sweep.calls.codec import signature

#: Of calls with more tensors, which have them in lists, only the number of tensors is an aspect.
_FEW = 8


@dataclass(frozen=True)
class Structure:
    """The structure of one call.

    Attributes:
        identity: equal for two calls if their arguments other than tensors are the same, and for each tensor which sizes are 0, 1
            or equal to which other, which sizes the strides are products of, the storages that tensors share, and whether it is
            complex, floating point, integral or bool.
        aspects: what a call may be the first of its overload to have: a class of arguments other than tensors, ranks with empty
            and with non-contiguous tensors, and kinds of dtypes.
    """

    identity: Hashable
    aspects: frozenset[Hashable]


def structure_of(args: Sequence[Any], kwargs: dict[str, Any]) -> Structure | None:
    """The structure of a call on strided tensors; ``None`` if an argument has no plain form, so that no two calls compare."""
    tensors: list[torch.Tensor] = []
    plain = [_without_tensors(value, tensors) for value in args]
    named = {name: _without_tensors(value, tensors) for name, value in kwargs.items()}
    try:
        others = signature(plain, named)
    except Unrecordable:
        return None
    kinds = tuple([_kind_of(tensor.dtype) for tensor in tensors])
    identity = others, kinds, _patterns(tensors)
    if len(tensors) > _FEW:
        return Structure(identity, frozenset([("tensors", len(tensors))]))
    shapes = tuple([(tensor.dim(), 0 in tensor.shape, tensor.is_contiguous()) for tensor in tensors])
    classes = _class_of(plain), tuple([(name, _class_of(named[name])) for name in sorted(named)])
    return Structure(identity, frozenset([("others", classes), ("kinds", kinds), ("shapes", shapes)]))


def _class_of(value: Any) -> Hashable:
    """The class of a value: bools, strings and the like by themselves, integers by their sign, every other number by its type."""
    if isinstance(value, list | tuple):
        return tuple([_class_of(v) for v in value])
    if isinstance(value, int) and not isinstance(value, bool):
        return (value > 0) - (value < 0)
    return type(value).__name__ if isinstance(value, float | complex) else str(value)


def _without_tensors(value: Any, tensors: list[torch.Tensor]) -> Any:
    """A value with a placeholder for each tensor, which is appended to a list."""
    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return "tensor"
    if isinstance(value, list | tuple):
        return type(value)([_without_tensors(v, tensors) for v in value])
    return value


def _kind_of(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "floating point"
    if dtype.is_complex:
        return "complex"
    return "bool" if dtype is torch.bool else "integral"


def _patterns(tensors: Sequence[torch.Tensor]) -> Hashable:
    """What is symbolic about some tensors: equal for two calls in which the same sizes, strides and offsets share symbols."""
    symbols: dict[int, str] = {}

    def symbol(number: int) -> int | str:
        return number if number < 2 else symbols.setdefault(number, f"s{len(symbols)}")

    storages: dict[int, int] = {}
    patterns = []
    for tensor in tensors:
        size, stride = tensor.shape, tensor.stride()
        patterns.append(
            (
                tuple([symbol(n) for n in size]),
                _stride_pattern(size, stride, symbol),
                symbol(tensor.storage_offset()),
                storages.setdefault(tensor.untyped_storage()._cdata, len(storages)),
                tensor.is_conj(),
                tensor.is_neg(),
            )
        )
    return tuple(patterns)


def _stride_pattern(size: Sequence[int], stride: Sequence[int], symbol: Any) -> tuple[Any, ...]:
    """Of each stride, the dimension that it is contiguous to, or its symbol, as ``ShapeEnv`` infers them."""
    last = len(size) - 1
    pattern: list[Any] = [None] * len(size)
    product_of: dict[int, int] = {}
    for step, minus_at in sorted([(step, -at) for at, step in enumerate(stride)]):
        at = -minus_at
        is_contiguous = at != last and step == size[at + 1] * stride[at + 1]
        if step in product_of and (step > 1 or is_contiguous):
            pattern[at] = ("after", product_of[step])
        else:
            pattern[at] = symbol(step)
        product_of[size[at] * step] = at
    return tuple(pattern)
