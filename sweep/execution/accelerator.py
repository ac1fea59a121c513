"""What an accelerator needs that the CPU does not: waiting for what was sent to it, a limit to its memory, and knowing when a
process has lost it.

Kernels run after the call that launches them has returned, so an error of one shows at whatever call waits next, unless every
call is waited for. After some errors, a device-side assertion for one, a process can use the device no more (CUDA calls them
sticky): every later call fails the same, whatever it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sweep.crossref import ending
from sweep.execution.process_state import Unusable, UnusableByPrediction


def waiter(device: str) -> Callable[[], None]:
    """Returns what waits until a device has done all that it was sent, and raises what went wrong there; nothing on the CPU.

    The device is in use from then on: files that its driver opens are no call's doing.
    """
    place = torch.device(device)
    if place.type == "cpu" or place.type != getattr(torch.accelerator.current_accelerator(), "type", None):
        return _nothing
    _start(place)
    return functools.partial(torch.accelerator.synchronize, place)


@functools.cache
def _start(place: torch.device) -> None:
    torch.zeros(1, device=place).add_(1)
    torch.accelerator.synchronize(place)


def check_not_lost(error: BaseException, wait: Callable[[], None]) -> None:
    """Looks whether what a real call raised has cost this process its device: it shows again, though nothing more was sent.

    Args:
        error: what the call raised; of a library that torch calls it is a plain ``RuntimeError``, before the device's own shows.
        wait: as :func:`waiter` returns it.

    Raises:
        Unusable: it has.
    """
    shown = isinstance(error, torch.AcceleratorError)
    if isinstance(error, RuntimeError) and (shown or _raises(wait)) and _raises(wait):
        raise Unusable(ending("real", error)) from error


@contextmanager
def prediction(side: str, wait: Callable[[], None]) -> Iterator[None]:
    """A predicted path inside, and then waits for what it sent to the device, since some run real kernels there.

    Args:
        side: whose path it is: ``fake``, ``functionalized``.
        wait: as :func:`waiter` returns it.

    Raises:
        RuntimeError: something went wrong there that nobody had said, and the device is well.
        UnusableByPrediction: it is lost.
    """
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        try:
            wait()
        except RuntimeError as late:
            if _raises(wait):
                raise UnusableByPrediction(ending(side, error or late)) from late
            if error is None:
                raise


def _raises(wait: Callable[[], None]) -> bool:
    try:
        wait()
    except RuntimeError:
        return True
    return False


@functools.cache
def limit_memory(device: str, memory: int) -> None:
    """Limits what an accelerator's caching allocator may take; once, since it is the process's.

    Args:
        device: the device under test; of the CPU the memory is limited by the process's address space.
        memory: bytes; 0 is no limit.
    """
    place = torch.device(device)
    if not memory or place.type == "cpu":
        return
    module = torch.get_device_module(place)
    limit = getattr(module, "set_per_process_memory_fraction", None)
    if limit is not None:  # not every backend's allocator has a limit
        index = module.current_device() if place.index is None else place.index
        limit(min(1.0, memory / module.get_device_properties(index).total_memory), index)


def _nothing() -> None:
    pass
