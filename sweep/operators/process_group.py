"""The process group of calls that need one: a single process, initialized at the first such call.

It uses torch's own ``fake`` backend, whose collectives go through the same operators and kernels as those of any other backend
and complete at once. A real backend works in threads of its own, in which the dispatcher calls back into Python while something
watches it; with ``gloo``, recording deadlocks in ``wait_tensor``, which holds the interpreter lock that the other thread needs.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from sweep.operators.requirements import Requirement, requirement_of

#: Name of the backend.
BACKEND = "fake"

_CLASSES = "__torch__.torch.classes.c10d."


def is_needed_for(overload: str) -> bool:
    """Whether an overload communicates; with this module's backend that has no effect on any tensor."""
    return requirement_of(overload) is Requirement.PROCESS_GROUP


def ensure_for(overload: str) -> None:
    """Initializes the group if an overload needs it and this torch has it."""
    if is_needed_for(overload) and torch.distributed.is_available():
        _ensure()


def boxed() -> Any:
    """The group as an argument of a C++ operator."""
    _ensure()
    return torch.distributed.group.WORLD.boxed()


def reduce_op() -> Any:
    """A reduction as an argument of a C++ operator: a sum, the only one that Python can construct."""
    return torch.classes.c10d.ReduceOp()


@functools.cache
def mesh(device_type: str) -> Any:
    """The device mesh of the group: of two dimensions, ``x`` and ``y``, which are flattened into ``x_y``.

    There is one for each type of device, since a mesh creates groups, which stay.
    """
    _ensure()
    created = torch.distributed.init_device_mesh(device_type, (1, 1), mesh_dim_names=("x", "y"))
    return created._flatten()._get_root_mesh()


def plain(value: torch.ScriptObject) -> dict[str, str] | None:
    """A process group or reduction as plain data; ``None`` for any other object."""
    match str(value._type().qualified_name()).removeprefix(_CLASSES):
        case "ProcessGroup":
            return {"process_group": BACKEND}
        case "ReduceOp":
            return {"reduce_op": "SUM"} if value.op() == int(torch.distributed.ReduceOp.SUM) else None
    return None


def _ensure() -> None:
    if not torch.distributed.is_initialized():
        from torch.testing._internal.distributed.fake_pg import FakeStore  # registers the backend

        torch.distributed.init_process_group(_for_all_devices(), store=FakeStore(), rank=0, world_size=1)


def _for_all_devices() -> str:
    """The backend for the devices that it is registered for, and for an accelerator that is not among them."""
    devices = list(torch.distributed.Backend.backend_capability[BACKEND])
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or accelerator.type in devices:
        return BACKEND
    return ",".join(f"{device}:{BACKEND}" for device in (*devices, accelerator.type))
