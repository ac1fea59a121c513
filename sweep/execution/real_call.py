"""The real call: its arguments, its random state, and its outcome, on which all crossrefs are checked."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.protocol import Arguments, PreparedCall
from sweep.crossref.common.snapshot import Snapshot
from sweep.execution.accelerator import check_not_lost
from sweep.findings.ending import Ending, EndingKind, ending_of
from sweep.findings.finding import WHOLE, Mismatch


class RealCallEndedError(Exception):
    """The real call ended other than by returning, which says nothing about any prediction.

    Attributes:
        ending: how it ended.
        error: what it raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.ending: Ending = ending_of("real", error)
        self.error = error

    @property
    def is_refusal(self) -> bool:
        """Whether the operator refused the call, rather than running out of memory or stack, or leaving the process."""
        is_error = self.ending.kind in (EndingKind.RAISED, EndingKind.INTERNAL_ASSERT)
        return is_error and isinstance(self.error, Exception) and not isinstance(self.error, RecursionError)

    def mismatch(self) -> Mismatch:
        """The ending as a finding of the call itself."""
        return Mismatch(WHOLE, self.ending, None, "", type(self.error).__name__)


#: Overloads that take over or resize their argument's memory, though their schemas do not declare a write.
_OWNERS = {"aten._lazy_clone.default", "inductor.resize_storage_bytes_.default"}


def arguments_of(op: torch._ops.OpOverload, call: Call, device: str, wait: Callable[[], None]) -> Callable[[], Arguments]:
    """Returns a function that builds a call's arguments: new ones each time if the overload writes to some, else once.

    The function raises :class:`RealCallEndedError` where there is no memory for them.
    """
    owns = op._schema.is_mutable or call.overload in _OWNERS

    def arguments() -> Arguments:
        try:
            return build(call, device, own=owns)
        except Exception as error:
            check_not_lost(error, wait)
            if ending_of("real", error).kind is EndingKind.OUT_OF_MEMORY:
                raise RealCallEndedError(error) from error
            raise

    return arguments if owns else functools.cache(arguments)


def prepare(
    op: torch._ops.OpOverload,
    arguments: Callable[[], Arguments],
    wait: Callable[[], None],
    seed: int | None = None,
    *,
    changes: bool = False,
) -> PreparedCall:
    """Makes the real call.

    Args:
        op: the overload.
        arguments: returns the call's arguments.
        wait: as ``accelerator.waiter`` returns it.
        seed: random seed of the call; ``None`` leaves the generator as it is.
        changes: see which arguments the call changes, and undo that if the schema declares no write at all.

    Raises:
        RealCallEndedError: the call raised.
        ProcessUnusableError: it raised, and no call after it can use the device.
    """
    args, kwargs = arguments()
    snapshot = Snapshot(args, kwargs) if changes else None
    if seed is not None:
        torch.manual_seed(seed)
    try:
        result = op(*args, **kwargs)
        wait()
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: this process belongs to its calls
        check_not_lost(error, wait)
        raise RealCallEndedError(error) from error
    changed = None if snapshot is None else frozenset(snapshot.changed())
    if snapshot is not None and changed and not op._schema.is_mutable:
        snapshot.restore()  # later predictions are given the same arguments
    return PreparedCall(op, arguments, Outcome(args, kwargs, result), changed=changed, seed=seed)


def own_randomness(device: str) -> AbstractContextManager[None]:
    """Context in which the default generators may be seeded; restores the process's states afterwards."""
    place = torch.device(device)
    if place.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[place.index or 0], device_type=place.type)
