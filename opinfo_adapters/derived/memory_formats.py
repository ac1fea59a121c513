"""Memory formats: the same values elsewhere in memory.

Every format is a function of a strided tensor that returns another one with the same size, dtype and values (an expanded one has
those of its first slice), or ``None`` where it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from sweep.calls.recipes import was_built
from sweep.calls.tensors import is_strided

Change = Callable[[torch.Tensor], torch.Tensor | None]

#: Formats of larger ranks are not listed.
_LARGEST_RANK = 5

#: The dtypes that torch can negate, and can therefore resolve a negative bit of; not smaller floating-point types.
_NEGATED = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128}

#: Elements before a tensor that does not begin where its storage does.
_OFFSET = 3


def can_be_varied(value: Any) -> bool:
    """Whether an argument is a strided tensor that is not built by a recipe."""
    return isinstance(value, torch.Tensor) and is_strided(value) and not was_built(value)


def applied(change: Change, value: Any) -> torch.Tensor | None:
    """A changed tensor; ``None`` for an argument that cannot be varied, or to which the change does not apply.

    A change does not apply if torch has no kernel for it: it cannot copy ``uint4`` or conjugate ``bcomplex32`` (torch 2.14).
    """
    if not can_be_varied(value):
        return None
    try:
        return change(value)
    except NotImplementedError:
        return None


def formats_of(tensor: torch.Tensor) -> Iterator[tuple[str, str, Change]]:
    """The formats that apply to a tensor: the name of a class of formats, the name of the format, and its function.

    They are the reversed order of dimensions, every swap of neighbors, the rotation, channels last, slices of the last, the first
    and a middle dimension, an offset, every dimension expanded, odd strides of unit dimensions, and the lazy bits.
    """
    rank = tensor.dim()
    for order in _orders(rank):
        name = f"permuted {''.join(map(str, order))}"
        is_channels_last = rank > 2 and order == _channels_last(rank)
        yield "channels_last" if is_channels_last else "permuted", name, _Permuted(order)
    for dim in dict.fromkeys((rank - 1, 0, rank // 2) if rank else ()):
        yield "sliced", f"sliced {dim}", _Sliced(dim)
    yield "offset", "offset", with_offset
    for dim, size in enumerate(tensor.shape[:_LARGEST_RANK]):
        if size > 1:
            yield "expanded", f"expanded {dim}", _Expanded(dim)
    yield "size1_strides", "unit strides", odd_unit_strides
    yield "conj", "conj", conjugated
    yield "neg", "neg", negated


def is_read_only(format_class: str) -> bool:
    """Whether no operator can write to a tensor in a class of formats."""
    return format_class in ("expanded", "conj", "neg")


def _orders(rank: int) -> list[tuple[int, ...]]:
    """The orders of dimensions in memory, from the outermost to the innermost one, without that of a contiguous tensor."""
    if not 1 < rank <= _LARGEST_RANK:
        return []
    plain = tuple(range(rank))
    swaps = [(*plain[:at], at + 1, at, *plain[at + 2 :]) for at in range(rank - 1)]
    return list(dict.fromkeys([plain[::-1], _channels_last(rank), (*plain[1:], 0), *swaps]))


def _channels_last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1) if rank > 2 else (1, 0)


class _Permuted:
    def __init__(self, order: Sequence[int]) -> None:
        self._order = tuple(order)

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor | None:
        if tensor.dim() != len(self._order):
            return None
        inverse = sorted(range(len(self._order)), key=self._order.__getitem__)
        return tensor.permute(self._order).clone(memory_format=torch.contiguous_format).permute(inverse)


class _Sliced:
    def __init__(self, dim: int) -> None:
        self._dim = dim

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor | None:
        return sliced(tensor, self._dim) if self._dim < tensor.dim() else None


class _Expanded:
    def __init__(self, dim: int) -> None:
        self._dim = dim

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor | None:
        if self._dim >= tensor.dim() or tensor.shape[self._dim] < 2:
            return None
        return tensor.narrow(self._dim, 0, 1).expand(tensor.shape)


def reversed_order(tensor: torch.Tensor) -> torch.Tensor | None:
    """The dimensions in the opposite order in memory; ``None`` for fewer than two."""
    return _Permuted(range(tensor.dim())[::-1])(tensor) if tensor.dim() > 1 else None


def sliced(tensor: torch.Tensor, dim: int = -1) -> torch.Tensor | None:
    """Every second element of one dimension of a larger tensor, from the second one on; ``None`` without dimensions."""
    if not tensor.dim():
        return None
    size = list(tensor.shape)
    size[dim] = 2 * size[dim] + 1
    part = tensor.new_zeros(size).movedim(dim, -1)[..., 1::2].movedim(-1, dim)
    part.copy_(tensor)
    return part


def with_offset(tensor: torch.Tensor) -> torch.Tensor | None:
    """A contiguous tensor that does not begin where its storage does."""
    if not tensor.dim() or not tensor.numel():
        return None
    part = tensor.new_zeros(tensor.numel() + _OFFSET)[_OFFSET:].view(tensor.shape)
    part.copy_(tensor)
    return part


def expanded(tensor: torch.Tensor) -> torch.Tensor | None:
    """The first slice of the first dimension of more than one, repeated."""
    for dim, size in enumerate(tensor.shape):
        if size > 1:
            return _Expanded(dim)(tensor)
    return None


def odd_unit_strides(tensor: torch.Tensor) -> torch.Tensor | None:
    """Strides that no contiguous tensor has, of dimensions of size 1."""
    if 1 not in tensor.shape or not tensor.numel():
        return None
    strides = [7 if size == 1 else stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return tensor.as_strided(tensor.shape, strides)


def conjugated(tensor: torch.Tensor) -> torch.Tensor | None:
    """The conjugate bit on top of conjugated values."""
    return _on_changed_storage(tensor, torch.conj_physical).conj() if tensor.is_complex() and not tensor.is_conj() else None


def negated(tensor: torch.Tensor) -> torch.Tensor | None:
    """The negative bit on top of negated values."""
    if tensor.dtype not in _NEGATED or tensor.is_neg():
        return None
    return torch._neg_view(_on_changed_storage(tensor, torch.neg))


def _on_changed_storage(tensor: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A tensor with the same metadata on a changed copy of its storage; a lazy bit on top of it undoes the change."""
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
    return change(whole).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
