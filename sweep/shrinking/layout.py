"""Smaller tensors in the memory format of a larger one: its order of dimensions, gaps, expanded dimensions and offset."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sweep.calls.recipes import was_built
from sweep.calls.tensors import extent, is_plain, is_strided


def is_copyable(tensor: torch.Tensor) -> bool:
    """Whether a strided copy of a tensor can be passed in its place."""
    return is_plain(tensor) and is_strided(tensor) and not was_built(tensor)


def is_resizable(tensor: torch.Tensor) -> bool:
    """Whether a smaller tensor can be made of a tensor: it is strided, or quantized as a whole."""
    is_quantized = is_plain(tensor) and tensor.is_quantized and not was_built(tensor)
    return is_copyable(tensor) or (is_quantized and tensor.qscheme() is torch.per_tensor_affine)


def cut(tensor: torch.Tensor, size: Sequence[int], *, in_place: bool = False) -> torch.Tensor:
    """The first elements of a tensor in each dimension, in its memory format and on memory of their own.

    Args:
        tensor: the tensor.
        size: the new size, at most the old one in each dimension and without zeros.
        in_place: return a view on the tensor's own memory, which other arguments share.
    """
    view = tensor[tuple(slice(0, n) for n in size)] if size else tensor
    if in_place or tensor.is_conj() or tensor.is_neg():
        return view
    if not is_strided(tensor):
        return view.contiguous()
    stride = _strides(tensor.shape, tensor.stride(), size)
    return view if stride is None else _copy(view, stride, tensor.storage_offset())


def without(tensor: torch.Tensor, dim: int, *, in_place: bool = False) -> torch.Tensor:
    """A tensor without one of its dimensions, of which the first element is kept; arguments as those of :func:`cut`."""
    size = [1 if at == dim else n for at, n in enumerate(tensor.shape)]
    return cut(tensor, size, in_place=in_place).squeeze(dim)


def contiguous(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous copy at the beginning of its memory, without lazy bits."""
    return tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)


def is_simple(tensor: torch.Tensor) -> bool:
    """Whether a tensor is strided and already as :func:`contiguous` would return it."""
    if not is_strided(tensor) or tensor.storage_offset() or tensor.is_conj() or tensor.is_neg():
        return False
    stride, step = [], 1
    for n in reversed(tensor.shape):
        stride.append(step)
        step *= max(n, 1)
    return tensor.stride() == tuple(reversed(stride))


def _strides(old: Sequence[int], stride: Sequence[int], size: Sequence[int]) -> list[int] | None:
    """Strides of a smaller tensor in the memory format of a larger one; ``None`` if that overlaps with itself.

    >>> _strides((4, 5), (5, 1), (2, 3)), _strides((4, 5), (1, 4), (2, 3))
    ([3, 1], [1, 2])
    >>> _strides((4, 5), (7, 1), (2, 3)), _strides((4, 5), (0, 2), (2, 3)), _strides((4, 5), (1, 1), (2, 3))
    ([5, 1], [0, 2], None)
    """
    new = [0] * len(old)
    before, after = 1, 1  # the stride of the next dimension without gaps, in the larger and in the smaller tensor
    for dim in sorted(range(len(old)), key=lambda dim: (stride[dim], -dim)):
        step = stride[dim]
        if not step:
            continue
        if step < before:
            return None
        new[dim] = step // before * after if step % before == 0 else step - before + after
        before, after = step * old[dim], new[dim] * size[dim]
    return new


def _copy(view: torch.Tensor, stride: Sequence[int], offset: int) -> torch.Tensor:
    """A copy with other strides, on memory that begins ``offset`` elements before it."""
    flat = torch.zeros(offset + extent(view.shape, stride), dtype=view.dtype, device=view.device)
    distinct = tuple(slice(0, n if step else 1) for n, step in zip(view.shape, stride, strict=True))
    written = view[distinct] if distinct else view
    flat.as_strided(written.shape, stride, offset).copy_(written)
    return flat.as_strided(view.shape, stride, offset)


def with_values(tensor: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """A tensor with the values and the dtype of another of its size, in its memory format and on memory of its own."""
    return _copy(values, tensor.stride(), tensor.storage_offset())
