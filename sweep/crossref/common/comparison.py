"""Two answers to one call in, mismatches out: what differs between them, at which output, and at which index.

The rules are torch's own: strides count only where ``torch._prims_common.check_significant_strides`` says so (no dimension of
size 1, no empty tensor), and a size that depends on data is a wildcard.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._prims_common import check_significant_strides


@dataclass(frozen=True)
class Mismatch:
    """One disagreement between two answers.

    Attributes:
        output: where: ``output 0``, ``output 0[]`` for any tensor of a list, ``argument out``, or empty for the whole answer.
        kind: what differs: ``outputs`` (how many), ``container``, ``type``, ``rank``, ``size``, ``dtype``, ``device``,
            ``layout``, ``strides``, ``offset``, ``conj``, ``neg``, ``aliasing``, ``value``, or who raised what
            (``fake raises ValueError``).
        index: the first dimension that differs, for ``size`` and ``strides``.
        expected: the predicted answer as text.
        real: the answer it is held against, as text.
    """

    output: str
    kind: str
    index: int | None
    expected: str
    real: str


@dataclass(frozen=True)
class Outcome:
    """A call after it was made: its answer, and the arguments it was made with, which it may have changed.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        result: what it returned.
    """

    args: Any
    kwargs: dict[str, Any]
    result: Any


def compare(op: torch._ops.OpOverload, expected: Outcome, real: Outcome) -> list[Mismatch]:
    """Everything in which a predicted outcome differs from the real one.

    Compared are the container and number of outputs; per tensor the rank, size, dtype, device, layout, significant strides,
    storage offset, conj and neg bit, and, unless it is empty, which inputs it aliases; numbers by type, and integers and bools
    by value; and the same for every argument that the schema says is written to and that is not itself an output.

    An empty output's aliasing is left out because torch's fake cache forgets it: of the same view of an empty fake tensor, made
    twice, the first shares the storage and the second does not, so a verdict would depend on what the process did before.
    """
    found = _structure(expected.result, real.result)
    e_out, r_out = _leaves(expected.result), _leaves(real.result)
    if found and len(e_out) != len(r_out):
        return found
    e_storages, r_storages = _input_storages(expected), _input_storages(real)
    for where, e, r in zip(_places(real.result), e_out, r_out, strict=True):
        found += _values(where, e, r)
        if isinstance(e, torch.Tensor) and isinstance(r, torch.Tensor) and r.numel():
            found += _aliasing(where, _aliases(e, e_storages), _aliases(r, r_storages))
    returned = {id(r) for r in r_out}
    for name, e, r in _written(op, expected, real):
        if id(r) not in returned:
            found += _values(f"argument {name}", e, r)
    return _once(found)


def _places(result: Any) -> list[str]:
    """What each leaf of an answer is called: the position of the return value that it is, or is in."""
    if isinstance(result, list):  # an overload's only return value is a list
        return ["output 0[]"] * len(_leaves(result))
    if not isinstance(result, tuple):
        return ["output 0"]
    return [f"output {at}{'[]' if isinstance(v, list) else ''}" for at, v in enumerate(result) for _ in _leaves(v)]


def _once(found: list[Mismatch]) -> list[Mismatch]:
    """Of the tensors in a list that are wrong in the same way, the first."""
    first: dict[tuple[str, str, int | None], Mismatch] = {}
    for mismatch in found:
        first.setdefault((mismatch.output, mismatch.kind, mismatch.index), mismatch)
    return list(first.values())


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for v in value for leaf in _leaves(v)]
    return [value]


def _structure(expected: Any, real: Any) -> list[Mismatch]:
    """Differences of container type and number of outputs, outermost first."""
    e_many, r_many = isinstance(expected, tuple | list), isinstance(real, tuple | list)
    if e_many != r_many or (e_many and isinstance(expected, tuple) != isinstance(real, tuple)):
        kinds = [type(v).__name__ if many else "single" for v, many in ((expected, e_many), (real, r_many))]
        if e_many != r_many:
            return [Mismatch("", "outputs", None, _arity(expected), _arity(real))]
        if len(expected) == len(real):
            return [Mismatch("", "container", None, *kinds)]
    if not e_many:
        return []
    if len(expected) != len(real):
        return [Mismatch("", "outputs", None, _arity(expected), _arity(real))]
    for e, r in zip(expected, real, strict=True):
        inner = _structure(e, r)
        if inner:
            return inner
    return []


def _arity(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return "no output" if value is None else "a single output"


def _values(where: str, expected: Any, real: Any) -> list[Mismatch]:
    if isinstance(expected, torch.Tensor) and isinstance(real, torch.Tensor):
        return [Mismatch(where, kind, at, describe(expected), describe(real)) for kind, at in _tensors(expected, real)]
    if isinstance(expected, torch.Tensor) or isinstance(real, torch.Tensor):
        return [Mismatch(where, "type", None, describe(expected), describe(real))]
    if isinstance(expected, torch.SymInt | torch.SymFloat | torch.SymBool):
        kind = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}[type(expected)]
        return [] if type(real) is kind else [Mismatch(where, "type", None, kind.__name__, type(real).__name__)]
    if type(expected) is not type(real):
        return [Mismatch(where, "type", None, type(expected).__name__, type(real).__name__)]
    if isinstance(expected, bool | int | str) and expected != real:
        return [Mismatch(where, "value", None, repr(expected), repr(real))]
    return []


def _tensors(expected: torch.Tensor, real: torch.Tensor) -> Iterator[tuple[str, int | None]]:
    """The ways in which two tensors' metadata differ: (kind, index)."""
    if expected.dtype != real.dtype:
        yield "dtype", None
    if expected.device != real.device:
        yield "device", None
    if expected.layout != real.layout:
        yield "layout", None
        return
    if expected.is_nested or real.is_nested:
        if expected.is_nested != real.is_nested:
            yield "layout", None
        return  # a nested tensor has no single size, stride or offset to compare
    yield from _geometry(expected, real)
    if expected.is_conj() != real.is_conj():
        yield "conj", None
    if expected.is_neg() != real.is_neg():
        yield "neg", None


