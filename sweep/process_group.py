"""The process group of calls that need one: a single process with gloo, made at the first such call and never before."""

from __future__ import annotations

from typing import Any

import torch

#: What the group communicates with.
BACKEND = "gloo"

#: Namespaces whose operators look their group up by name.
_NAMESPACES = ("c10d.", "_c10d_functional.", "_c10d_functional_autograd.", "_dtensor.", "symm_mem.")

_CLASS = "__torch__.torch.classes.c10d.ProcessGroup"


def ensure_for(overload: str) -> None:
    """Makes the group if an overload is one of those that need it and this torch has it."""
    if overload.startswith(_NAMESPACES) and torch.distributed.is_available():
        _ensure()


def boxed() -> Any:
    """The group as an argument of a C++ operator."""
    _ensure()
    return torch.distributed.group.WORLD.boxed()


def is_group(value: torch.ScriptObject) -> bool:
    """Whether an object is a process group."""
    return str(value._type().qualified_name()) == _CLASS


def _ensure() -> None:
    if not torch.distributed.is_initialized():
        # A store of its own, so that nothing listens and nothing is left behind.
        torch.distributed.init_process_group(BACKEND, store=torch.distributed.HashStore(), rank=0, world_size=1)
