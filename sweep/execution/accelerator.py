"""Accelerators: waiting for queued kernels, the limit of device memory, and detection of a process that has lost its device.

Kernels run after the call that launches them has returned, so an error of one shows at whatever call synchronizes next, unless
every call is synchronized. After some errors, such as a device-side assertion, a process cannot use the device any more (CUDA
calls them sticky): every later call fails the same way, whatever it is. Nothing here applies to the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from sweep.errors import ProcessUnusableError
from sweep.findings.ending import ending_of


def waiter(device: str) -> Callable[[], None]:
    """Returns a function that waits for all kernels queued on a device and raises their errors; a no-op for the CPU.

    The device is in use afterwards, so files that its driver opens are not taken for a call's.
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
    """Checks whether the error of a real call has cost this process its device.

    Args:
        error: what the call raised. A library that torch calls raises a plain ``RuntimeError``, before the device's own error
            shows.
        wait: as :func:`waiter` returns it.

    Raises:
        ProcessUnusableError: the error shows again although nothing more was queued.
    """
    if not isinstance(error, RuntimeError):
        return
    if not isinstance(error, torch.AcceleratorError) and not _fails(wait):
        return
    if _fails(wait):  # the first wait after an error may report it without its being sticky
        raise ProcessUnusableError(ending_of("real", error)) from error


@contextmanager
def prediction(side: str, wait: Callable[[], None]) -> Iterator[None]:
    """Context around a predicted path, some of which run real kernels; waits for those on leaving.

    Args:
        side: label of the predicted side: ``fake``, ``functionalized``.
        wait: as :func:`waiter` returns it.

    Raises:
        RuntimeError: a queued kernel failed and the device is usable.
        ProcessUnusableError: the device is lost.
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
            if _fails(wait):
                raise ProcessUnusableError(ending_of(side, error or late), by_prediction=True) from late
            if error is None:
                raise


def _fails(wait: Callable[[], None]) -> bool:
    try:
        wait()
    except RuntimeError:
        return True
    return False


def limit_memory(device: str, memory: int) -> None:
    """Limits the caching allocator of an accelerator, for all of this process.

    Args:
        device: the device under test. (The CPU's memory is limited by the process's address space.)
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