def _geometry(expected: torch.Tensor, real: torch.Tensor) -> Iterator[tuple[str, int | None]]:
    if expected.dim() != real.dim():
        yield "rank", None
        return
    unknown = False
    for at, (e, r) in enumerate(zip(expected.shape, real.shape, strict=True)):
        if _is_wildcard(e):
            unknown = True
        elif int(e) != int(r):
            yield "size", at
            return
    if real.layout is not torch.strided:
        return
    if unknown:
        stride = _known_stride_mismatch(expected, real)
        if stride is not None:
            yield "strides", stride
    else:
        same, stride = check_significant_strides(expected, real, only_cuda=False)
        if not same:
            yield "strides", stride
    offset = expected.storage_offset()
    if not _is_wildcard(offset) and int(offset) != real.storage_offset():
        yield "offset", None


def _is_wildcard(number: Any) -> bool:
    """Whether a size, stride or offset is only known once the data is."""
    if not isinstance(number, torch.SymInt):
        return False
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    return bool(free_unbacked_symbols(number))


def _known_stride_mismatch(expected: torch.Tensor, real: torch.Tensor) -> int | None:
    """First significant stride that is known and differs, where some size is not known."""
    if real.numel() == 0:
        return None
    for at, (e, r, n) in enumerate(zip(expected.stride(), real.stride(), real.shape, strict=True)):
        if n > 1 and not _is_wildcard(e) and int(e) != r:
            return at
    return None


# --- aliasing ----------------------------------------------------------------------------------------------------------


def _storage(tensor: torch.Tensor) -> int | None:
    if tensor.layout is not torch.strided or not torch._C._has_storage(tensor):
        return None
    return tensor.untyped_storage()._cdata


