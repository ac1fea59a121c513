"""Memory between guards: where a kernel that reads or writes outside of the tensors that it is given meets known bytes.

A storage's copy lies in an arena that is used again for one call after the other, with so many known bytes on both sides that a
kernel which takes a tensor's strides for others stays among them: what it wrote further away would be the allocator's, and crash
whatever came next. All of them are looked at after each call, or another call would be blamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map_only

from sweep.calls.recipes import was_built

from sweep.calls.tensors import is_strided, on_storage
from sweep.calls.corpus import aligned

#: Bytes of guard on each side of a storage.
_AROUND = 128 * 1024

#: Storages of at most so many bytes share arenas, of which there are so many for each pattern; another one has memory of its own.
_SHARED_BYTES, _SHARED = 64 * 1024, 8

#: Every pattern repeats after so many bytes, the size of the largest dtype.
_PERIOD = 16


class WritesOutside(Exception):
    """A kernel wrote where it has no business."""


class _Arena:
    """Memory for one storage at a time, between two guards; clean unless a call is being made on it.

    Args:
        pattern: what the guards hold, over and over.
        size: how large a storage may be.
    """

    def __init__(self, pattern: bytes, size: int) -> None:
        self._clean = aligned(np.frombuffer(pattern * -(-(2 * _AROUND + size) // _PERIOD), np.uint8))
        self._bytes = aligned(self._clean)
        self._used = 0

    def copy(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        """A copy of a storage, until it is taken away."""
        self._used = storage.nbytes()
        inner = torch.frombuffer(self._bytes, dtype=torch.uint8, offset=_AROUND, count=self._used)
        inner.copy_(torch.empty(0, dtype=torch.uint8).set_(storage))
        return inner.untyped_storage()

    def is_whole(self) -> bool:
        """Whether the guards hold what they held. Takes the copy away, and mends them."""
        inside = slice(_AROUND, _AROUND + self._used)
        self._bytes[inside] = self._clean[inside]
        self._used = 0
        whole = np.array_equal(self._bytes.view(np.uint64), self._clean.view(np.uint64))
        if not whole:
            self._bytes[:] = self._clean
        return whole


_arenas: dict[tuple[bytes, int], _Arena] = {}


def _arena(pattern: bytes, number: int, size: int) -> _Arena:
    """The arena for a call's storage of that number."""
    if size > _SHARED_BYTES or number >= _SHARED:
        return _Arena(pattern, size)
    if (pattern, number) not in _arenas:
        _arenas[pattern, number] = _Arena(pattern, _SHARED_BYTES)
    return _arenas[pattern, number]


@contextmanager
def between(arguments: Any, filling: int) -> Iterator[Any]:
    """Arguments with every strided CPU tensor on a copy of its storage between guards; those that share a storage share the copy.

    Args:
        arguments: any structure.
        filling: what the guards hold: 0, or 1 for what nothing can be made of (see ``_filler``).

    Raises:
        WritesOutside: a guard was changed meanwhile.
    """
    used: dict[int, tuple[_Arena, torch.UntypedStorage]] = {}

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        if not _may_move(tensor) or not tensor.untyped_storage().nbytes():
            return tensor
        storage = tensor.untyped_storage()
        if storage._cdata not in used:
            arena = _arena(_pattern(tensor.dtype, filling), len(used), storage.nbytes())
            used[storage._cdata] = arena, arena.copy(storage)
        return _moved(tensor, used[storage._cdata][1])

    try:
        yield tree_map_only(torch.Tensor, moved, arguments)
    finally:
        whole = [arena.is_whole() for arena, _ in used.values()]
    if not all(whole):
        raise WritesOutside("writes outside of the tensors that it is given")


def on_longer(arguments: Any, filling: int) -> Any:
    """Arguments with every strided CPU tensor on a copy of its storage that goes on behind it, in memory of torch's own.

    Args:
        arguments: any structure.
        filling: what lies behind, as for :func:`between`.
    """
    longer: dict[int, torch.UntypedStorage] = {}

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        if not _may_move(tensor):
            return tensor
        storage = tensor.untyped_storage()
        if storage._cdata not in longer:
            whole = torch.full(
                ((storage.nbytes() + _AROUND) // tensor.dtype.itemsize,), _filler(tensor.dtype, filling), dtype=tensor.dtype
            )
            whole.view(torch.uint8)[: storage.nbytes()].copy_(torch.empty(0, dtype=torch.uint8).set_(storage))
            longer[storage._cdata] = whole.untyped_storage()
        return _moved(tensor, longer[storage._cdata])

    return tree_map_only(torch.Tensor, moved, arguments)


def _may_move(tensor: torch.Tensor) -> bool:
    """Whether a copy of its one storage makes the same tensor."""
    return is_strided(tensor) and not was_built(tensor)


def _moved(tensor: torch.Tensor, storage: torch.UntypedStorage) -> torch.Tensor:
    """A tensor that lies in another storage as a strided one does in its own."""
    copy = on_storage(storage, tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride())
    torch._C._set_conj(copy, tensor.is_conj())
    torch._C._set_neg(copy, tensor.is_neg())
    return copy


def _pattern(dtype: torch.dtype, filling: int) -> bytes:
    count = _PERIOD // dtype.itemsize
    return torch.full((count,), _filler(dtype, filling), dtype=dtype).view(torch.uint8).numpy().tobytes()


def _filler(dtype: torch.dtype, filling: int) -> float:
    """What lies outside of tensors of a dtype: 0, or what no kernel can take for an index, a size or a number.

    -1 is the smallest step away from what is there: an unchecked index that is read there stays between the guards.
    """
    if not filling:
        return 0
    if dtype.is_floating_point or dtype.is_complex:
        return float("nan")
    return -1 if dtype.is_signed else 1
