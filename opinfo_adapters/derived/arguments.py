"""Arguments by name: reading a recorded call through its schema, writing one for another schema, converting between types."""

from __future__ import annotations

from typing import Any

import torch

#: Stands for an argument that is left to its default.
OMITTED = object()


def bound(op: torch._ops.OpOverload, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, without those that were left to their defaults."""
    names = [a.name for a in op._schema.arguments]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def laid_out(op: torch._ops.OpOverload, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as the schema wants them: by position as far as that goes, then by keyword."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for argument in op._schema.arguments:
        value = values.get(argument.name, OMITTED)
        if value is OMITTED:
            continue
        if argument.kwarg_only or len(args) < op._schema.arguments.index(argument):
            kwargs[argument.name] = value
        else:
            args.append(value)
    return args, kwargs


def type_of(argument: torch._C.Argument) -> str:
    """The type of an argument as its schema spells it, without aliasing: ``Tensor``, ``Optional[int]``, ``ScalarType`` ..."""
    return str(argument.real_type)


def fits(value: Any, wanted: str) -> bool:
    """Whether a value may be passed where the schema says ``wanted``."""
    if wanted.startswith("Optional["):
        return value is None or fits(value, wanted[9:-1])
    if wanted.startswith("List["):
        return isinstance(value, list | tuple) and all(fits(v, wanted[5:-1]) for v in value)
    kind = _KINDS.get(wanted)
    if kind is None:
        return True
    return isinstance(value, kind) and not (isinstance(value, bool) and bool not in kind)


_KINDS: dict[str, tuple[type, ...]] = {
    "Tensor": (torch.Tensor,),
    "int": (int,),
    "SymInt": (int,),
    "float": (float, int),
    "bool": (bool,),
    "number": (int, float, complex, bool),
    "str": (str,),
    "ScalarType": (torch.dtype,),
    "Layout": (torch.layout,),
    "Device": (torch.device,),
    "MemoryFormat": (torch.memory_format,),
    "Generator": (torch.Generator,),
}


def converted(value: Any, wanted: str, like: torch.Tensor | None) -> Any:
    """A value as another type: a number as a tensor or back, one as a list of one or back; ``OMITTED`` where there is no way.

    Args:
        value: what the other overload was given.
        wanted: the type to make of it.
        like: a tensor among the call's arguments, whose dtype, device and, for lists, length a new value takes.
    """
    if fits(value, wanted):
        return value
    if wanted.startswith("Optional["):
        return converted(value, wanted[9:-1], like)
    if wanted.startswith("List["):
        inner = converted(value[0] if isinstance(value, list | tuple) and value else value, wanted[5:-1], like)
        return OMITTED if inner is OMITTED else [inner]
    if isinstance(value, list | tuple):
        return converted(value[0], wanted, like) if value else OMITTED
    if wanted == "Tensor" and isinstance(value, bool | int | float | complex):
        return torch.tensor(value, device=None if like is None else like.device)
    if isinstance(value, torch.Tensor) and wanted in ("int", "SymInt", "float", "number", "bool"):
        if not value.numel() or value.is_quantized or value.layout is not torch.strided:
            return OMITTED
        return converted(value.flatten()[0].item(), wanted, like)
    if isinstance(value, bool | int | float) and wanted in ("int", "SymInt", "float", "number", "bool"):
        return {"int": int, "SymInt": int, "float": float, "number": float, "bool": bool}[wanted](value)
    return OMITTED
