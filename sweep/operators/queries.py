"""What the parent asks a child about this torch: its environment, its overloads, and the reasons for not calling them.

Each function is an entry point of a child process and returns plain data.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping

import numpy as np
import torch

from sweep.errors import DeviceError, first_line
from sweep.findings.reason import Reason
from sweep.isolation import instruction_sets
from sweep.operators import libraries, registrations
from sweep.operators.environment import Environment
from sweep.operators.inventory import describe, device_types, inventory, resolve
from sweep.operators.module import Module
from sweep.operators.not_called import why_never_called
from sweep.operators.overload import Overload


def environment(device: str) -> Environment:
    """The torch in this process, a device, and the imported libraries.

    Args:
        device: such as ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        DeviceError: torch does not know the device, or cannot use it here.
    """
    parsed = _parse(device, [d for d in device_types() if d != "meta"])
    return Environment(
        torch=str(torch.__version__).partition("+")[0],
        build=str(torch.__version__),
        git=(torch.version.git_version or "unknown")[:12],
        release=".".join(str(torch.__version__).split(".")[:2]),
        device=device if parsed.index else parsed.type,  # two names for one device would be two texts for one finding
        device_type=parsed.type,
        features=cpu_features() if parsed.type == "cpu" else _accelerator_name(parsed),
        python=".".join(platform.python_version_tuple()[:2]),
        numpy=np.__version__,
        libraries=libraries.digest(),
        native_cpu=not instruction_sets.pinned(),
        architecture=instruction_sets.architecture(),
    )


def _parse(device: str, known: Iterable[str]) -> torch.device:
    try:
        return torch.device(device)
    except RuntimeError:
        raise DeviceError(f"unknown device {device!r}: this torch knows {', '.join(known)}") from None


#: Instruction sets by which oneDNN and FBGEMM choose their kernels, beside torch's own choice.
_EXTENSIONS = ("avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_fp16")


def cpu_features() -> str:
    """What this process's CPU kernels are chosen by: the name of the baseline if it has one, else what the CPU has.

    Before torch 2.13 only torch's own choice can be asked for.
    """
    baseline = instruction_sets.pinned()
    if baseline:
        return baseline
    available: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return " ".join([torch.backends.cpu.get_cpu_capability(), *(name for name in _EXTENSIONS if available.get(name))])


def _accelerator_name(device: torch.device) -> str:
    """The name of an accelerator, after a first use of it.

    Raises:
        DeviceError: it cannot be used.
    """
    current = torch.accelerator.current_accelerator(check_available=True)
    if current is None or current.type != device.type:
        usable = "cpu" + (f", {current.type}" if current else "")
        raise DeviceError(
            f"device {str(device)!r} cannot be used here: this machine and torch {torch.__version__} offer {usable}"
        )
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        raise DeviceError(f"device {str(device)!r} cannot be used here: {first_line(error)}") from None
    module = torch.get_device_module(device)
    return module.get_device_name(device) if hasattr(module, "get_device_name") else device.type


def names() -> list[str]:
    """The qualified names of all overloads, sorted."""
    return list(inventory())


def modules() -> list[Module]:
    """The modules of torch that register operators when they are imported, and those that cannot be imported."""
    return [module for module in registrations.import_all() if module.operators or module.failure]


def reasons(device_type: str, called: Iterable[str], refusals: Mapping[str, str]) -> dict[str, Reason | None]:
    """Overload -> why it is not called; ``None`` for one that has recorded calls. Has every overload of this torch.

    Args:
        device_type: such as ``cpu``.
        called: the overloads that have recorded calls.
        refusals: overload -> the error that all attempted calls of it raised.
    """
    recorded = set(called)
    return {
        name: None if name in recorded else why_never_called(resolve(name), device_type, refusals.get(name, ""))
        for name in inventory()
    }


def listing(device: str | None) -> list[Overload]:
    """The whole inventory with its kernels on one device type, or on all that this torch has.

    Raises:
        DeviceError: torch does not know the device.
    """
    devices = device_types() if device is None else (_parse(device, device_types()).type,)
    return [describe(name, devices) for name in inventory()]
