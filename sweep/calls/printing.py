"""A call as Python that can be pasted: one expression without any name but ``torch``.

Sizes, strides, offsets, dtypes and aliasing are those of the call; values may be simpler ones. Argument types other than tensors
print themselves (see ``values``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from sweep.calls.call import Call, TensorData
from sweep.calls.storages import build_storage
from sweep.calls.tensors import extent
from sweep.calls.values import TABLE, number, tensor_positions

#: What the values of a printed call can be, simplest first: constants, or the recorded ones for a finding that depends on them.
FILLS = ("zeros", "ones", "exact")

#: Largest number of elements of a storage whose recorded values are printed one by one.
_PRINTED_ELEMENTS = 64


def expression(call: Call, device: str, fill: str, *, callee: str | None = None) -> str | None:
    """Pasteable Python expression that makes a call.

    Tensors have size and dtype, and stride and offset where those are not the contiguous ones; tensors that share a storage share
    it in the expression, too.

    Args:
        call: the call.
        device: the device that it is made on; ``cpu`` is left out.
        fill: one of ``FILLS``.
        callee: what to call instead of ``torch.ops.<overload>``.

    Returns:
        The expression; ``None`` if the call cannot be printed with that fill.
    """
    printer = _Printer(call, device, fill)
    parts = [printer.value(data) for data in call.args]
    parts += [f"{name}={printer.value(data)}" for name, data in call.kwargs.items()]
    return None if printer.failed else f"{callee or 'torch.ops.' + call.overload}({', '.join(parts)})"


def written(call: Call, device: str) -> tuple[str, bool]:
    """Text of a call with its recorded values, or simpler ones if those cannot be printed; and whether they are recorded."""
    texts = {fill: expression(call, device, fill) for fill in reversed(FILLS)}
    return next(filter(None, texts.values()), f"torch.ops.{call.overload}(...)"), texts["exact"] is not None


def arguments(text: str, names: Mapping[str, Any] = MappingProxyType({"torch": torch})) -> tuple[list[Any], dict[str, Any]]:
    """Evaluate the arguments of a call that is written as :func:`expression` does; raises whatever that raises.

    Args:
        text: the call.
        names: what its names stand for.
    """

    def capture(*args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
        return list(args), kwargs

    args, kwargs = eval(f"capture{text[text.index('(') :]}", {**names, "capture": capture})
    return args, kwargs


class _Printer:
    """Prints the arguments of one call.

    Attributes:
        failed: whether something could not be printed with the fill.
    """

    def __init__(self, call: Call, device: str, fill: str) -> None:
        self.failed = False
        self._call, self._device, self._fill = call, device, fill
        self._named: set[str] = set()
        self._tensor_uses = Counter(at for data in (*call.args, *call.kwargs.values()) for at in tensor_positions(data))
        self._storage_uses = Counter(tensor["storage"] for tensor in call.tensors if "storage" in tensor)

    def value(self, data: Any) -> str:
        entry, inner = TABLE.entry_of(data)
        return entry.print(inner, self)

    def place(self, name: str) -> str:
        return self._device if name == "self" else name

    def storage(self, position: int) -> str:
        storage = self._call.storages[position]
        return f"torch.UntypedStorage({storage['nbytes']}, device={self.place(storage['device'])!r})"

    def tensor(self, position: int) -> str:
        name = f"t{position}"
        if name in self._named:
            return name
        text = self._tensor_text(self._call.tensors[position])
        if self._tensor_uses[position] > 1:
            self._named.add(name)
            return f"({name} := {text})"
        return text

    def _tensor_text(self, tensor: TensorData) -> str:
        if "parts" in tensor:
            return self._assembled(tensor)
        size, stride, offset = tensor["size"], tensor["stride"], tensor["offset"]
        storage = self._call.storages[tensor["storage"]]
        itemsize = getattr(torch, tensor["dtype"]).itemsize
        shared = self._storage_uses[tensor["storage"]] > 1
        elements = storage["nbytes"] // itemsize if shared else offset + extent(size, stride)
        if offset == 0 and stride == _contiguous(size) and not shared:
            text = self._contiguous_tensor(size, elements, tensor)
        else:
            flat = self._shared_storage(elements, tensor) if shared else self._contiguous_tensor([elements], elements, tensor)
            text = f"{flat}.as_strided({_tuple(size)}, {_tuple(stride)}{f', {offset}' if offset else ''})"
        if tensor.get("conj"):
            text = f"{text}.conj()"
        return f"torch._neg_view({text})" if tensor.get("neg") else text

    def _shared_storage(self, elements: int, tensor: TensorData) -> str:
        """A storage that several tensors are on as a flat tensor, named at its first use. They must have the same dtype."""
        position = tensor["storage"]
        if len({other["dtype"] for other in self._call.tensors if other.get("storage") == position}) > 1:
            self.failed = True
        name = f"s{position}"
        if name in self._named:
            return name
        self._named.add(name)
        return f"({name} := {self._contiguous_tensor([elements], elements, tensor)})"

    def _contiguous_tensor(self, size: list[int], elements: int, tensor: TensorData) -> str:
        """A contiguous tensor on the first elements of a tensor's storage."""
        place = self.place(tensor["device"])
        options = f"dtype=torch.{tensor['dtype']}" + (f", device={place!r}" if place != "cpu" else "")
        if elements == 0 or self._fill != "exact":
            return f"torch.{'zeros' if elements == 0 else self._fill}({_tuple(size)}, {options})"
        storage = self._call.storages[tensor["storage"]]
        if "bytes" not in storage:
            self.failed = True
            return ""
        dtype = getattr(torch, tensor["dtype"])
        flat = torch.empty(0, dtype=dtype).set_(build_storage(storage, self._call.data, torch.device("cpu")))[:elements]
        constant = _constant(flat)
        if constant:
            return f"torch.{constant}({_tuple(size)}, {options})"
        if elements > _PRINTED_ELEMENTS:
            self.failed = True
            return ""
        wide = flat.to(torch.complex128 if dtype.is_complex else torch.float64 if dtype.is_floating_point else torch.int64)
        wide = wide.bool() if dtype is torch.bool else wide
        text = f"torch.tensor([{', '.join(_literal(value) for value in wide.tolist())}], {options})"
        return text if len(size) == 1 else f"{text}.view({_tuple(size)})"

    def _assembled(self, tensor: TensorData) -> str:
        layout = tensor["layout"]
        # The parts of a sparse or nested tensor hold indices: only the recorded values make a valid tensor.
        fill, self._fill = self._fill, self._fill if layout in ("_mkldnn", "quantized") else "exact"
        parts = {name: self.tensor(position) for name, position in tensor["parts"].items()}
        self._fill = fill
        inner = ", ".join(parts.values())
        if layout == "nested":
            return f"torch.ops.aten._nested_view_from_buffer({inner})"
        if layout == "_mkldnn":
            return f"{inner}.to_mkldnn()"
        if layout == "quantized" and "axis" in tensor:
            return f"torch._make_per_channel_quantized_tensor({inner}, {tensor['axis']})"
        if layout == "quantized":
            return f"torch._make_per_tensor_quantized_tensor({inner}, {tensor['scale']!r}, {tensor['zero_point']})"
        if layout == "sparse_coo":
            return f"torch.sparse_coo_tensor({inner}, {_tuple(tensor['size'])}, is_coalesced={tensor['is_coalesced']})"
        return f"torch.sparse_compressed_tensor({inner}, {_tuple(tensor['size'])}, layout=torch.{layout})"


def _constant(flat: torch.Tensor) -> str | None:
    """The fill that gives a flat tensor its values, bit for bit; ``None`` if none does."""
    raw = flat.view(torch.uint8)
    if not raw.any():
        return "zeros"
    return "ones" if torch.equal(raw, torch.ones_like(flat).view(torch.uint8)) else None


def _contiguous(size: list[int]) -> list[int]:
    """Strides of a contiguous tensor.

    >>> _contiguous([2, 0, 3])
    [3, 3, 1]
    """
    stride, step = [], 1
    for n in reversed(size):
        stride.append(step)
        step *= max(n, 1)
    return stride[::-1]


def _tuple(numbers: list[int]) -> str:
    return repr(tuple(numbers))


def _literal(value: Any) -> str:
    return number(value) if isinstance(value, float | complex) else repr(value)
