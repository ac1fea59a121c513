"""Calls between live arguments and plain data: the signature of live arguments, their encoding, and their rebuilding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sweep.calls.call import Call, Unrecordable
from sweep.calls.corpus import ALIGNMENT
from sweep.calls.recipes import recipe_of, remember, was_built
from sweep.calls.tensors import (
    COMPRESSED,
    extent,
    is_plain,
    is_strided,
    layout_name,
    nested_layout,
    on_storage,
    parts_of,
    quantization,
)
from sweep.operators import process_group
from sweep.operators.inventory import resolve

#: A floating-point storage of more bytes than this is not kept but refilled with seeded uniform values of the same range: no
#: kernel accepts or refuses an argument of that size by its values, and a few samples would otherwise be most of the corpus.
KEPT_BYTES = 64 * 1024

#: A call that needs more bytes than this after refilling (large sparse index lists) is not recorded; the log counts it.
LARGEST_BYTES = 1024 * 1024


def signature(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """A hashable that is equal for two calls of an overload exactly when they are the same call.

    Arguments are compared by structure and type, scalars by value, tensors by size, stride, storage offset, dtype, layout,
    device type, conj and neg bit, and which of them share a storage. Values inside tensors do not count.

    Raises:
        Unrecordable: for a tensor subclass or an object without a plain-data form.
    """
    storages: dict[int, int] = {}

    def of_made(value: Any) -> Any:
        overload, made_args, made_kwargs = recipe_of(value)
        return ("made", overload, of(made_args), *((name, of(made_kwargs[name])) for name in sorted(made_kwargs)))

    def of(value: Any) -> Any:
        kind = type(value)
        if isinstance(value, torch.Tensor):
            if not is_plain(value):
                raise Unrecordable(f"tensor subclass {kind.__name__}")
            if was_built(value):
                return of_made(value)
            if not is_strided(value):
                return ("T*", *_special_signature(value), *map(of, parts_of(value).values()))
            pointer = value.untyped_storage()._cdata
            return (
                "T",
                value.dtype,
                tuple(value.shape),
                value.stride(),
                value.storage_offset(),
                value.device.type,
                value.is_conj(),
                value.is_neg(),
                storages.setdefault(pointer, len(storages)),
            )
        if kind is int or kind is bool:
            return (kind, value)
        if value is None or kind is str:
            return value
        if kind is float or kind is complex:
            return (kind, repr(value))
        if kind is list or kind is tuple:
            return (kind, *map(of, value))
        if isinstance(value, (torch.dtype, torch.layout, torch.memory_format, torch.device)):
            return value
        if isinstance(value, torch.Generator):
            return ("generator", value.device.type)
        if isinstance(value, torch.UntypedStorage | torch.storage.TypedStorage):
            untyped = value if isinstance(value, torch.UntypedStorage) else value.untyped()
            return ("storage", untyped.nbytes(), storages.setdefault(untyped._cdata, len(storages)))
        if isinstance(value, torch.ScriptObject):
            known = process_group.plain(value)
            if known is not None:
                return ("distributed", *known.items())
            return of_made(value)
        if isinstance(value, list | tuple):  # torch.Size, named tuples of outputs used as arguments
            return (tuple, *map(of, value))
        if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            raise Unrecordable("symbolic number")
        if isinstance(value, int | float):  # enums and numpy scalars that reached the dispatcher
            return of(int(value) if isinstance(value, int) else float(value))
        raise Unrecordable(f"argument of type {kind.__name__}")

    return (of(args), *((name, of(kwargs[name])) for name in sorted(kwargs)))


def _special_signature(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Signature of a tensor that is not one strided view on one storage: its metadata without its parts."""
    if tensor.is_quantized:
        described = quantization(tensor).items()
        return ("quantized", tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.device.type, *described)
    shape = str(nested_layout(tensor)) if tensor.is_nested else tuple(tensor.shape)
    flag = tensor.is_coalesced() if tensor.layout is torch.sparse_coo else None
    return (tensor.layout, tensor.is_nested, tensor.dtype, shape, flag, tensor.device.type, tensor.is_conj())


