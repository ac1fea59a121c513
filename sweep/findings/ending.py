"""How a call ended other than by returning."""

from __future__ import annotations

import enum
import signal
from dataclasses import dataclass


class EndingKind(enum.Enum):
    """The ways in which a call can end other than by returning."""

    RAISED = "raises"
    INTERNAL_ASSERT = "fails an internal assert"
    UNSUPPORTED = "unsupported"
    CRASH = "crash"
    EXIT = "exit"
    TIMEOUT = "timeout"
    OVERLOAD_TIMEOUT = "overload timeout"
    OUT_OF_MEMORY = "out of memory"
    HANGUP = "hangs up"


@dataclass(frozen=True)
class Ending:
    """How a call ended other than by returning.

    Attributes:
        kind: in which way.
        detail: the class of the exception, the name of the signal, or the exit status; else empty.
        side: which side raised (``fake``, ``real``, ``functionalized``), also by an internal assert or in a refusal by design;
            empty for every other kind.

    >>> str(Ending(EndingKind.RAISED, "ValueError", "fake"))
    'fake raises ValueError'
    >>> str(Ending.of_exit_status(-11)), str(Ending.of_exit_status(3)), str(Ending(EndingKind.TIMEOUT))
    ('crash SIGSEGV', 'exit 3', 'timeout')
    >>> str(Ending(EndingKind.UNSUPPORTED, "UnsupportedFakeTensorException", "fake"))
    'unsupported, fake raises UnsupportedFakeTensorException'
    """

    kind: EndingKind
    detail: str = ""
    side: str = ""

    def __str__(self) -> str:
        if self.kind is EndingKind.UNSUPPORTED:
            return f"{self.kind.value}, {self.side} {EndingKind.RAISED.value} {self.detail}"
        return " ".join(filter(None, (self.side, self.kind.value, self.detail)))

    @classmethod
    def of_exit_status(cls, status: int) -> Ending:
        """The ending of a process; a negative status is a signal's number, as in ``subprocess``."""
        if status >= 0:
            return cls(EndingKind.EXIT, str(status))
        try:
            name = signal.Signals(-status).name
        except ValueError:  # real-time signals have no names
            name = f"SIG{-status}"
        return cls(EndingKind.CRASH, name)


#: How allocators say that there is no memory, where they have no exception class for it: the CPU's
#: (``c10/core/impl/alloc_cpu.cpp``), CUDA's own, and those of its libraries, whose handles take memory too.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "bad_alloc",
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


#: How ``TORCH_INTERNAL_ASSERT`` begins its message: a bug of torch, and never a refusal.
_INTERNAL_ASSERT = "INTERNAL ASSERT FAILED"


def ending_of(side: str, error: BaseException) -> Ending:
    """The ending of a call that raised.

    Args:
        side: which side raised, as expect files name it.
        error: what it raised.
    """
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or any(text in str(error) for text in _NO_MEMORY):
        return Ending(EndingKind.OUT_OF_MEMORY)
    if _INTERNAL_ASSERT in str(error):
        return Ending(EndingKind.INTERNAL_ASSERT, side=side)
    return Ending(EndingKind.RAISED, name, side)
