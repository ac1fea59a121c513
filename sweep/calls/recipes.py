"""Construction recipes: the calls that returned objects without another plain form, such as packed weights.

Encoding a recipe as an argument lives in ``values``. Recipes are those of this process.
"""

from __future__ import annotations

from typing import Any

import torch

from sweep.calls.call import Unrecordable
from sweep.calls.tensors import PACKED_DTYPES

#: Position of an object in the table: of a tensor the address of its storage, so that views of it are recognized, if it has one.
_ObjectKey = int | tuple[str, int]

#: The object, and overload, positional and keyword arguments of the call that returned it. An object stays alive while it is in
#: the table, so that no other one takes its address.
_recipes: dict[_ObjectKey, tuple[torch.ScriptObject | torch.Tensor, str, tuple[Any, ...], dict[str, Any]]] = {}

#: Number of recipes that are kept; the oldest are dropped.
_LIMIT = 1000

#: Overloads that return a tensor whose bytes are the address of a C++ object: kernels refuse a copy of it, or crash.
_RETURN_ADDRESSES = {
    "_quantized._wrapped_linear_prepack.default",
    "_quantized.wrapped_fbgemm_pack_gemm_matrix_fp16.default",
    "aten._wrapped_linear_prepack.default",
    "aten.fbgemm_pack_gemm_matrix_fp16.default",
    "aten.fbgemm_pack_quantized_matrix.KN",
    "aten.fbgemm_pack_quantized_matrix.default",
    "profiler._record_function_enter.default",
}

#: Overloads whose result, if the first argument requires a gradient, holds a workspace for the backward beside its elements.
WITH_WORKSPACE = {"aten.mkldnn_max_pool2d.default", "aten.mkldnn_max_pool3d.default"}


def remember(result: Any, overload: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Store the construction recipe of an object that has no other plain form.

    Args:
        result: what a call returned; ignored if it is any other object.
        overload: qualified name of the overload that was called.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    has_workspace = overload in WITH_WORKSPACE and args[0].requires_grad
    if is_opaque(result, overload) or has_workspace or isinstance(result, torch.ScriptObject):
        _recipes[_object_key(result)] = result, overload, args, kwargs
        while len(_recipes) > _LIMIT:
            del _recipes[next(iter(_recipes))]


def is_opaque(result: Any, overload: str) -> bool:
    """Whether the result of an overload is a tensor whose bytes cannot be copied, or mean nothing."""
    return isinstance(result, torch.Tensor) and (overload in _RETURN_ADDRESSES or result.dtype in PACKED_DTYPES)


def was_built(value: Any) -> bool:
    """Whether there is a construction recipe for a value; no copy of such a value works in its place."""
    return bool(_recipes) and isinstance(value, torch.ScriptObject | torch.Tensor) and _object_key(value) in _recipes


def recipe_of(value: torch.ScriptObject | torch.Tensor) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Overload, positional and keyword arguments of the call that returned an object.

    Raises:
        Unrecordable: there is no recipe for it.
    """
    try:
        return _recipes[_object_key(value)][1:]
    except KeyError:
        name = str(value._type().qualified_name()) if isinstance(value, torch.ScriptObject) else type(value).__name__
        raise Unrecordable(f"object of class {name.removeprefix('__torch__.torch.classes.')}") from None


def _object_key(value: torch.ScriptObject | torch.Tensor) -> _ObjectKey:
    if isinstance(value, torch.ScriptObject):
        return "object", hash(value)
    try:
        address: int = value.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse, mkldnn and other tensors without a storage
        return "tensor", id(value)
    return address
