"""Construction recipes: the calls that made the objects that have no other plain form, such as packed weights."""

from __future__ import annotations

from typing import Any

import torch

from sweep.calls.call import Unrecordable
from sweep.calls.tensors import _PACKED

#: What has no plain form but the call that made it, such as packed weights, by the hash of what it stands for: the object, and
#: that call. The oldest are forgotten; each is alive while it is here, so a hash means one object.
_recipes: dict[int, tuple[torch.ScriptObject | torch.Tensor, str, tuple[Any, ...], dict[str, Any]]] = {}
_LIMIT = 1000

#: Operators that return a tensor whose bytes are the address of an object in C++: a copy of them is refused, or crashes.
_HANDS_OUT_ADDRESSES = {
    "_quantized._wrapped_linear_prepack.default",
    "_quantized.wrapped_fbgemm_pack_gemm_matrix_fp16.default",
    "aten._wrapped_linear_prepack.default",
    "aten.fbgemm_pack_gemm_matrix_fp16.default",
    "aten.fbgemm_pack_quantized_matrix.KN",
    "aten.fbgemm_pack_quantized_matrix.default",
    "profiler._record_function_enter.default",
}


def remember(result: Any, overload: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Notes how an object was made, since the call that made it is the only plain form that it has.

    Args:
        result: what a call returned; anything but such an object is ignored.
        overload: qualified name of the overload that was called.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    if is_opaque(result, overload) or isinstance(result, torch.ScriptObject):
        _recipes[_identity(result)] = result, overload, args, kwargs
        while len(_recipes) > _LIMIT:
            del _recipes[next(iter(_recipes))]


def is_opaque(result: Any, overload: str) -> bool:
    """Whether what an overload returned is a tensor whose bytes cannot be copied, or say nothing."""
    return isinstance(result, torch.Tensor) and (overload in _HANDS_OUT_ADDRESSES or result.dtype in _PACKED)


def was_built(value: Any) -> bool:
    """Whether a value is known by the call that made it: no copy of it works in its place."""
    return isinstance(value, torch.ScriptObject | torch.Tensor) and _identity(value) in _recipes


def _identity(value: torch.ScriptObject | torch.Tensor) -> int:
    if isinstance(value, torch.ScriptObject):
        return hash(value)
    try:
        return hash(("storage", value.untyped_storage()._cdata))
    except (NotImplementedError, RuntimeError):  # it has no storage, and is none of ours
        return 0


def recipe_of(value: torch.ScriptObject | torch.Tensor) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    try:
        return _recipes[_identity(value)][1:]
    except (KeyError, NotImplementedError, RuntimeError):
        raise Unrecordable(f"object of class {_class_name(value)}") from None


def _class_name(value: Any) -> str:
    return str(value._type().qualified_name()).removeprefix("__torch__.torch.classes.")
