"""The content of new memory while a task runs: zeros, and not what earlier calls have left there.

Some samples pass memory to which nothing was written, and some kernels read their own. Both are parts of a corpus, and what they
hold may decide whether a call is accepted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

#: ``M_PERTURB`` of ``malloc.h``: glibc fills new memory with the complement of this byte, and freed memory with the byte.
_M_PERTURB = -6
_COMPLEMENT_OF_ZERO = 0xFF

_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)


@contextmanager
def zeroed() -> Iterator[None]:
    """Context in which the CPU's allocator fills new memory with zeros.

    It does so where the allocator is glibc's, and for all sizes only without its cache per thread, which sandboxes turn off.
    """
    if _mallopt is None:
        yield
        return
    _mallopt(_M_PERTURB, _COMPLEMENT_OF_ZERO)
    try:
        yield
    finally:
        _mallopt(_M_PERTURB, 0)
