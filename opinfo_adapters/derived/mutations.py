"""Mutations: single changes of one argument of a call, of which variants of the call are put together.

Each belongs to a parameter: one aspect of one argument (the memory format, size or dtype of a tensor, the value of anything
else, or that it is the same tensor as an argument before it). Mutations of different parameters can be combined. Which are, lives
in ``pairs``.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from opinfo_adapters.derived import memory_formats
from opinfo_adapters.derived.arguments import OMITTED, fits, type_of, unbound
from opinfo_adapters.derived.tensor_variants import empty, no_dimensions
from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.operators.schema import by_name


class Aspect(enum.IntEnum):
    """What of an argument a mutation changes; those of one call are applied in this order."""

    VALUE = 0
    DTYPE = 1
    SIZE = 2
    FORMAT = 3
    ALIAS = 4


@dataclass(frozen=True)
class Mutation:
    """One change of one argument.

    Attributes:
        argument: name of the argument.
        aspect: what of it changes.
        name: the new value, for people.
        variant: name of the class of such changes, as findings have it.
        change: returns the changed value; ``None``, or ``OMITTED`` for a value, if it does not apply.
    """

    argument: str
    aspect: Aspect
    name: str
    variant: str
    change: Callable[[Any], Any] = field(compare=False)

    @property
    def parameter(self) -> tuple[str, Aspect]:
        """What it belongs to."""
        return self.argument, self.aspect

    def excludes(self, other: Mutation) -> bool:
        """Whether a call has only one of two mutations at a time.

        That is so if they belong to the same parameter; if one replaces what the other changes; and for the memory format and the
        size of a tensor: one that is empty or has unit dimensions has hardly any format.
        """
        if self.argument != other.argument:
            return False
        aspects = {self.aspect, other.aspect}
        return len(aspects) == 1 or Aspect.ALIAS in aspects or aspects == {Aspect.SIZE, Aspect.FORMAT}

    @property
    def is_format(self) -> bool:
        """Whether it only moves values in memory, which hardly any kernel refuses."""
        return self.aspect is Aspect.FORMAT

    def __str__(self) -> str:
        return f"{self.argument} {self.name}"


def mutated(
    op: torch._ops.OpOverload, call: Call, device: str, mutations: Iterable[Mutation]
) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments of a call with some mutations; ``None`` if one of them does not apply."""
    values = by_name(op, *build(call, device))
    for mutation in sorted(mutations, key=lambda m: m.aspect):
        value = values.get(mutation.argument, OMITTED)
        changed = mutation.change(values) if mutation.aspect is Aspect.ALIAS else _changed(value, mutation)
        if changed is OMITTED:
            return None
        values[mutation.argument] = changed
    return unbound(op, values)


def _changed(value: Any, mutation: Mutation) -> Any:
    """An argument with a mutation; of a list of tensors the first one is changed."""
    if mutation.aspect is Aspect.VALUE:
        return mutation.change(value)
    if isinstance(value, list | tuple):
        first = memory_formats.applied(mutation.change, value[0]) if value else None
        return OMITTED if first is None else [first, *value[1:]]
    changed = memory_formats.applied(mutation.change, value)
    return OMITTED if changed is None else changed


# --- which mutations there are -------------------------------------------------------------------------------------------


def _of_sizes(argument: str) -> Iterator[Mutation]:
    """The mutations of a tensor's size."""
    yield Mutation(argument, Aspect.SIZE, "empty", "empty", empty)
    yield Mutation(argument, Aspect.SIZE, "without dimensions", "0d", no_dimensions)
    yield Mutation(argument, Aspect.SIZE, "unit", "unit", _unit)


