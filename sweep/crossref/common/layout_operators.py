"""Operators that look at how their arguments lie in memory: the same elements in another layout are another call."""

from __future__ import annotations

import torch

from sweep.operators.inventory import qualified_name

#: Operators whose result is the layout of an argument, or depends on it by definition.
_OPERATORS = {
    "aten.as_strided": "addresses the storage, not the elements",
    "aten.as_strided_": "addresses the storage, not the elements",
    "aten.as_strided_copy": "addresses the storage, not the elements",
    "aten.as_strided_scatter": "addresses the storage, not the elements",
    "aten._reshape_alias": "addresses the storage, not the elements",
    "aten._reshape_alias_copy": "addresses the storage, not the elements",
    "prims.as_strided": "addresses the storage, not the elements",
    "prims.as_strided_scatter": "addresses the storage, not the elements",
    "inductor._reinterpret_tensor": "addresses the storage, not the elements",
    "aten.resize_": "keeps the storage, not the elements, of a tensor that is not contiguous",
    "aten.resize": "keeps the storage, not the elements, of a tensor that is not contiguous",
    "aten.resize_as_": "keeps the storage, not the elements, of a tensor that is not contiguous",
    "aten.resize_as": "keeps the storage, not the elements, of a tensor that is not contiguous",
    "prims.resize": "keeps the storage, not the elements, of a tensor that is not contiguous",
    "aten.set": "addresses the storage, not the elements",
    "aten.set_": "addresses the storage, not the elements",
    "aten.is_set_to": "compares the layouts",
    "aten._has_same_storage_numel": "compares the storages",
    "aten.stride": "returns the layout",
    "aten.sym_stride": "returns the layout",
    "aten.storage_offset": "returns the layout",
    "aten.sym_storage_offset": "returns the layout",
    "aten.is_contiguous": "returns the layout",
    "aten.sym_is_contiguous": "returns the layout",
    "aten.is_strides_like_format": "returns the layout",
    "aten.is_non_overlapping_and_dense": "returns the layout",
    "aten._debug_has_internal_overlap": "returns a property of the layout",
    "aten.is_conj": "returns a bit that a contiguous copy does not have",
    "aten.is_neg": "returns a bit that a contiguous copy does not have",
}


def is_about_layout(op: torch._ops.OpOverload) -> bool:
    """Whether the result of an operator is the layout of an argument, or depends on it by definition."""
    return qualified_name(op._name).rpartition(".")[0] in _OPERATORS
