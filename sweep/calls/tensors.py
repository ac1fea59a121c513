"""Structure of tensors: one strided view on one storage, or several strided parts (sparse, nested, quantized, mkldnn).

Encoding tensors as JSON lives in ``tensor_data``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from sweep.calls.call import Unrecordable

#: The compressed sparse layouts.
COMPRESSED = {torch.sparse_csr, torch.sparse_bsr, torch.sparse_csc, torch.sparse_bsc}
_ROW_COMPRESSED = {torch.sparse_csr, torch.sparse_bsr}
_MKLDNN = torch._mkldnn  # the one layout without a public name

#: The classes of tensors without behavior of their own in Python.
PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer})

#: Dtypes with several elements in a byte. torch has no constructor for such a tensor other than quantizing one.
PACKED_DTYPES = {torch.quint4x2, torch.quint2x4}


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is of none but torch's own plain classes, rather than a tensor subclass."""
    return type(tensor) in PLAIN


def is_strided(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a strided view on one storage: not sparse, nested, quantized or mkldnn."""
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested


def quantization(tensor: torch.Tensor) -> dict[str, Any]:
    """Parameters of a quantized tensor that are not tensors: ``scale`` and ``zero_point``, or ``axis``.

    Raises:
        Unrecordable: for a dtype or scheme that torch cannot construct again.
    """
    scheme = tensor.qscheme()
    if tensor.dtype in PACKED_DTYPES:
        raise Unrecordable(f"quantized tensor, {str(tensor.dtype).removeprefix('torch.')}")
    if scheme in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return {"scale": tensor.q_scale(), "zero_point": tensor.q_zero_point()}
    if scheme in (torch.per_channel_affine, torch.per_channel_symmetric, torch.per_channel_affine_float_qparams):
        return {"axis": tensor.q_per_channel_axis()}
    raise Unrecordable(f"quantized tensor, {str(scheme).removeprefix('torch.')}")


def parts_of(tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Strided parts of a sparse, nested, quantized or mkldnn tensor, by the parameters of its constructor.

    Raises:
        Unrecordable: for another layout, or as :func:`quantization`.
    """
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
    """Name of a layout without ``torch.``; ``nested`` and ``quantized`` count as layouts."""
    if tensor.is_nested:
        return "nested"
    return "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")


def extent(size: Sequence[int], stride: Sequence[int]) -> int:
    """Number of elements from the first to the last one that a strided tensor reaches; 0 for an empty tensor.

    >>> extent((2, 3), (4, 1)), extent((0, 3), (4, 1)), extent((), ())
    (7, 0, 1)
    """
    if 0 in size:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))


def bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    """The bytes of a storage, as a tensor on it."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def as_fillable(tensor: torch.Tensor) -> torch.Tensor:
    """A strided tensor as one on the same memory that ``fill_`` takes.

    That is the tensor itself unless torch has no kernel to fill its dtype: ``bcomplex32`` becomes its real and imaginary parts;
    raw bits (``bits8``) and numbers smaller than a byte (``uint4``) become integers of the same size.
    """
    if _has_fill(tensor.dtype):
        return tensor
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor.view(INTEGERS[tensor.itemsize])


#: Size of an element in bytes -> the integers of that size.
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@functools.cache
def _has_fill(dtype: torch.dtype) -> bool:
    try:
        torch.full((2,), 1, dtype=dtype)  # a single element or zeros need no kernel
    except NotImplementedError:
        return False
    return True


def is_contiguous(size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether a strided tensor is contiguous, as ``torch.Tensor.is_contiguous`` says it.

    >>> is_contiguous((2, 3), (3, 1)), is_contiguous((2, 3), (1, 2)), is_contiguous((1, 3), (7, 1)), is_contiguous((0, 3), (7, 7))
    (True, False, True, True)
    """
    expected = 1
    for n, step in zip(reversed(size), reversed(stride), strict=True):
        if n != 1 and step != expected:
            return 0 in size
        expected *= n
    return True


def on_storage(
    storage: torch.UntypedStorage, dtype: torch.dtype, offset: int, size: Sequence[int], stride: Sequence[int]
) -> torch.Tensor:
    """New strided tensor on a storage.

    Its version counter is 0, as of a tensor that nothing was written to: ``aten._version`` returns it.

    Args:
        storage: the storage.
        dtype: dtype of the tensor.
        offset: storage offset in elements.
        size: size of the tensor.
        stride: strides in elements.
    """
    tensor = torch.empty(0, dtype=dtype, device=storage.device)
    tensor.set_(storage, offset, size, stride)
    if not tensor.is_inference():  # which has no version counter
        torch._C._autograd._unsafe_set_version_counter((tensor,), (0,))
    return tensor
