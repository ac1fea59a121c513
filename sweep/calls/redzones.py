"""Redzones: memory with known content around storages, which shows whether a kernel reads or writes outside of its tensors.

A storage is copied into an arena that is reused for one call after another. The redzones are so large that a kernel which takes
wrong strides stays within them: what it wrote further away would belong to the allocator and crash a later call. All of them are
checked after each call, so that no other call is blamed. What follows from a changed redzone is up to the caller.
"""

from __future__ import annotations

import ctypes
import enum
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sweep.calls.corpus import aligned
from sweep.calls.recipes import was_built
from sweep.calls.tensors import as_fillable, bytes_of, is_strided, on_storage
from sweep.findings.kind import Edge

#: Bytes of redzone on each side of a storage.
_REDZONE = 128 * 1024

#: Storages of at most this many bytes share arenas; a larger one gets memory of its own.
_SHARED_BYTES = 64 * 1024

#: Number of shared arenas per pattern: one for each of a call's first storages. Lists of tensors have up to about twenty.
_SHARED = 32

#: Every pattern repeats after this many bytes, the size of the largest dtype.
_PERIOD = 16

_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Filling(enum.Enum):
    """The content of redzones."""

    ZEROS = enum.auto()
    #: A value that no kernel can use as a number, an index or a size.
    POISON = enum.auto()


@dataclass(frozen=True)
class Redzone:
    """One redzone of a call.

    Attributes:
        storage: number of the storage that it belongs to, among all of the call that can be moved, in the order of the arguments.
        edge: on which side of it.
    """

    storage: int
    edge: Edge


class WritesOutside(Exception):
    """A kernel has written outside of the tensors that it was passed.

    Attributes:
        redzones: those that have changed.
    """

    def __init__(self, message: str, redzones: Sequence[Redzone] = ()) -> None:
        super().__init__(message)
        self.redzones = tuple(redzones)