def _input_storages(outcome: Outcome) -> list[tuple[str, torch.Tensor, int | None]]:
    """Every tensor among the arguments, with its storage and a name for it: its position."""
    found = []
    for name, value in [*((str(i), a) for i, a in enumerate(outcome.args)), *outcome.kwargs.items()]:
        leaves = _leaves(value)
        for at, leaf in enumerate(leaves):
            if isinstance(leaf, torch.Tensor):
                label = f"{name}[{at}]" if isinstance(value, tuple | list) else name
                found.append((label, leaf, _storage(leaf)))
    return found


def _aliases(output: torch.Tensor, inputs: list[tuple[str, torch.Tensor, int | None]]) -> tuple[list[str], list[str]]:
    """Which inputs an output is, and which it merely shares a storage with."""
    same = [name for name, tensor, _ in inputs if tensor is output]
    storage = _storage(output)
    shared = [] if storage is None else [name for name, tensor, s in inputs if s == storage and tensor is not output]
    return same, shared


def _aliasing(where: str, expected: tuple[list[str], list[str]], real: tuple[list[str], list[str]]) -> list[Mismatch]:
    return [] if expected == real else [Mismatch(where, "aliasing", None, _alias_text(*expected), _alias_text(*real))]


def _alias_text(same: list[str], shared: list[str]) -> str:
    parts = []
    if same:
        parts.append("is argument " + ", ".join(same))
    if shared:
        parts.append("shares the storage of argument " + ", ".join(shared))
    return " and ".join(parts) or "new storage"


def _written(op: torch._ops.OpOverload, expected: Outcome, real: Outcome) -> Iterator[tuple[str, Any, Any]]:
    """The tensors that the schema says are written to: (argument name, expected, real)."""
    for at, name, kwarg_only in _written_arguments(op):
        if at < len(real.args) and not kwarg_only:
            pair = expected.args[at], real.args[at]
        elif name in real.kwargs:
            pair = expected.kwargs[name], real.kwargs[name]
        else:
            continue
        for e, r in zip(*map(_leaves, pair), strict=True):
            if isinstance(r, torch.Tensor):
                yield (f"{name}[]" if isinstance(pair[1], tuple | list) else name), e, r


@functools.cache
def _written_arguments(op: torch._ops.OpOverload) -> list[tuple[int, str, bool]]:
    """Position, name and whether it is keyword-only, of every argument that the schema says is written to."""
    arguments = enumerate(op._schema.arguments)
    return [(at, a.name, a.kwarg_only) for at, a in arguments if a.alias_info is not None and a.alias_info.is_write]


# --- text --------------------------------------------------------------------------------------------------------------


def describe(value: Any) -> str:
    """A value's metadata as text: ``float32 (2, 3) strides (3, 1)``, with offset, layout and device where not the usual ones.

    Of a tuple or list, each member's; of anything else its type.

    Data is never printed, and every size that depends on it is a ``?``.
    """
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of " + (", ".join(map(describe, value)) or "nothing")
    if value is None:
        return "nothing"
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    parts = [str(value.dtype).removeprefix("torch.")]
    if value.is_nested:
        return f"{parts[0]} nested"
    parts.append(_numbers(value.shape))
    if value.layout is torch.strided:
        parts.append("strides " + _numbers(value.stride()))
        if _is_wildcard(value.storage_offset()) or value.storage_offset():
            parts.append(f"offset {_numbers([value.storage_offset()])[1:-2]}")
    else:
        parts.append(str(value.layout).removeprefix("torch."))
    if value.device.type != "cpu":
        parts.append(f"on {value.device.type}")
    parts += [flag for flag, on in (("conj", value.is_conj()), ("neg", value.is_neg())) if on]
    return " ".join(parts)


def _numbers(numbers: Any) -> str:
    texts = ["?" if _is_wildcard(n) else str(int(n)) for n in numbers]
    return "(" + ", ".join(texts) + ("," if len(texts) == 1 else "") + ")"
