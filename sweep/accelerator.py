"""What an accelerator needs that the CPU does not: waiting for what was sent to it, and knowing when a process has lost it.

Kernels run after the call that launches them has returned, so an error of one shows at whatever call waits next, unless every
call is waited for. After some errors, a device-side assertion for one, a process can use the device no more (CUDA calls them
sticky): every later call fails the same, whatever it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from sweep.crossref import ending
from sweep.process_state import Unusable


def waiter(device: str) -> Callable[[], None]:
    """Returns what waits until a device has done all that it was sent, and raises what went wrong there; nothing on the CPU."""
    place = torch.device(device)
    if place.type != "cpu" and place.type == getattr(torch.accelerator.current_accelerator(), "type", None):
        return functools.partial(torch.accelerator.synchronize, place)
    return _nothing


def check_not_lost(error: BaseException, wait: Callable[[], None]) -> None:
    """Looks whether what a real call raised has cost this process its device: it shows again, though nothing more was sent.

    Args:
        error: what the call raised.
        wait: as :func:`waiter` returns it.

    Raises:
        Unusable: it has.
    """
    if not isinstance(error, torch.AcceleratorError):
        return
    try:
        wait()
    except torch.AcceleratorError:
        raise Unusable(ending("real", error)) from error


def _nothing() -> None:
    pass