def of_arguments(op: torch._ops.OpOverload, call: Call, calls: Sequence[Call], device: str) -> Iterator[Mutation]:
    """The mutations of each argument of a call by itself.

    Args:
        op: the overload.
        call: the call.
        calls: recorded calls of the overload, from which strings are taken.
        device: where the arguments are built.
    """
    values = by_name(op, *build(call, device))
    before: list[tuple[str, torch.Tensor]] = []
    for at, argument in enumerate(op._schema.arguments):
        value = values.get(argument.name, argument.default_value if argument.has_default_value() else OMITTED)
        if value is OMITTED:
            continue
        first = value[0] if isinstance(value, list | tuple) and value else value
        if isinstance(first, torch.Tensor):
            if memory_formats.can_be_varied(first):
                yield from _of_tensor(argument, first, before)
                before.append((argument.name, first))
        else:
            seen = {text for other in calls if isinstance(text := _given(other, at, argument.name), str)}
            for other in _other_values(type_of(argument), value, sorted(seen)):
                yield Mutation(argument.name, Aspect.VALUE, repr(other), "options", functools.partial(_constant, other))


def _given(call: Call, at: int, name: str) -> Any:
    return call.args[at] if at < len(call.args) else call.kwargs.get(name)


def _of_tensor(
    argument: torch._C.Argument, tensor: torch.Tensor, before: Sequence[tuple[str, torch.Tensor]]
) -> Iterator[Mutation]:
    name = argument.name
    for variant, text, change in memory_formats.formats_of(tensor):
        is_denied = argument.is_write and memory_formats.is_read_only(variant)
        if not is_denied and memory_formats.applied(change, tensor) is not None:
            yield Mutation(name, Aspect.FORMAT, text, variant, change)
    yield from _of_sizes(name)
    for dtype in _OTHER_DTYPES.get(tensor.dtype, ()):
        yield Mutation(name, Aspect.DTYPE, str(dtype), "mixed_dtypes", functools.partial(_converted, dtype=dtype))
    if argument.is_write:
        return
    for other, like in before:
        if like.shape == tensor.shape and like.dtype == tensor.dtype:
            yield Mutation(name, Aspect.ALIAS, f"is {other}", "aliased", functools.partial(_argument, other))


def _constant(value: Any, _: Any) -> Any:
    return value


def _argument(name: str, values: Mapping[str, Any]) -> Any:
    return values.get(name, OMITTED)


def _converted(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype)


def _unit(tensor: torch.Tensor) -> torch.Tensor | None:
    return tensor.narrow(-1, 0, 1) if tensor.dim() and tensor.shape[-1] > 1 else None


#: Dtype of a tensor -> those that are mixed with it: the ones of mixed precision, and a wider one.
_OTHER_DTYPES: dict[torch.dtype, tuple[torch.dtype, ...]] = {
    torch.float32: (torch.bfloat16, torch.float64),
    torch.float64: (torch.float32, torch.bfloat16),
    torch.bfloat16: (torch.float32,),
    torch.float16: (torch.float32,),
    torch.complex64: (torch.complex128,),
    torch.int64: (torch.int32,),
    torch.int32: (torch.int64,),
}


def _other_values(wanted: str, value: Any, texts: Sequence[str]) -> list[Any]:
    """Values of the other classes that an option has, for its type in the schema."""
    others: list[Any] = []
    if wanted.startswith("Optional["):
        wanted = wanted[9:-1]
        if value is not None:
            others.append(None)
    if wanted.startswith("List["):
        others += _other_lists(wanted[5:-1], value)
    else:
        others += texts if wanted == "str" else _VALUES.get(wanted.replace("SymInt", "int"), ())
    return [other for other in others if not _equal(other, value)]


def _other_lists(wanted: str, value: Any) -> list[Any]:
    if wanted == "bool":
        flips = [[*value[:at], not item, *value[at + 1 :]] for at, item in enumerate(value or ())]
        return [*flips, [not item for item in value]] if flips else []
    if wanted not in ("int", "SymInt") or (value and not fits(value, "List[int]")):
        return []
    if not value:
        return [[], [0], [-1], [0, 1]]
    return [[], list(value[:1]), list(value[::-1]), [item - 4 for item in value], *([n] * len(value) for n in (0, 1, 2))]


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other)))


_VALUES: dict[str, tuple[Any, ...]] = {
    "bool": (True, False),
    "int": (0, 1, -1, 2, -2, 128),
    "float": (0.0, 1.0, -1.0, 0.5, -2.5, 128.0, math.inf, math.nan),
    "number": (0, 1, -1, 0.5, -2.5, 128, math.inf, math.nan),
    "ScalarType": (torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.complex64, torch.bool),
    "MemoryFormat": (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d),
}
