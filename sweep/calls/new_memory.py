"""Memory that the CPU's allocator hands out: a byte of choice as its content, and whether a kernel wrote behind its end.

Works where the allocator is glibc's, and for all sizes only without its cache per thread, which sandboxes turn off
(``GLIBC_TUNABLES``). Elsewhere new memory holds anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: ``M_PERTURB`` of ``malloc.h``: glibc fills new memory with the complement of this byte, and freed memory with the byte.
_M_PERTURB = -6

_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)

#: The parameters that are in force, the inner ones last; 0 fills nothing.
_perturb = [0]

#: Sizes of glibc's chunks of memory, in bytes (``malloc/malloc.c``): each is a multiple of the first, at least as large as the
#: second, and the last bytes of a size class belong to the chunk's own header.
_GRANULE, _SMALLEST, _HEADER = 16, 32, 8


@contextmanager
def filled(byte: int) -> Iterator[None]:
    """Context in which new memory is filled with a byte.

    Args:
        byte: from 0 to 254. (The complement of 255 stands for not filling memory at all.)
    """
    if _mallopt is None:
        yield
        return
    _perturb.append(byte ^ 0xFF)
    _mallopt(_M_PERTURB, _perturb[-1])
    try:
        yield
    finally:
        _perturb.pop()
        _mallopt(_M_PERTURB, _perturb[-1])


def is_overrun(storage: torch.UntypedStorage, byte: int) -> bool:
    """Whether a kernel has written behind the end of a storage that was allocated in :func:`filled`.

    Seen are the bytes up to the end of the chunk of memory that an allocation of its size always has: none for every second
    multiple of 8 bytes, and otherwise at most 20.

    Args:
        storage: a storage that torch's allocator has allocated for its present size.
        byte: the byte of :func:`filled`.
    """
    if _mallopt is None or storage.device.type != "cpu" or not storage.resizable() or not storage.nbytes():
        return False
    chunk = max(_SMALLEST, -(-(storage.nbytes() + _HEADER) // _GRANULE) * _GRANULE)
    slack = chunk - _HEADER - storage.nbytes()
    return slack > 0 and ctypes.string_at(storage.data_ptr() + storage.nbytes(), slack) != bytes([byte]) * slack
