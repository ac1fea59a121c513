"""What a tensor is made of: one strided view on one storage, or the strided tensors that a sparse, nested, quantized or mkldnn one consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sweep.calls.call import Unrecordable

COMPRESSED = {torch.sparse_csr, torch.sparse_bsr, torch.sparse_csc, torch.sparse_bsc}
_ROW_COMPRESSED = {torch.sparse_csr, torch.sparse_bsr}
_MKLDNN = torch._mkldnn  # the one layout without a public name

#: Dtypes of several elements to a byte, of which torch can make a tensor by quantizing alone.
_PACKED = {torch.quint4x2, torch.quint2x4}


def is_plain(tensor: torch.Tensor) -> bool:
    kind = type(tensor)
    return kind is torch.Tensor or kind is torch.nn.Parameter or kind is torch.nn.Buffer


def is_strided(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a strided view on one storage, and not made of several tensors or of quantized integers."""
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested


def quantization(tensor: torch.Tensor) -> dict[str, Any]:
    """What turns a quantized tensor's integers into numbers, as far as it is not tensors itself."""
    scheme = tensor.qscheme()
    if tensor.dtype in _PACKED:
        raise Unrecordable(f"quantized tensor, {str(tensor.dtype).removeprefix('torch.')}")
    if scheme in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return {"scale": tensor.q_scale(), "zero_point": tensor.q_zero_point()}
    if scheme in (torch.per_channel_affine, torch.per_channel_symmetric, torch.per_channel_affine_float_qparams):
        return {"axis": tensor.q_per_channel_axis()}
    raise Unrecordable(f"quantized tensor, {str(scheme).removeprefix('torch.')}")


def nested_layout(tensor: torch.Tensor) -> list[Any]:
    """Sizes, strides and offsets of the tensors in a nested one: metadata to us, though torch keeps them as values of tensors."""
    return [part.tolist() for name, part in parts_of(tensor).items() if name != "buffer"]


def parts_of(tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """The strided tensors that a sparse, nested, quantized or mkldnn tensor is made of, by its constructor's parameters."""
    if tensor.is_quantized:
        parts = {"int_repr": tensor.int_repr()}
        if "axis" in quantization(tensor):
            parts.update(scales=tensor.q_per_channel_scales(), zero_points=tensor.q_per_channel_zero_points())
        return parts
    if tensor.is_nested:
        return {
            "buffer": tensor.values(),
            "nested_size": tensor._nested_tensor_size(),
            "nested_strides": tensor._nested_tensor_strides(),
            "offsets": tensor._nested_tensor_storage_offsets(),
        }
    if tensor.layout is torch.sparse_coo:
        return {"indices": tensor._indices(), "values": tensor._values()}
    if tensor.layout in COMPRESSED:
        row = tensor.layout in _ROW_COMPRESSED
        return {
            "compressed_indices": tensor.crow_indices() if row else tensor.ccol_indices(),
            "plain_indices": tensor.col_indices() if row else tensor.row_indices(),
            "values": tensor.values(),
        }
    if tensor.layout is _MKLDNN:
        return {"dense": tensor.to_dense()}
    raise Unrecordable(f"layout {tensor.layout}")


def layout_name(tensor: torch.Tensor) -> str:
    if tensor.is_nested:
        return "nested"
    return "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")


def extent(size: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many elements past its offset a strided tensor reaches (0 for an empty one)."""
    if 0 in size:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))


def on_storage(
    storage: torch.UntypedStorage, dtype: torch.dtype, offset: int, size: Sequence[int], stride: Sequence[int]
) -> torch.Tensor:
    """A new strided tensor on a storage, which nothing has been written to: ``aten._version`` of it is 0."""
    tensor = torch.empty(0, dtype=dtype, device=storage.device)
    tensor.set_(storage, offset, size, stride)
    torch._C._autograd._unsafe_set_version_counter((tensor,), (0,))
    return tensor
