"""Calls with variants of their tensors, with which meta kernels are wrong most often: memory formats, lazy bits, sizes, dtypes.

Of each overload a few calls are varied (see ``selection``): enough to show every rank, dtype and option, few enough to afford.
Each gets every variant that applies, once on all of its tensors and once on the first one alone, so that different tensors meet.
Attempting the calls lives in ``sweep.recording.attempts``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from opinfo_adapters.derived import memory_formats
from opinfo_adapters.derived.selection import representatives
from sweep.calls.call import Call, TensorData
from sweep.calls.codec import build
from sweep.operators.inventory import resolve
from sweep.recording.attempts import Attempts
from sweep.recording.recorded import RecordedCalls

#: Number of calls of an overload that are varied.
VARIED = 5

#: Calls with more tensor elements are not varied: small ones show the same.
_LARGEST = 20_000

#: Variants that are not attempted, since they make a kernel use memory beside what it has allocated itself, where no redzone is:
#: whether that crashes, and what it returns, is chance.
OMITTED = {
    # A tensor with the neg bit is copied before the alias is made, which then reaches behind the copy.
    "aten._reshape_alias_copy.default": {"neg", "conj"},
    "aten._reshape_alias_copy.out": {"neg", "conj"},
    # Writes to results of its own that have no elements.
    "aten._transform_bias_rescale_qkv.default": {"empty"},
    "aten._transform_bias_rescale_qkv.out": {"empty"},
}


def tasks(recorded: RecordedCalls) -> Iterable[str]:
    """Every overload that is called with a tensor."""
    names = recorded.callable_overloads()
    return [name for name in names if recorded.is_called(name) and "Tensor" in str(resolve(name)._schema)]


def run(task: str, recorded: RecordedCalls, attempts: Attempts) -> None:
    """Attempt every applicable variant of the selected calls of one overload."""
    op = resolve(task)
    for call in representatives(variable_calls(recorded, task), VARIED):
        guessed = recorded.is_guess(call)
        for variant in (name for name in VARIANTS if name not in OMITTED.get(task, ())):
            for only_first in (False, True):
                arguments = _varied(op, call, recorded.device, variant, only_first=only_first)
                if arguments is not None:
                    attempts(*arguments, f"tensor_variants {variant}: {call.source}", variant, guessed=guessed)


def variable_calls(recorded: RecordedCalls, name: str) -> list[Call]:
    """The small calls of an overload with a tensor to vary; those with a matrix if there are any."""
    small = [call for call in recorded.calls(name) if call.number_of_elements() <= _LARGEST]
    calls = [call for call in small if any(has_dimensions(tensor) for tensor in call.tensors)]
    with_matrices = [call for call in calls if any(len(tensor.get("size", ())) > 1 for tensor in call.tensors)]
    return with_matrices or calls


def has_dimensions(tensor: TensorData) -> bool:
    """Whether a tensor of a recorded call is strided and has dimensions."""
    return "parts" not in tensor and bool(tensor["size"])


def _varied(
    op: torch._ops.OpOverload, call: Call, device: str, variant: str, *, only_first: bool
) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments of a call with a variant of its tensors; ``None`` if the variant applies to none of them."""
    args, kwargs = build(call, device)
    written = {id(t) for a, v in zip(op._schema.arguments, args, strict=False) if a.is_write for t in _tensors(v)}
    written |= {id(t) for a in op._schema.arguments if a.is_write for t in _tensors(kwargs.get(a.name))}
    change = VARIANTS[variant]
    variants: dict[int, Any] = {}
    changed = 0

    def varied(value: Any) -> Any:
        nonlocal changed
        if isinstance(value, list):
            return [varied(item) for item in value]
        if not memory_formats.can_be_varied(value):
            return value
        if id(value) not in variants:
            is_skipped = (only_first and variants) or (id(value) in written and variant in _READ_ONLY)
            other = None if is_skipped else memory_formats.applied(change, value)
            changed += other is not None
            variants[id(value)] = value if other is None else other
        return variants[id(value)]

    args, kwargs = [varied(arg) for arg in args], {name: varied(value) for name, value in kwargs.items()}
    if not changed or (only_first and len(variants) == 1):  # with a single tensor, the first one is all of them
        return None
    return args, kwargs


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value for t in _tensors(v)] if isinstance(value, list) else []


def _channels_last(tensor: torch.Tensor) -> torch.Tensor | None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.dim()]) if tensor.dim() in formats else None


def empty(tensor: torch.Tensor) -> torch.Tensor | None:
    """No elements: the first dimension has size 0."""
    return tensor.narrow(0, 0, 0) if tensor.dim() and tensor.shape[0] else None


def no_dimensions(tensor: torch.Tensor) -> torch.Tensor | None:
    """The first element without dimensions."""
    return tensor.flatten()[0] if tensor.dim() and tensor.numel() else None


def _other_dtype(tensor: torch.Tensor) -> torch.Tensor | None:
    other = {torch.float32: torch.float64, torch.float64: torch.float32, torch.complex64: torch.complex128}.get(tensor.dtype)
    return None if other is None else tensor.to(other)


#: Name of a variant, as findings have it -> the variant of a tensor, or ``None`` if it does not apply.
VARIANTS: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "permuted": memory_formats.reversed_order,
    "channels_last": _channels_last,
    "sliced": memory_formats.sliced,
    "expanded": memory_formats.expanded,
    "size1_strides": memory_formats.odd_unit_strides,
    "conj": memory_formats.conjugated,
    "neg": memory_formats.negated,
    "empty": empty,
    "0d": no_dimensions,
    "mixed_dtypes": _other_dtype,
}

#: The variants that no operator can write to.
_READ_ONLY = {"expanded", "conj", "neg"}
