"""What the schema of an overload says about a call: which argument has which name, which are written to, what is random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def by_name(op: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, without those that are left to their default values."""
    names = [argument.name for argument in op._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def written_names(op: torch._ops.OpOverload) -> list[str]:
    """The names of the arguments that an overload declares to write to, in the order of its schema.

    >>> written_names(torch.ops.aten.max.dim_max)
    ['max', 'max_values']
    """
    return [argument.name for argument in op._schema.arguments if argument.is_write]


def is_random(op: torch._ops.OpOverload) -> bool:
    """Whether an overload draws from the default generator."""
    return torch.Tag.nondeterministic_seeded in op.tags
