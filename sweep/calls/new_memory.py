"""The content of memory that the CPU's allocator hands out: a byte of choice instead of what earlier calls have left there.

Works where the allocator is glibc's, and for all sizes only without its cache per thread, which sandboxes turn off
(``GLIBC_TUNABLES``). Elsewhere new memory holds anything.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: ``M_PERTURB`` of ``malloc.h``: glibc fills new memory with the complement of this byte, and freed memory with the byte.
_M_PERTURB = -6

_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)


@contextmanager
def filled(byte: int) -> Iterator[None]:
    """Context in which new memory is filled with a byte; it does not nest.

    Args:
        byte: from 0 to 254. (The complement of 255 stands for not filling memory at all.)
    """
    if _mallopt is None:
        yield
        return
    _mallopt(_M_PERTURB, byte ^ 0xFF)
    try:
        yield
    finally:
        _mallopt(_M_PERTURB, 0)
