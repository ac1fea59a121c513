"""Crossrefs: ways of computing what a call should return, each held against what it really returns.

A crossref is one file in this folder with a class named ``CrossRef`` that follows the protocol below. Adding one is adding a
file: ``--crossref NAME`` and the expect files take its name from the module.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from sweep.crossref.common.comparison import Mismatch
    from sweep.crossref.common.fake_modes import Fakes

#: Modules of this package that are not crossrefs.
_SHARED = {"fakes", "exempt"}


#: What torch imports when it makes its first fake tensors, which takes as long as importing torch.
LATE_IMPORTS = ("torch._dynamo", "torch._functorch.aot_autograd", "torch.export._trace")


class CrossRef(Protocol):
    """What a crossref offers.

    Attributes:
        expected: what it calls the side that predicts, in expect files: ``fake``.
        real: what it calls the side that the prediction is held against: ``real``, ``functionalized``.
    """

    expected: str
    real: str

    def opened(self, op: torch._ops.OpOverload, fakes: Fakes) -> AbstractContextManager[None]:
        """Whatever has to be in force while the calls of one overload are checked. Leaving it leaves torch as it was.

        Several crossrefs are open at the same time and share ``fakes``; one must change nothing for another.
        """
        ...

    def check(self, op: torch._ops.OpOverload, make: Callable[[], tuple[list[Any], dict[str, Any]]]) -> list[Mismatch]:
        """Checks one call.

        Args:
            op: the overload.
            make: gives the arguments of the call. Those of an overload that writes to some are made anew each time.

        Raises:
            RealRaised: the real call itself raised, which says nothing about the prediction.
        """
        ...


class RealRaised(Exception):
    """The real call raised; ``__cause__`` is what it raised."""


OUT_OF_MEMORY = "out of memory"

#: How allocators say that there is no memory, where they have no exception class for it: the CPU's
#: (``c10/core/impl/alloc_cpu.cpp``), CUDA's own, and those of its libraries, the handle of which takes memory too.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "bad_alloc",
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


def ending(side: str, error: BaseException) -> str:
    """How a call ended that raised, by the one name it has everywhere: ``fake raises ValueError``, ``out of memory``."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError" or any(text in str(error) for text in _NO_MEMORY):
        return OUT_OF_MEMORY
    return f"{side} raises {name}"


class UnknownCrossRef(Exception):
    """A crossref was asked for that does not exist; the message lists those that do."""


def names() -> list[str]:
    """The crossrefs there are, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED)


def check_names(wanted: list[str]) -> list[str]:
    """The wanted crossrefs, sorted and each once; all of them for an empty list. Does not import torch.

    Raises:
        UnknownCrossRef: one of them does not exist.
    """
    known = names()
    for name in wanted:
        if name not in known:
            raise UnknownCrossRef(f"unknown crossref {name!r}; there are: {', '.join(known)}")
    return sorted(set(wanted)) or known


def load(name: str) -> CrossRef:
    """A new crossref of a name."""
    return importlib.import_module(f"{__name__}.{name}").CrossRef()
