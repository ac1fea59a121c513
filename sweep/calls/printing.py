"""A call as Python that can be pasted: one expression, with nothing in it but torch.

The values are the simplest that show what the call is printed for; sizes, strides, offsets, dtypes and aliasing are the
call's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from sweep.calls.call import Call

from sweep.calls.codec import build_storage

from sweep.calls.tensors import extent

#: How the values of a printed call are written, simplest first: constants where any value shows the finding, the recorded
#: values where it depends on them.
FILLS = ("zeros", "ones", "exact")

#: A storage of more elements than this is never written out.
_WRITTEN_ELEMENTS = 64


def expression(call: Call, device: str, fill: str, *, callee: str | None = None) -> str | None:
    """The call as one pasteable Python expression, or ``None`` where ``fill`` cannot write it down.

    Tensors are written with size and dtype, and with stride and offset where those are not the contiguous ones; tensors that
    share a storage still do.

    Args:
        call: the call.
        device: the device it is made on; ``cpu`` is left out.
        fill: one of ``FILLS``.
        callee: what to call instead of ``torch.ops.<overload>``.
    """
    printer = _Printer(call, device, fill)
    parts = [printer.value(a) for a in call.args]
    parts += [f"{name}={printer.value(v)}" for name, v in call.kwargs.items()]
    return None if printer.failed else f"{callee or 'torch.ops.' + call.overload}({', '.join(parts)})"


def written(call: Call, device: str) -> tuple[str, bool]:
    """A call with its recorded values, or, where those are too many, with others; and whether it has the recorded ones."""
    texts = {fill: expression(call, device, fill) for fill in reversed(FILLS)}
    return next(filter(None, texts.values()), f"torch.ops.{call.overload}(...)"), texts[FILLS[-1]] is not None


def arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call that is written as ``expression`` writes it, evaluated; raises whatever that raises."""

    def capture(*args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
        return list(args), kwargs

    found: tuple[list[Any], dict[str, Any]] = eval(f"capture{text[text.index('(') :]}", {"torch": torch, "capture": capture})
    return found


class _Printer:
    def __init__(self, call: Call, device: str, fill: str) -> None:
        self.call, self.device, self.fill = call, device, fill
        self.failed = False
        self._named: set[str] = set()
        self._tensor_uses = _count(t for v in (*call.args, *call.kwargs.values()) for t in _tensor_refs(v))
        self._storage_uses = _count(t["storage"] for t in call.tensors if "storage" in t)

    def value(self, value: Any) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(map(self.value, value)) + "]"
        if not isinstance(value, dict):
            return repr(value)
        [(tag, inner)] = value.items()
        match tag:
            case "tensor":
                return self._tensor(inner)
            case "float":
                return _number(float(inner))
            case "complex":
                return f"complex({_number(float(inner[0]))}, {_number(float(inner[1]))})"
            case "tuple":
                return "(" + ", ".join(map(self.value, inner)) + ("," if len(inner) == 1 else "") + ")"
            case "device":
                return f"torch.device({self._place(inner)!r})"
            case "made":
                arguments = [*map(self.value, inner["args"]), *(f"{k}={self.value(v)}" for k, v in inner["kwargs"].items())]
                return f"torch.ops.{inner['overload']}({', '.join(arguments)})"
            case "process_group":
                return "torch.distributed.group.WORLD.boxed()"
            case "reduce_op":
                return "torch.classes.c10d.ReduceOp()"
            case "generator":
                return f"torch.Generator({self._place(inner)!r})"
            case "storage":
                described = self.call.storages[inner]
                return f"torch.UntypedStorage({described['nbytes']}, device={self._place(described['device'])!r})"
            case _:
                return f"torch.{inner}"

    def _place(self, name: str) -> str:
        return self.device if name == "self" else name

    def _tensor(self, at: int) -> str:
        name = f"t{at}"
        if name in self._named:
            return name
        text = self._write_tensor(self.call.tensors[at])
        if self._tensor_uses.get(at, 0) > 1:
            self._named.add(name)
            return f"({name} := {text})"
        return text

    def _write_tensor(self, described: dict[str, Any]) -> str:
        if "parts" in described:
            return self._write_parts(described)
        size, stride, offset = described["size"], described["stride"], described["offset"]
        storage = self.call.storages[described["storage"]]
        item = getattr(torch, described["dtype"]).itemsize
        shared = self._storage_uses[described["storage"]] > 1
        whole = storage["nbytes"] // item if shared else offset + extent(tuple(size), tuple(stride))
        contiguous = offset == 0 and stride == _contiguous(size)
        if contiguous and not shared:
            text = self._values(size, whole, described)
        else:
            flat = self._flat(described["storage"], whole, described) if shared else self._values([whole], whole, described)
            extra = f", {offset}" if offset else ""
            text = f"{flat}.as_strided({_tuple(size)}, {_tuple(stride)}{extra})"
        if described.get("conj"):
            text = f"{text}.conj()"
        return f"torch._neg_view({text})" if described.get("neg") else text

    def _flat(self, at: int, whole: int, described: dict[str, Any]) -> str:
        """A storage that several tensors look into, named at its first use; they must agree on a dtype to be written."""
        if len({t["dtype"] for t in self.call.tensors if t.get("storage") == at}) > 1:
            self.failed = True
        name = f"s{at}"
        if name in self._named:
            return name
        self._named.add(name)
        return f"({name} := {self._values([whole], whole, described)})"

    def _values(self, size: list[int], whole: int, described: dict[str, Any]) -> str:
        """A contiguous tensor of ``size`` that covers the first ``whole`` elements of a storage."""
        dtype = described["dtype"]
        place = self._place(described["device"])
        options = f"dtype=torch.{dtype}" + (f", device={place!r}" if place != "cpu" else "")
        if whole == 0 or self.fill != "exact":
            return f"torch.{'zeros' if whole == 0 else self.fill}({_tuple(size)}, {options})"
        storage = self.call.storages[described["storage"]]
        if whole > _WRITTEN_ELEMENTS or "bytes" not in storage:
            self.failed = True
            return ""
        live = getattr(torch, dtype)
        flat = torch.empty(0, dtype=live).set_(build_storage(storage, self.call, torch.device("cpu"), own=True))[:whole]
        wide = flat.to(torch.complex128 if live.is_complex else torch.float64 if live.is_floating_point else torch.int64)
        wide = wide.bool() if live is torch.bool else wide
        text = f"torch.tensor([{', '.join(_literal(v) for v in wide.tolist())}], {options})"
        return text if len(size) == 1 else f"{text}.view({_tuple(size)})"

    def _write_parts(self, described: dict[str, Any]) -> str:
        # The parts of a sparse tensor hold indices: only the recorded values make a valid tensor.
        fill, self.fill = self.fill, "exact" if described["layout"] not in ("_mkldnn", "quantized") else self.fill
        parts = {name: self._tensor(at) for name, at in described["parts"].items()}
        self.fill = fill
        layout = described["layout"]
        if layout == "nested":
            return f"torch.ops.aten._nested_view_from_buffer({', '.join(parts.values())})"
        if layout == "_mkldnn":
            return f"{parts['dense']}.to_mkldnn()"
        inner = ", ".join(parts.values())
        if layout == "quantized" and "axis" in described:
            return f"torch._make_per_channel_quantized_tensor({inner}, {described['axis']})"
        if layout == "quantized":
            return f"torch._make_per_tensor_quantized_tensor({inner}, {described['scale']!r}, {described['zero_point']})"
        if layout == "sparse_coo":
            coalesced = described["is_coalesced"]
            return f"torch.sparse_coo_tensor({inner}, {_tuple(described['size'])}, is_coalesced={coalesced})"
        return f"torch.sparse_compressed_tensor({inner}, {_tuple(described['size'])}, layout=torch.{layout})"


def _tensor_refs(value: Any) -> Iterable[int]:
    if isinstance(value, list):
        for v in value:
            yield from _tensor_refs(v)
    elif isinstance(value, dict):
        [(tag, inner)] = value.items()
        if tag == "tensor":
            yield inner
        elif tag == "tuple":
            yield from _tensor_refs(inner)
        elif tag == "made":
            yield from _tensor_refs([*inner["args"], *inner["kwargs"].values()])


def _count(items: Iterable[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def _contiguous(size: list[int]) -> list[int]:
    stride, step = [], 1
    for n in reversed(size):
        stride.append(step)
        step *= max(n, 1)
    return stride[::-1]


def _tuple(numbers: list[int]) -> str:
    return repr(tuple(numbers))


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else f"float({str(value)!r})"


def _literal(value: Any) -> str:
    if isinstance(value, complex):
        return f"complex({_number(value.real)}, {_number(value.imag)})"
    return _number(value) if isinstance(value, float) else repr(value)
