"""Calls that work, made again with their tensors lying otherwise in memory: that is where meta kernels are wrong most often.

Of each overload a few calls are varied (see ``selection``): enough to show every rank, dtype and option that its calls have, few
enough to afford. Each gets every layout that applies to it, once on all of its tensors and once on the first one alone, so that
differently laid-out arguments meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from opinfo_adapters.derived import Known
from sweep.recording.attempts import Attempts
from opinfo_adapters.derived.selection import representatives
from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.calls.recipes import was_built
from sweep.calls.tensors import is_strided
from sweep.operators.inventory import resolve

#: How many calls of an overload are varied.
VARIED = 5

#: Tensors of more elements than this are not varied: the small ones say the same.
_LARGEST = 20_000


def tasks(known: Known) -> Iterable[str]:
    """Every overload that is called with a tensor."""
    return [n for n in known.callable_overloads() if known.is_called(n) and "Tensor" in str(resolve(n)._schema)]


def run(task: str, known: Known, attempt: Attempts) -> None:
    """Puts the chosen calls of one overload into every layout that applies."""
    op = resolve(task)
    calls = [c for c in known.calls(task) if any(_is_varied(t) for t in c.tensors) and c.number_of_elements() <= _LARGEST]
    several = [c for c in calls if any(len(t.get("size", ())) > 1 for t in c.tensors)]
    for call in representatives(several or calls, VARIED):
        for layout in LAYOUTS:
            for first in (False, True):
                made = _varied(op, call, known.device, layout, first=first)
                if made is not None:
                    attempt(*made, f"layouts {layout}: {call.source}", layout)


def _is_varied(tensor: dict[str, Any]) -> bool:
    return "parts" not in tensor and bool(tensor["size"])


def _varied(
    op: torch._ops.OpOverload, call: Call, device: str, layout: str, *, first: bool
) -> tuple[list[Any], dict[str, Any]] | None:
    """A call with its tensors in a layout, or ``None`` if that applies to none of them."""
    args, kwargs = build(call, device)
    written = {id(t) for a, v in zip(op._schema.arguments, args, strict=False) if a.is_write for t in _tensors(v)}
    written |= {id(t) for a in op._schema.arguments if a.is_write for t in _tensors(kwargs.get(a.name))}
    change = LAYOUTS[layout]
    memo: dict[int, Any] = {}
    changed = 0

    def of(value: Any) -> Any:
        nonlocal changed
        if isinstance(value, list):
            return [of(v) for v in value]
        if not isinstance(value, torch.Tensor) or not is_strided(value) or was_built(value):
            return value
        if id(value) not in memo:
            skipped = (first and memo) or (id(value) in written and layout in _READ_ONLY)
            other = None if skipped else change(value)
            changed += other is not None
            memo[id(value)] = value if other is None else other
        return memo[id(value)]

    args, kwargs = [of(a) for a in args], {k: of(v) for k, v in kwargs.items()}
    if not changed or (first and len(memo) == 1):  # the first of one is all of them
        return None
    return args, kwargs


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in _tensors(v)] if isinstance(value, list) else []


def transposed(tensor: torch.Tensor) -> torch.Tensor | None:
    """Dimensions in the opposite order in memory; of at least two."""
    if tensor.dim() < 2:
        return None
    backwards = tuple(range(tensor.dim()))[::-1]
    return tensor.permute(backwards).clone(memory_format=torch.contiguous_format).permute(backwards)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor | None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.dim()]) if tensor.dim() in formats else None


def sliced(tensor: torch.Tensor) -> torch.Tensor | None:
    """Every second element of a larger tensor's last dimension, from the second one on."""
    if not tensor.dim():
        return None
    larger = tensor.new_zeros((*tensor.shape[:-1], 2 * tensor.shape[-1] + 1))
    part = larger[..., 1::2]
    part.copy_(tensor)
    return part


def _expanded(tensor: torch.Tensor) -> torch.Tensor | None:
    """The first slice of the first dimension that has several, over and over."""
    for dim, size in enumerate(tensor.shape):
        if size > 1:
            return tensor.narrow(dim, 0, 1).expand(tensor.shape)
    return None


def _odd_ones(tensor: torch.Tensor) -> torch.Tensor | None:
    """Strides of dimensions of size 1 that no contiguous tensor has."""
    if 1 not in tensor.shape or not tensor.numel():
        return None
    strides = [7 if size == 1 else stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return tensor.as_strided(tensor.shape, strides)


def _conj(tensor: torch.Tensor) -> torch.Tensor | None:
    return _in_other_bytes(tensor, torch.conj_physical).conj() if tensor.is_complex() and not tensor.is_conj() else None


def _neg(tensor: torch.Tensor) -> torch.Tensor | None:
    if tensor.dtype not in _NEGATED or tensor.is_neg():
        return None
    return torch._neg_view(_in_other_bytes(tensor, torch.neg))


#: What torch can negate, and can so lift a lazy negation from; of smaller floating-point types it cannot.
_NEGATED = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex32, torch.complex64, torch.complex128}


def _in_other_bytes(tensor: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """A tensor that lies the same way on a storage that is another one's, changed: a lazy bit on top undoes that."""
    whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
    return change(whole).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def _empty(tensor: torch.Tensor) -> torch.Tensor | None:
    return tensor.narrow(0, 0, 0) if tensor.dim() and tensor.shape[0] else None


def _no_dimensions(tensor: torch.Tensor) -> torch.Tensor | None:
    return tensor.flatten()[0] if tensor.dim() and tensor.numel() else None


def _other_dtype(tensor: torch.Tensor) -> torch.Tensor | None:
    other = {torch.float32: torch.float64, torch.float64: torch.float32, torch.complex64: torch.complex128}.get(tensor.dtype)
    return None if other is None else tensor.to(other)


#: The layouts by name, as findings have them.
LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "permuted": transposed,
    "channels_last": _channels_last,
    "sliced": sliced,
    "expanded": _expanded,
    "size1_strides": _odd_ones,
    "conj": _conj,
    "neg": _neg,
    "empty": _empty,
    "0d": _no_dimensions,
    "mixed_dtypes": _other_dtype,
}

#: Those in which no operator can write.
_READ_ONLY = {"expanded", "conj", "neg"}
