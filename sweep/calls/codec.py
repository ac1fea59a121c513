"""Calls between live arguments and plain data: signature, encoding and building of all the arguments of a call.

Argument types live in ``values``, tensors in ``tensor_data``, values of storages in ``storages``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from sweep.calls.call import Call, StorageData, Unrecordable
from sweep.calls.storages import CORPUS_LIMITS, KEPT_BYTES, LARGEST_BYTES, StorageUse, ValueLimits, build_storage, encode_storage
from sweep.calls.tensor_data import (
    AssembledTensor,
    StridedTensor,
    TensorDescription,
    build_tensor,
    describe_assembled,
    tensor_as_json,
)
from sweep.calls.tensors import extent, parts_of
from sweep.calls.values import TABLE, as_json

__all__ = ["KEPT_BYTES", "LARGEST_BYTES", "build", "encode", "signature"]


def signature(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hashable:
    """Hashable that is equal for two calls of an overload exactly if they are the same call.

    It is the encoded form of the arguments, without values of tensors: see ``Call.key``, which is derived from the same.

    Raises:
        Unrecordable: for a tensor subclass or an object without a plain form.

    >>> signature((torch.zeros(2), 1), {}) == signature((torch.ones(2), 1), {})
    True
    >>> signature((torch.zeros(2), 1), {}) == signature((torch.zeros(2), 1.0), {})
    False
    """
    encoder = _Encoder()
    encoded = encoder.arguments(args, kwargs)
    return (*encoded, *encoder.tensors, *encoder.storage_sizes)


class _Encoder:
    """Encodes the arguments of one call.

    Args:
        device_type: type of the device under test, which plain forms call ``self``; without it, devices go by their type.

    Attributes:
        tensors: the descriptions of the tensors as plain tuples, parts before what is assembled from them.
        live: the tensors; they are kept alive, since both they and their storages go by address.
        storage_arguments: the storages that are themselves arguments.
        storage_sizes: position and size in bytes of each of them.
        storage_positions: address of a storage -> its position among those of the call.
    """

    def __init__(self, device_type: str = "") -> None:
        self.device_type = device_type
        self.tensors: list[tuple[Any, ...]] = []
        self.live: list[torch.Tensor] = []
        self.storage_arguments: list[torch.UntypedStorage] = []
        self.storage_sizes: list[tuple[int, int]] = []
        self.storage_positions: dict[int, int] = {}
        self._tensor_positions: dict[int, int] = {}

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]:
        """The encoded forms of positional and keyword arguments."""
        value = self.value
        encoded = tuple([value(arg) for arg in args])
        return encoded, tuple([(name, value(kwargs[name])) for name in sorted(kwargs)]) if kwargs else ()

    def value(self, value: Any) -> Any:
        encode = TABLE[type(value)]
        return value if encode is None else encode(value, self)

    def place(self, device_type: str) -> str:
        if not self.device_type:
            return device_type
        if device_type == self.device_type:
            return "self"
        if device_type != "cpu":
            raise Unrecordable(f"device {device_type}")
        return "cpu"

    def tensor(self, tensor: torch.Tensor) -> int:
        position = self._tensor_positions.get(id(tensor))
        if position is not None:
            return position
        description: Any
        if tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_nested:  # is_strided, without a call
            # The fields of StridedTensor; a named tuple would take three times as long.
            positions = self.storage_positions
            description = (
                tensor.dtype,
                tensor.shape,
                tensor.stride(),
                tensor.storage_offset(),
                positions.setdefault(tensor.untyped_storage()._cdata, len(positions)),
                "cpu" if tensor.is_cpu else tensor.device.type,
                tensor.is_conj(),
                tensor.is_neg(),
            )
        else:
            parts = parts_of(tensor)
            description = describe_assembled(tensor, parts, {name: self.tensor(part) for name, part in parts.items()})
        position = self._tensor_positions[id(tensor)] = len(self.tensors)
        self.tensors.append(description)
        self.live.append(tensor)
        return position

    def storage(self, storage: torch.UntypedStorage) -> int:
        position = self.storage_positions.setdefault(storage._cdata, len(self.storage_positions))
        self.storage_arguments.append(storage)
        self.storage_sizes.append((position, storage.nbytes()))
        return position

    def descriptions(self) -> list[TensorDescription]:
        """The descriptions of the tensors."""
        return [d if isinstance(d, AssembledTensor) else StridedTensor._make(d) for d in self.tensors]


def encode(
    overload: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    device: str,
    source: str,
    variant: str = "",
    limits: ValueLimits = CORPUS_LIMITS,
) -> Call:
    """Plain form of a call that is about to be made; values are copied now, before the call can change them.

    Args:
        overload: qualified name.
        args: positional arguments.
        kwargs: keyword arguments.
        device: the device under test; plain forms call it ``self``, so that the call can be made on another one.
        source: where the call comes from, for people.
        variant: name of the variant, if it is one.
        limits: how many bytes of values may be kept.

    Raises:
        Unrecordable: for a tensor subclass, a third device, an object without a plain form, or too many values.
    """
    encoder = _Encoder(torch.device(device).type)
    plain_args, plain_kwargs = encoder.arguments(args, kwargs)
    descriptions = encoder.descriptions()
    storages, data = _encode_storages(encoder, descriptions, limits)
    tensors = [tensor_as_json(description, encoder.place) for description in descriptions]
    named = {name: as_json(value) for name, value in plain_kwargs}
    call = Call(overload, source, [as_json(value) for value in plain_args], named, tensors, storages, data, variant)
    if any("parts" in tensor for tensor in tensors):
        _check_assembled(call, args, device)
    return call


def _encode_storages(
    encoder: _Encoder, descriptions: list[TensorDescription], limits: ValueLimits
) -> tuple[list[StorageData], bytearray]:
    uses: dict[int, StorageUse] = {}
    for description, tensor in zip(descriptions, encoder.live, strict=True):
        if torch._is_functional_tensor(tensor):
            raise Unrecordable(f"tensor subclass {type(tensor).__name__}")
        if isinstance(description, StridedTensor):
            _add_use(uses, description, tensor)
    for (position, nbytes), storage in zip(encoder.storage_sizes, encoder.storage_arguments, strict=True):
        use = uses.setdefault(position, StorageUse(storage, None, 0, nbytes, is_floating=False))
        use.add(0, nbytes, is_floating=False)
        use.is_argument = True
    data = bytearray()
    ordered = [uses[position] for position in range(len(uses))]
    return [encode_storage(use, encoder.place(use.storage.device.type), data, limits) for use in ordered], data


def _add_use(uses: dict[int, StorageUse], description: StridedTensor, tensor: torch.Tensor) -> None:
    dtype, offset = description.dtype, description.offset
    first = offset * dtype.itemsize
    last = (offset + extent(description.size, description.stride)) * dtype.itemsize
    is_floating = dtype.is_floating_point or dtype.is_complex
    use = uses.get(description.storage)
    if use is None:
        use = uses[description.storage] = StorageUse(tensor.untyped_storage(), tensor, first, last, is_floating)
    else:
        use.add(first, last, is_floating=is_floating)
    if is_floating and not use.floating_dtype:
        use.floating_dtype = str(dtype).removeprefix("torch.")


def _check_assembled(call: Call, args: Sequence[Any], device: str) -> None:
    """Raise ``Unrecordable`` if the tensors of a call that are not strided cannot be assembled again from their parts."""
    try:
        rebuilt, _ = build(call, device)
    except (RuntimeError, NotImplementedError) as error:  # a sparse tensor in the middle of its construction
        raise Unrecordable("parts that do not make a tensor again") from error
    for before, after in zip(args, rebuilt, strict=True):
        if isinstance(before, torch.Tensor) and before.is_quantized and before.stride() != after.stride():
            raise Unrecordable("quantized tensor that is neither contiguous nor channels-last")


class _Decoder:
    """Builds the arguments of one call."""

    def __init__(self, call: Call, device: torch.device, *, own: bool) -> None:
        self._device = device
        self.storages = [build_storage(s, call.data, self.device(s["device"]), own=own) for s in call.storages]
        self.tensors: list[torch.Tensor] = []
        for tensor in call.tensors:
            self.tensors.append(build_tensor(tensor, self.storages, self.tensors))

    def value(self, data: Any) -> Any:
        if type(data) is dict:
            [(tag, inner)] = data.items()
            return TABLE.by_tag[tag].decode(inner, self)
        if type(data) is list:
            return [self.value(item) for item in data]
        return data

    def device(self, name: str) -> torch.device:
        return self._device if name == "self" else torch.device(name)


def build(call: Call, device: str, *, own: bool = True) -> tuple[list[Any], dict[str, Any]]:
    """New arguments for a call.

    Args:
        call: the call.
        device: where to build every tensor that was on the device under test.
        own: give every storage memory of its own. Without it, CPU tensors may be views on the corpus, which is faster and right
            only for a call that does not write to its arguments.

    Returns:
        Positional and keyword arguments.
    """
    decoder = _Decoder(call, torch.device(device), own=own)
    value = decoder.value
    return [value(data) for data in call.args], {name: value(data) for name, data in call.kwargs.items()}