class _Encoder:
    """Turns the arguments of one call into JSON, tensor descriptions and bytes.

    ``device`` is the device under test: it is written as ``self``, so that the call can be made on another one.
    """

    def __init__(self, device: str) -> None:
        self.device_type = torch.device(device).type
        self.tensors: list[dict[str, Any]] = []
        self.storages: list[dict[str, Any]] = []
        self.data = bytearray()
        self._tensor_at: dict[int, int] = {}
        self._storage_at: dict[int, int] = {}
        self._live: list[tuple[torch.UntypedStorage, str]] = []
        self._alive: list[torch.Tensor] = []

    def value(self, value: Any) -> Any:
        """JSON for one argument: plain values as they are, everything else as an object with one telling key."""
        kind = type(value)
        if isinstance(value, torch.Tensor):
            return self._making_of(value) if was_built(value) else {"tensor": self._tensor(value)}
        if value is None or kind is bool or kind is int or kind is str:
            return value
        if kind is float:
            return {"float": repr(value)}
        if kind is complex:
            return {"complex": [repr(value.real), repr(value.imag)]}
        if isinstance(value, list):
            return [self.value(v) for v in value]
        if isinstance(value, tuple):
            return {"tuple": [self.value(v) for v in value]}
        if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
            return {type(value).__name__: str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"device": self.device(value)}
        if isinstance(value, torch.Generator):
            return {"generator": self.device(value.device)}
        if isinstance(value, torch.UntypedStorage):
            return {"storage": self._storage(value, 0, value.nbytes(), floating=False)}
        if isinstance(value, torch.storage.TypedStorage):
            return self.value(value.untyped())
        if isinstance(value, int | float):
            return self.value(int(value) if isinstance(value, int) else float(value))
        if isinstance(value, torch.ScriptObject):
            known = process_group.plain(value)
            if known is not None:
                return known
            return self._making_of(value)
        raise Unrecordable(f"argument of type {kind.__name__}")

    def _making_of(self, value: Any) -> dict[str, Any]:
        overload, args, kwargs = recipe_of(value)
        named = {name: self.value(kwargs[name]) for name in sorted(kwargs)}
        return {"made": {"overload": overload, "args": [self.value(a) for a in args], "kwargs": named}}

    def device(self, device: torch.device) -> str:
        if device.type == self.device_type:
            return "self"
        if device.type != "cpu":
            raise Unrecordable(f"device {device.type}")
        return "cpu"

    def _tensor(self, tensor: torch.Tensor) -> int:
        known = self._tensor_at.get(id(tensor))
        if known is not None:
            return known
        if not is_plain(tensor) or torch._is_functional_tensor(tensor):
            raise Unrecordable(f"tensor subclass {type(tensor).__name__}")
        described: dict[str, Any] = {"dtype": str(tensor.dtype).removeprefix("torch."), "device": self.device(tensor.device)}
        if not is_strided(tensor):
            described["layout"] = layout_name(tensor)
            if tensor.is_quantized:
                described.update(quantization(tensor), stride=list(tensor.stride()))
            if tensor.is_nested:
                described["nested"] = nested_layout(tensor)
            else:
                described["size"] = list(tensor.shape)
            if tensor.layout is torch.sparse_coo:
                described["is_coalesced"] = tensor.is_coalesced()
            parts = parts_of(tensor)
            self._alive.extend(parts.values())  # they are new objects, and what is known goes by id
            described["parts"] = {name: self._tensor(part) for name, part in parts.items()}
        else:
            offset, size, stride = tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
            item = tensor.element_size()
            first, last = offset * item, (offset + extent(size, stride)) * item
            floating = tensor.dtype.is_floating_point or tensor.dtype.is_complex
            storage = self._storage(tensor.untyped_storage(), first, last, floating)
            described.update(size=list(size), stride=list(stride), offset=offset, storage=storage)
            if floating:
                self.storages[storage].setdefault("dtype", described["dtype"])
            if tensor.is_conj():
                described["conj"] = True
            if tensor.is_neg():
                described["neg"] = True
        self.tensors.append(described)
        self._tensor_at[id(tensor)] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def _storage(self, storage: torch.UntypedStorage, first: int, last: int, floating: bool) -> int:
        """Notes that bytes ``first`` to ``last`` of a storage are seen; they are copied in ``finish``, once all are known."""
        at = self._storage_at.get(storage._cdata)
        if at is None:
            at = self._storage_at[storage._cdata] = len(self.storages)
            self.storages.append({"nbytes": storage.nbytes(), "span": [first, last], "device": self.device(storage.device)})
            self._live.append((storage, "floating" if floating else "exact"))
        else:
            span = self.storages[at]["span"]
            span[0], span[1] = min(span[0], first), max(span[1], last)
            if not floating:
                self._live[at] = (storage, "exact")
        return at

    def finish(self) -> None:
        for described, (storage, kind) in zip(self.storages, self._live, strict=True):
            first, last = described.pop("span")
            last = min(last, described["nbytes"])
            first = min(first, last)
            dtype = described.pop("dtype", None)
            raw = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)[first:last]
            if kind == "floating" and last - first > KEPT_BYTES:
                described["fill"] = [dtype, *_finite_range(raw.cpu(), getattr(torch, dtype))]
                continue
            if not raw.numel():
                continue
            if len(self.data) + raw.numel() > LARGEST_BYTES:
                raise Unrecordable(f"more than {LARGEST_BYTES} bytes of values")
            at = -(-len(self.data) // ALIGNMENT) * ALIGNMENT
            self.data.extend(bytes(at - len(self.data)))
            self.data += raw.to("cpu", copy=True).numpy().tobytes()  # a storage lent to numpy could not be resized by the call
            described["bytes"] = [first, at, last - first]


def _finite_range(raw: torch.Tensor, dtype: torch.dtype) -> list[str]:
    """Lowest and highest finite real value in raw bytes, as ``repr`` text; ``0.0`` and ``1.0`` where there is none."""
    usable = raw[: raw.numel() // dtype.itemsize * dtype.itemsize].clone().view(dtype)
    real = torch.view_as_real(usable) if dtype.is_complex and dtype is not torch.complex32 else usable
    real = real.to(torch.float64 if not dtype.is_complex or real.dtype.is_floating_point else torch.complex128)
    real = torch.view_as_real(real).flatten() if real.dtype.is_complex else real.flatten()
    real = real[real.isfinite()]
    return [repr(real.min().item()), repr(real.max().item())] if real.numel() else ["0.0", "1.0"]


def encode(overload: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, device: str, source: str, layout: str = "") -> Call:
    """The plain-data form of a call about to be made; values are copied now, before the call can change them.

    Raises:
        Unrecordable: for a tensor subclass, a third device, or an object without a plain-data form.
    """
    encoder = _Encoder(device)
    plain_args = [encoder.value(a) for a in args]
    plain_kwargs = {name: encoder.value(kwargs[name]) for name in sorted(kwargs)}
    encoder.finish()
    call = Call(overload, source, plain_args, plain_kwargs, encoder.tensors, encoder.storages, encoder.data, layout)
    if any("parts" in t for t in call.tensors):
        try:
            rebuilt, _ = build(call, device)
        except (RuntimeError, NotImplementedError) as error:  # a sparse tensor in the middle of being made
            raise Unrecordable("parts that do not make a tensor again") from error
        for before, after in zip(args, rebuilt, strict=True):
            if isinstance(before, torch.Tensor) and before.is_quantized and before.stride() != after.stride():
                raise Unrecordable("quantized tensor that is neither contiguous nor channels-last")
    return call


# --- Call -> live arguments --------------------------------------------------------------------------------------------


def build(call: Call, device: str, *, own: bool = True) -> tuple[list[Any], dict[str, Any]]:
    """Fresh arguments for a call on a device.

    Args:
        call: the call.
        device: where every tensor that was on the device under test goes.
        own: give every storage memory of its own. ``False`` lets CPU tensors look into the corpus' bytes, which is faster and
            right only for a call that writes to none of its arguments.
    """
    target = torch.device(device)
    storages = [build_storage(s, call, target, own) for s in call.storages]
    tensors: list[torch.Tensor] = []
    for described in call.tensors:
        tensors.append(_build_tensor(described, storages, tensors, target))

    def decode(value: Any) -> Any:
        kind = type(value)
        if kind is list:
            return [decode(v) for v in value]
        if kind is not dict:
            return value
        [(tag, inner)] = value.items()
        if tag == "tensor":
            return tensors[inner]
        if tag == "made":
            return _make(
                inner["overload"], [decode(a) for a in inner["args"]], {k: decode(v) for k, v in inner["kwargs"].items()}
            )
        return _DECODERS[tag](inner, decode, storages, target)

    return [decode(a) for a in call.args], {name: decode(v) for name, v in call.kwargs.items()}


def _make(overload: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    made = resolve(overload)(*args, **kwargs)
    remember(made, overload, tuple(args), kwargs)
    return made


def _place(name: str, target: torch.device) -> torch.device:
    return target if name == "self" else torch.device(name)


def _generator(name: str, target: torch.device) -> torch.Generator:
    return torch.Generator(_place(name, target)).manual_seed(0)


_DECODERS: dict[str, Callable[[Any, Callable[[Any], Any], list[torch.UntypedStorage], torch.device], Any]] = {
    "float": lambda v, *_: float(v),
    "complex": lambda v, *_: complex(float(v[0]), float(v[1])),
    "tuple": lambda v, decode, *_: tuple(decode(x) for x in v),
    "dtype": lambda v, *_: getattr(torch, v),
    "layout": lambda v, *_: getattr(torch, v),
    "memory_format": lambda v, *_: getattr(torch, v),
    "device": lambda v, _decode, _storages, target: _place(v, target),
    "process_group": lambda *_: process_group.boxed(),
    "reduce_op": lambda *_: process_group.reduce_op(),
    "generator": lambda v, _decode, _storages, target: _generator(v, target),
    "storage": lambda v, _decode, storages, _target: storages[v],
}


def build_storage(described: dict[str, Any], call: Call, target: torch.device, own: bool) -> torch.UntypedStorage:
    """A storage with the recorded values; one that was too large to keep is refilled."""
    nbytes, kept, place = described["nbytes"], described.get("bytes"), _place(described["device"], target)
    if not nbytes:
        return torch.UntypedStorage(0, device=place)
    if kept is not None:
        first, at, length = kept
        raw = torch.frombuffer(call.data, dtype=torch.uint8, count=length, offset=at)
        if not own and length == nbytes and place.type == "cpu":
            return raw.untyped_storage()
        whole = torch.zeros(nbytes, dtype=torch.uint8)
        whole[first : first + length] = raw
    elif "fill" in described:
        whole = _refill(described["fill"], nbytes)
    else:
        whole = torch.zeros(nbytes, dtype=torch.uint8)
    return whole.to(place).untyped_storage()


#: How many different values a refilled storage has, over and over: making more takes longer and says nothing more.
_REFILL_BLOCK = 1 << 14


def _refill(fill: list[str], nbytes: int) -> torch.Tensor:
    """Seeded uniform values between the recorded lowest and highest, as bytes."""
    dtype = getattr(torch, fill[0])
    low, high = float(fill[1]), float(fill[2])
    generator = torch.Generator().manual_seed(0)
    block = torch.rand(_REFILL_BLOCK, generator=generator, dtype=torch.float64) * (high - low) + low
    block = torch.view_as_complex(block.view(-1, 2)) if dtype.is_complex else block
    bytes_of_block = block.to(dtype).view(torch.uint8)
    return bytes_of_block.repeat(-(-nbytes // bytes_of_block.numel()))[:nbytes]


def _build_tensor(
    described: dict[str, Any], storages: list[torch.UntypedStorage], tensors: list[torch.Tensor], target: torch.device
) -> torch.Tensor:
    dtype = getattr(torch, described["dtype"])
    if "parts" in described:
        return _assemble(described, {name: tensors[at] for name, at in described["parts"].items()})
    tensor = on_storage(storages[described["storage"]], dtype, described["offset"], described["size"], described["stride"])
    if described.get("conj"):
        torch._C._set_conj(tensor, True)
    if described.get("neg"):
        torch._C._set_neg(tensor, True)
    return tensor


def _assemble(described: dict[str, Any], parts: dict[str, torch.Tensor]) -> torch.Tensor:
    layout = described["layout"]
    if layout == "nested":
        return torch.ops.aten._nested_view_from_buffer(*parts.values()).clone()
    if layout == "quantized":
        if "axis" in described:
            return torch._make_per_channel_quantized_tensor(*parts.values(), described["axis"])
        return torch._make_per_tensor_quantized_tensor(*parts.values(), described["scale"], described["zero_point"])
    if layout == "sparse_coo":
        return torch.sparse_coo_tensor(
            *parts.values(), size=described["size"], is_coalesced=described["is_coalesced"], check_invariants=False
        )
    if layout == "_mkldnn":
        return parts["dense"].to_mkldnn()
    return torch.sparse_compressed_tensor(
        *parts.values(), size=described["size"], layout=getattr(torch, layout), check_invariants=False
    )
