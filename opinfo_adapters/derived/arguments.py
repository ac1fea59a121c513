"""Arguments by name: reading the arguments of a call through its schema, passing them to another one, and converting their types.

Which calls are carried over to which overloads lives in ``overload_variants``.
"""

from __future__ import annotations

from typing import Any

import torch

#: Stands for an argument that is left to its default value.
OMITTED = object()


def unbound(op: torch._ops.OpOverload, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as positional and keyword arguments: by position up to the first one that is omitted or keyword-only."""
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
    """The type of an argument as its schema spells it, without aliasing: ``Tensor``, ``Optional[int]``, ``ScalarType``."""
    return str(argument.real_type)


def fits(value: Any, wanted: str) -> bool:
    """Whether a value can be passed for a type of the schema."""
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
    """Convert a value to another type: between numbers and tensors, and between values and lists of one.

    Args:
        value: an argument of another overload.
        wanted: the type, as the schema spells it.
        like: a tensor among the call's arguments, on whose device new tensors are made.

    Returns:
        The converted value, or ``OMITTED`` if there is no conversion.

    >>> converted(2.5, "int", None), converted(3, "List[int]", None)
    (2, [3])
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
