"""What there is to sweep, as the torch in this process sees it. Runs in the child; its answers are plain data."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sweep.operators import libraries
from sweep.operators.not_called import why_never_called
from sweep.operators.inventory import describe, device_types, inventory, resolve


class DeviceError(Exception):
    """The device cannot be swept; the message is one line that says what to do."""


def identify(device: str, heartbeat: Callable[[int, str], None] | None = None) -> dict[str, Any]:
    """Which torch and which device this is.

    Args:
        device: such as ``cpu``, ``cuda``, ``cuda:1``.
        heartbeat: not used.

    Raises:
        DeviceError: torch does not know the device, or cannot use it here.
    """
    try:
        parsed = torch.device(device)
    except RuntimeError:
        known = ", ".join(d for d in device_types() if d != "meta")
        raise DeviceError(f"unknown device {device!r}: this torch knows {known}") from None
    capability = _cpu() if parsed.type == "cpu" else _accelerator(parsed)
    return {
        "torch": torch.__version__.partition("+")[0],
        "build": torch.__version__,
        "git": (torch.version.git_version or "unknown")[:12],
        "release": ".".join(torch.__version__.split(".")[:2]),
        "device": device if parsed.index else parsed.type,  # two names for one device would be two texts for one finding
        "device_type": parsed.type,
        "capability": capability,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
        "libraries": libraries.digest(),
    }


#: Instruction sets by which oneDNN and FBGEMM choose their kernels, beside torch's own choice.
_EXTENSIONS = ("avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_fp16")


def _cpu() -> str:
    """What this CPU's kernels are chosen by; before torch 2.13 only torch's own choice can be asked for."""
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return " ".join([torch.backends.cpu.get_cpu_capability(), *(name for name in _EXTENSIONS if has.get(name))])


def _accelerator(device: torch.device) -> str:
    """The name of an accelerator, once it is known to work."""
    here = torch.accelerator.current_accelerator(check_available=True)
    if here is None or here.type != device.type:
        usable = "cpu" + (f", {here.type}" if here else "")
        raise DeviceError(
            f"device {str(device)!r} cannot be used here: this machine and torch {torch.__version__} offer {usable}"
        )
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        raise DeviceError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from None
    module = torch.get_device_module(device)
    return module.get_device_name(device) if hasattr(module, "get_device_name") else device.type


def names(heartbeat: Callable[[int, str], None] | None = None) -> list[str]:
    """Every overload, sorted."""
    return inventory()


def reasons(
    device_type: str, called: list[str], refusals: dict[str, str], heartbeat: Callable[[int, str], None] | None = None
) -> dict[str, str]:
    """Overload -> why it is not called, empty for those that have recorded calls.

    Args:
        device_type: such as ``cpu``.
        called: the overloads that have recorded calls; those that this torch does not know are left out.
        refusals: overload -> what all calls that were tried of it were refused for.
        heartbeat: not used.
    """
    have = set(called)
    return {n: "" if n in have else why_never_called(resolve(n), device_type, refusals.get(n, "")) for n in inventory()}


def listing(device: str | None, heartbeat: Callable[[int, str], None] | None = None) -> list[dict[str, Any]]:
    """The whole inventory with its kernels on one device type, or on all that this torch has.

    Raises:
        DeviceError: torch does not know the device.
    """
    if device is None:
        devices: tuple[str, ...] = device_types()
    else:
        try:
            devices = (torch.device(device).type,)
        except RuntimeError:
            raise DeviceError(f"unknown device {device!r}: this torch knows {', '.join(device_types())}") from None
    return [describe(n, devices).as_json() for n in inventory()]
