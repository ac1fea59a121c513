"""Tensors as plain data: their description, which is hashable, its JSON form, and building a tensor from that.

Values of storages live in ``storages``; which tensors a call has is decided by the encoder in ``codec``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch

from sweep.calls.call import TensorData
from sweep.calls.tensors import layout_name, on_storage, quantization


class StridedTensor(NamedTuple):
    """Description of a strided tensor.

    Attributes:
        dtype: its dtype.
        size: its size.
        stride: its strides in elements.
        offset: its storage offset in elements.
        storage: position of its storage among those of the call.
        device_type: type of its device.
        conj: whether its conjugate bit is set.
        neg: whether its negative bit is set.
    """

    dtype: torch.dtype
    size: Sequence[int]
    stride: Sequence[int]
    offset: int
    storage: int
    device_type: str
    conj: bool
    neg: bool


class AssembledTensor(NamedTuple):
    """Description of a sparse, nested, quantized or mkldnn tensor.

    Attributes:
        dtype: its dtype.
        device_type: type of its device.
        fields: name and value of its other fields in :class:`~sweep.calls.call.TensorData`, except ``parts``.
        parts: parameter of the constructor and position of the part among the tensors of the call.
    """

    dtype: torch.dtype
    device_type: str
    fields: tuple[tuple[str, Any], ...]
    parts: tuple[tuple[str, int], ...]


TensorDescription = StridedTensor | AssembledTensor


def describe_assembled(tensor: torch.Tensor, parts: Mapping[str, torch.Tensor], positions: Mapping[str, int]) -> AssembledTensor:
    """Description of a tensor that is not strided.

    Args:
        tensor: the tensor.
        parts: its parts (see ``tensors.parts_of``).
        positions: the positions of the parts among the tensors of the call.
    """
    fields: dict[str, Any] = {"layout": layout_name(tensor)}
    if tensor.is_quantized:
        fields.update(quantization(tensor), stride=tensor.stride())
    if tensor.is_nested:
        # Metadata, though torch keeps it as values of tensors.
        fields["nested"] = tuple(_frozen(part.tolist()) for name, part in parts.items() if name != "buffer")
    else:
        fields["size"] = tuple(tensor.shape)
    if tensor.layout is torch.sparse_coo:
        fields["is_coalesced"] = tensor.is_coalesced()
    return AssembledTensor(tensor.dtype, tensor.device.type, tuple(fields.items()), tuple(positions.items()))


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _thawed(value: Any) -> Any:
    return list(map(_thawed, value)) if isinstance(value, tuple) else value


def tensor_as_json(description: TensorDescription, place: Callable[[str], str]) -> TensorData:
    """JSON form of a description.

    Args:
        description: the description.
        place: returns the name of a device, as :class:`~sweep.calls.call.TensorData` has it, for its type.
    """
    encoded: TensorData = {"dtype": dtype_name(description.dtype), "device": place(description.device_type)}
    if isinstance(description, AssembledTensor):
        encoded.update(cast(TensorData, {name: _thawed(value) for name, value in description.fields}))
        encoded["parts"] = dict(description.parts)
        return encoded
    encoded["size"] = list(description.size)
    encoded["stride"] = list(description.stride)
    encoded["offset"] = description.offset
    encoded["storage"] = description.storage
    if description.conj:
        encoded["conj"] = True
    if description.neg:
        encoded["neg"] = True
    return encoded


class _DtypeNames(dict[torch.dtype, str]):
    def __missing__(self, dtype: torch.dtype) -> str:
        name = self[dtype] = str(dtype).removeprefix("torch.")
        return name


_dtype_names = _DtypeNames()


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a dtype without ``torch.``."""
    return _dtype_names[dtype]


def build_tensor(encoded: TensorData, storages: Sequence[torch.UntypedStorage], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tensor from its JSON form.

    Args:
        encoded: the JSON form.
        storages: the storages of the call.
        tensors: the tensors of the call before this one, its parts among them.
    """
    if "parts" in encoded:
        return _assemble(encoded, {name: tensors[position] for name, position in encoded["parts"].items()})
    dtype = getattr(torch, encoded["dtype"])
    tensor = on_storage(storages[encoded["storage"]], dtype, encoded["offset"], encoded["size"], encoded["stride"])
    if "conj" in encoded:
        torch._C._set_conj(tensor, True)
    if "neg" in encoded:
        torch._C._set_neg(tensor, True)
    return tensor


def _assemble(encoded: TensorData, parts: Mapping[str, torch.Tensor]) -> torch.Tensor:
    layout = encoded["layout"]
    if layout == "nested":
        return torch.ops.aten._nested_view_from_buffer(*parts.values()).clone()
    if layout == "quantized":
        if "axis" in encoded:
            return torch._make_per_channel_quantized_tensor(*parts.values(), encoded["axis"])
        return torch._make_per_tensor_quantized_tensor(*parts.values(), encoded["scale"], encoded["zero_point"])
    if layout == "sparse_coo":
        return torch.sparse_coo_tensor(
            *parts.values(), size=encoded["size"], is_coalesced=encoded["is_coalesced"], check_invariants=False
        )
    if layout == "_mkldnn":
        return parts["dense"].to_mkldnn()
    return torch.sparse_compressed_tensor(
        *parts.values(), size=encoded["size"], layout=getattr(torch, layout), check_invariants=False
    )