class _Arena:
    """Memory for one storage at a time between two redzones, which hold their patterns.

    Args:
        before: content of the redzone before the storage, repeated.
        past: content of the redzone behind it; it fills the room of the storage as well while there is none.
        size: largest size of a storage in bytes.
    """

    def __init__(self, before: bytes, past: bytes, size: int) -> None:
        periods = -(-(_REDZONE + size) // _PERIOD)
        self._bytes = aligned(np.frombuffer(before * (_REDZONE // _PERIOD) + past * periods, np.uint8))
        self._before, self._past = before, past
        self._used = 0

    def copy(self, storage: torch.UntypedStorage) -> torch.UntypedStorage:
        """Copy a storage into the arena."""
        self._used = storage.nbytes()
        inner = torch.frombuffer(self._bytes, dtype=torch.uint8, offset=_REDZONE, count=self._used)
        inner.copy_(bytes_of(storage))
        return inner.untyped_storage()

    def clear(self) -> list[Edge]:
        """Remove the copy, restore the patterns everywhere, and return the sides on which the redzone had been changed."""
        padded = -(-self._used // _PERIOD) * _PERIOD
        end = _REDZONE + padded
        tail_of_copy = self._bytes[_REDZONE + self._used : end].tobytes()
        changed = []
        if not self._holds_pattern(self._before, 0, _REDZONE):
            changed.append(Edge.BEFORE)
            self._bytes[:_REDZONE] = np.frombuffer(self._before * (_REDZONE // _PERIOD), np.uint8)
        is_intact = tail_of_copy == self._past[_PERIOD - len(tail_of_copy) :]
        if not is_intact or not self._holds_pattern(self._past, end, len(self._bytes) - end):
            changed.append(Edge.PAST)
            end = len(self._bytes)
        self._bytes[_REDZONE:end] = np.frombuffer(self._past * ((end - _REDZONE) // _PERIOD), np.uint8)
        self._used = 0
        return changed

    def _holds_pattern(self, pattern: bytes, start: int, length: int) -> bool:
        """Whether a part holds a pattern throughout: it begins with it, and equals itself one period further on."""
        address = self._bytes.ctypes.data + start
        begins = self._bytes[start : start + _PERIOD].tobytes() == pattern
        return begins and _memcmp(address, address + _PERIOD, length - _PERIOD) == 0


_arenas: dict[tuple[bytes, bytes, int], _Arena] = {}


def _arena(before: bytes, past: bytes, number: int, size: int) -> _Arena:
    """An arena for a storage of a call.

    Args:
        before: content of the redzone before it.
        past: content of the redzone behind it.
        number: how many storages of the call have arenas already.
        size: size of the storage in bytes.
    """
    if size > _SHARED_BYTES or number >= _SHARED:
        return _Arena(before, past, -(-size // _PERIOD) * _PERIOD)
    if (before, past, number) not in _arenas:
        _arenas[before, past, number] = _Arena(before, past, _SHARED_BYTES)
    return _arenas[before, past, number]


@contextmanager
def between(arguments: Any, filling: Filling, fixed: Any = (), only: Redzone | None = None) -> Iterator[Any]:
    """Arguments with every strided CPU tensor on a copy of its storage between redzones; a shared storage stays shared.

    Args:
        arguments: any structure of lists, tuples and dictionaries.
        filling: content of the redzones.
        fixed: those of the arguments whose storages stay where they are.
        only: the one redzone that gets the filling; the others get zeros. ``None`` fills all.

    Raises:
        WritesOutside: a redzone has changed meanwhile.
    """
    staying = _storages(fixed).keys()
    numbers: dict[int, int] = {}
    used: dict[int, tuple[_Arena, torch.UntypedStorage]] = {}

    def pattern(dtype: torch.dtype, redzone: Redzone) -> bytes:
        return _pattern(dtype, filling if only in (None, redzone) else Filling.ZEROS)

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if not _may_move(tensor):
            return tensor
        storage = tensor.untyped_storage()
        number = numbers.setdefault(storage._cdata, len(numbers))
        if storage._cdata in staying:
            return tensor
        copy = used.get(number)
        if copy is None:
            before, past = (pattern(tensor.dtype, Redzone(number, edge)) for edge in (Edge.BEFORE, Edge.PAST))
            arena = _arena(before, past, number, storage.nbytes())
            copy = used[number] = arena, arena.copy(storage)
        return _on_copy(tensor, copy[1])

    try:
        yield _map_tensors(move, arguments)
    finally:
        changed = [Redzone(at, edge) for at, (arena, _) in used.items() for edge in arena.clear()]
    if changed:
        raise WritesOutside("writes outside of the tensors that it is given", changed)


@contextmanager
def protected(arguments: Any) -> Iterator[Any]:
    """Copies of arguments on which a call may be made that nobody has made yet.

    On the CPU they are between redzones; elsewhere they are on storages that continue, so that a write behind them is harmless.

    Raises:
        WritesOutside: a redzone has changed meanwhile.
    """
    devices: set[str] = set()

    def note(tensor: torch.Tensor) -> torch.Tensor:
        devices.add(tensor.device.type)
        return tensor

    _map_tensors(note, arguments)
    if devices <= {"cpu"}:
        with between(arguments, Filling.ZEROS) as copies:
            yield copies
    else:
        yield on_longer(arguments, Filling.ZEROS)


def movable(arguments: Any) -> list[int]:
    """The addresses of the storages that :func:`between` can move, by their number."""
    return list(_storages(arguments))


def on_longer(arguments: Any, filling: Filling) -> Any:
    """Arguments with every strided tensor on a copy of its storage that continues behind it, in memory that torch allocated.

    Args:
        arguments: as for :func:`between`.
        filling: content of the continuation.
    """
    longer: dict[int, torch.UntypedStorage] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if not _is_copied_with_storage(tensor):
            return tensor
        storage = tensor.untyped_storage()
        if storage._cdata not in longer:
            length = (storage.nbytes() + _REDZONE) // tensor.dtype.itemsize
            whole = _filled(length, tensor.dtype, filling, storage.device)
            whole.view(torch.uint8)[: storage.nbytes()].copy_(bytes_of(storage))
            longer[storage._cdata] = whole.untyped_storage()
        return _on_copy(tensor, longer[storage._cdata])

    return _map_tensors(move, arguments)


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)([_map_tensors(function, item) for item in value])
    if isinstance(value, dict):
        return {name: _map_tensors(function, item) for name, item in value.items()}
    return value


def _storages(arguments: Any) -> dict[int, None]:
    """The addresses of the storages of all strided CPU tensors in a structure, each once, in order."""
    storages: dict[int, None] = {}

    def add(tensor: torch.Tensor) -> torch.Tensor:
        if _may_move(tensor):
            storages.setdefault(tensor.untyped_storage()._cdata)
        return tensor

    _map_tensors(add, arguments)
    return storages


def _may_move(tensor: torch.Tensor) -> bool:
    """Whether a tensor has memory, and a copy of it makes the same tensor."""
    return _is_copied_with_storage(tensor) and tensor.untyped_storage().nbytes() > 0


def _is_copied_with_storage(tensor: torch.Tensor) -> bool:
    """Whether a copy of its one storage makes the same tensor."""
    return is_strided(tensor) and not was_built(tensor)


def _on_copy(tensor: torch.Tensor, storage: torch.UntypedStorage) -> torch.Tensor:
    """A tensor with the same metadata on another storage."""
    copy = on_storage(storage, tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride())
    if tensor.is_conj():
        torch._C._set_conj(copy, True)
    if tensor.is_neg():
        torch._C._set_neg(copy, True)
    return copy


@functools.cache
def _pattern(dtype: torch.dtype, filling: Filling) -> bytes:
    count = _PERIOD // dtype.itemsize
    pattern: bytes = _filled(count, dtype, filling).view(torch.uint8).numpy().tobytes()
    return pattern


def _filled(count: int, dtype: torch.dtype, filling: Filling, device: torch.device | str = "cpu") -> torch.Tensor:
    """New one-dimensional tensor of fillers."""
    tensor = torch.empty(count, dtype=dtype, device=device)
    elements = as_fillable(tensor)
    elements.fill_(_filler(elements.dtype, filling))
    return tensor


def _filler(dtype: torch.dtype, filling: Filling) -> float:
    """The value outside of tensors of a dtype.

    As poison, integers are -1 (1 if unsigned): an unchecked index of that value stays within the redzones.
    """
    if filling is Filling.ZEROS:
        return 0
    if dtype.is_floating_point or dtype.is_complex:
        return float("nan")
    return -1 if dtype.is_signed else 1
