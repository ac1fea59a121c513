"""The process group of calls that need one: a single process, made at the first such call and never before.

It is torch's own ``fake`` backend, which every collective reaches through the same operators and kernels as any other, and which
does its work at once. A real one works in threads of its own, where torch's dispatcher calls back into Python for everything that
is watching; with ``gloo``, recording deadlocks in ``wait_tensor``, which holds the interpreter that the other thread waits for.
"""

from __future__ import annotations

from typing import Any

import torch

#: What the group communicates with.
BACKEND = "fake"

#: Namespaces whose operators look their group up by name.
_NAMESPACES = ("c10d.", "_c10d_functional.", "_c10d_functional_autograd.", "_dtensor.", "symm_mem.")

_CLASSES = "__torch__.torch.classes.c10d."


def ensure_for(overload: str) -> None:
    """Makes the group if an overload is one of those that need it and this torch has it."""
    if overload.startswith(_NAMESPACES) and torch.distributed.is_available():
        _ensure()


def boxed() -> Any:
    """The group as an argument of a C++ operator."""
    _ensure()
    return torch.distributed.group.WORLD.boxed()


def reduce_op() -> Any:
    """A reduction as an argument of a C++ operator: a sum, the only one that Python can make."""
    return torch.classes.c10d.ReduceOp()


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
        from torch.testing._internal.distributed.fake_pg import FakeStore  # which registers the backend

        torch.distributed.init_process_group(_for_all_devices(), store=FakeStore(), rank=0, world_size=1)


def _for_all_devices() -> str:
    """The backend for the devices that it is registered for, and for an accelerator that torch's own list does not have."""
    devices = list(torch.distributed.Backend.backend_capability[BACKEND])
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or accelerator.type in devices:
        return BACKEND
    return ",".join(f"{device}:{BACKEND}" for device in (*devices, accelerator.type))
