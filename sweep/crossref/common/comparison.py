"""Comparison of two outcomes of one call: which outputs differ, in what, and at which index.

Metadata rules are torch's own: strides count only where ``torch._prims_common.check_significant_strides`` says so (no dimension
of size 1, no empty tensor), and a size that depends on data is a wildcard. Values are compared only where a tolerance is given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._prims_common import check_significant_strides
from torch.testing._comparison import default_tolerances

from sweep.calls.tensors import INTEGERS, is_strided, parts_of
from sweep.findings.finding import WHOLE, Mismatch, Place
from sweep.findings.kind import Difference


@dataclass(frozen=True)
class Outcome:
    """A call that returned: its result, and its arguments afterwards.

    Attributes:
        args: positional arguments; the call may have written to them.
        kwargs: keyword arguments; likewise.
        result: what it returned.
    """

    args: Any
    kwargs: dict[str, Any]
    result: Any

    @functools.cached_property
    def inputs(self) -> list[tuple[str, torch.Tensor, int | None]]:
        """Every tensor among the arguments: its position as a name, the tensor, and its storage."""
        inputs = []
        for name, value in [*((str(i), a) for i, a in enumerate(self.args)), *self.kwargs.items()]:
            if isinstance(value, torch.Tensor):
                inputs.append((name, value, storage_of(value)))
            elif isinstance(value, tuple | list):
                leaves = enumerate(_leaves(value))
                inputs += [(f"{name}[{at}]", leaf, storage_of(leaf)) for at, leaf in leaves if isinstance(leaf, torch.Tensor)]
        return inputs


@dataclass(frozen=True)
class Tolerance:
    """Tolerance of a comparison of floating-point values; integers and bools are always compared exactly.

    Attributes:
        rtol: relative tolerance; ``None`` for the default of ``torch.testing.assert_close`` for the dtypes compared.
        atol: absolute tolerance; likewise.
    """

    rtol: float | None = None
    atol: float | None = None

    def of(self, predicted: torch.Tensor, actual: torch.Tensor) -> tuple[float, float]:
        """Relative and absolute tolerance for a pair of tensors."""
        rtol, atol = default_tolerances(predicted, actual)
        return rtol if self.rtol is None else self.rtol, atol if self.atol is None else self.atol


def coarsest(tensors: Iterable[torch.Tensor]) -> Tolerance:
    """The default tolerance of the least precise of some tensors."""
    pairs = [Tolerance().of(tensor, tensor) for tensor in tensors]
    return Tolerance(max(rtol for rtol, _ in pairs), max(atol for _, atol in pairs))


def number_of(value: Any) -> int | None:
    """The value of a size, stride or offset; ``None``, which is a wildcard, if it depends on data."""
    if isinstance(value, torch.SymInt):
        from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

        if free_unbacked_symbols(value):
            return None
    return int(value)


#: What has the values of the sizes, strides and offsets of a prediction.
Numbers = Callable[[Any], int | None]


def compare(
    op: torch._ops.OpOverload,
    predicted: Outcome,
    actual: Outcome,
    tolerance: Tolerance | None = None,
    numbers: Numbers = number_of,
    *,
    whole: bool = False,
) -> list[Mismatch]:
    """Lists everything in which a predicted outcome differs from the actual one.

    Compared are the container and number of outputs; per tensor the rank, size, dtype, device, layout, significant strides,
    storage offset, conj and neg bit, and, unless it is empty, the inputs that it aliases; numbers by type, integers, bools and
    strings also by value; and the same for every argument that the schema declares as written to and that is not itself an
    output.

    The aliasing of an empty output is not compared because torch's fake cache does not keep it: the first of two equal views of
    an empty fake tensor shares the storage and the second does not, so a verdict would depend on what the process did before.
    (That is what the form ``cache`` of the crossref ``fake`` is about.)

    Args:
        op: the overload that was called.
        predicted: the predicted outcome.
        actual: the outcome that it is compared with.
        tolerance: tolerance for the values of tensors and floating-point numbers; ``None`` compares no such values.
        numbers: returns the value of a predicted size, stride or offset, ``None`` for a wildcard.
        whole: compare also the aliasing of empty outputs, and the arguments that the schema does not declare as written to.
    """
    mismatches = _structure(predicted.result, actual.result)
    p_leaves, a_leaves = _leaves(predicted.result), _leaves(actual.result)
    if mismatches and len(p_leaves) != len(a_leaves):
        return mismatches
    for place, p, a in zip(_places(actual.result), p_leaves, a_leaves, strict=True):
        mismatches += _leaf(place, p, a, tolerance, numbers)
        if isinstance(p, torch.Tensor) and isinstance(a, torch.Tensor) and (whole or a.numel()):
            mismatches += _aliasing(place, _aliases(p, predicted.inputs), _aliases(a, actual.inputs))
    returned = {id(a) for a in a_leaves}
    for place, p, a in _arguments(op, predicted, actual, written=not whole):
        if id(a) not in returned:
            mismatches += _leaf(place, p, a, tolerance, numbers)
    return _once(mismatches)


def tensors_of(op: torch._ops.OpOverload, outcome: Outcome) -> list[tuple[Place, torch.Tensor]]:
    """The tensors whose values are compared: outputs and arguments written to; of one that is not strided, its strided parts."""
    leaves = list(zip(_places(outcome.result), _leaves(outcome.result), strict=True))
    leaves += [(place, tensor) for place, tensor, _ in _arguments(op, outcome, outcome)]
    return [(place, part) for place, leaf in leaves if isinstance(leaf, torch.Tensor) for part in _strided_parts(leaf)]


def _places(result: Any) -> list[Place]:
    """The place of every leaf of a result: the return value that it is, or is in."""
    if isinstance(result, list):  # an overload's only return value is a list
        return [Place(output=0, in_list=True)] * len(_leaves(result))
    if not isinstance(result, tuple):
        return [Place(output=0)]
    return [Place(output=at, in_list=isinstance(v, list)) for at, v in enumerate(result) for _ in _leaves(v)]


def _once(mismatches: list[Mismatch]) -> list[Mismatch]:
    """The first of the mismatches that several tensors of a list have in common."""
    first: dict[tuple[Any, ...], Mismatch] = {}
    for mismatch in mismatches:
        first.setdefault((mismatch.place, mismatch.kind, mismatch.index), mismatch)
    return list(first.values())


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for v in value for leaf in _leaves(v)]
    return [value]


def _structure(predicted: Any, actual: Any) -> list[Mismatch]:
    """Differences of container type and number of outputs, outermost first."""
    p_many, a_many = isinstance(predicted, tuple | list), isinstance(actual, tuple | list)
    if p_many != a_many:
        return [Mismatch(WHOLE, Difference.OUTPUTS, None, _arity(predicted), _arity(actual))]
    if not a_many:
        return []
    if len(predicted) != len(actual):
        return [Mismatch(WHOLE, Difference.OUTPUTS, None, _arity(predicted), _arity(actual))]
    if isinstance(predicted, tuple) != isinstance(actual, tuple):
        return [Mismatch(WHOLE, Difference.CONTAINER, None, type(predicted).__name__, type(actual).__name__)]
    for p, a in zip(predicted, actual, strict=True):
        inner = _structure(p, a)
        if inner:
            return inner
    return []


def _arity(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {len(value)}"
    return "no output" if value is None else "a single output"


_SYMBOLIC_TYPES: dict[type, type] = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}


def _leaf(place: Place, predicted: Any, actual: Any, tolerance: Tolerance | None, numbers: Numbers) -> list[Mismatch]:
    """The differences of two leaves of a result."""
    if isinstance(predicted, torch.Tensor) and isinstance(actual, torch.Tensor):
        return [
            Mismatch(place, kind, index, describe(predicted, numbers), describe(actual))
            for kind, index in _tensor(predicted, actual, tolerance, numbers)
        ]
    if isinstance(predicted, torch.Tensor) or isinstance(actual, torch.Tensor):
        return [Mismatch(place, Difference.TYPE, None, describe(predicted, numbers), describe(actual))]
    kind = _SYMBOLIC_TYPES.get(type(predicted))
    if kind is not None:
        if type(actual) is not kind:
            return [Mismatch(place, Difference.TYPE, None, kind.__name__, type(actual).__name__)]
        predicted = numbers(predicted) if kind is int else None
        if predicted is None:
            return []
    if type(predicted) is not type(actual):
        return [Mismatch(place, Difference.TYPE, None, type(predicted).__name__, type(actual).__name__)]
    if isinstance(predicted, bool | int | str) and predicted != actual:
        return [Mismatch(place, Difference.VALUE, None, repr(predicted), repr(actual))]
    if isinstance(predicted, float | complex) and tolerance is not None and not _close_numbers(predicted, actual, tolerance):
        return [Mismatch(place, Difference.VALUE, None, type(predicted).__name__, type(actual).__name__)]
    return []


def _tensor(
    predicted: torch.Tensor, actual: torch.Tensor, tolerance: Tolerance | None, numbers: Numbers
) -> Iterator[tuple[Difference, int | None]]:
    """The differences of two tensors, each with the dimension at which it shows."""
    if predicted.dtype != actual.dtype:
        yield Difference.DTYPE, None
    if predicted.device != actual.device:
        yield Difference.DEVICE, None
    if predicted.layout != actual.layout or predicted.is_nested != actual.is_nested:
        yield Difference.LAYOUT, None
        return
    if not actual.is_nested:  # a nested tensor has no single size, stride or offset to compare
        yield from _geometry(predicted, actual, numbers)
        if predicted.is_conj() != actual.is_conj():
            yield Difference.CONJ, None
        if predicted.is_neg() != actual.is_neg():
            yield Difference.NEG, None
    if tolerance is not None and not _close(predicted, actual, tolerance):
        yield Difference.VALUE, None


def _geometry(predicted: torch.Tensor, actual: torch.Tensor, numbers: Numbers) -> Iterator[tuple[Difference, int | None]]:
    """The differences in rank, size, strides and storage offset."""
    if predicted.dim() != actual.dim():
        yield Difference.RANK, None
        return
    has_symbol = False
    for index, (p, a) in enumerate(zip(predicted.shape, actual.shape, strict=True)):
        number = numbers(p)
        has_symbol |= type(p) is not int
        if number is not None and number != a:
            yield Difference.SIZE, index
            return
    if actual.layout is not torch.strided:
        return
    if has_symbol or numbers is not number_of:
        stride = _significant_stride_mismatch(predicted, actual, numbers)
        if stride is not None:
            yield Difference.STRIDES, stride
    else:
        same, stride = check_significant_strides(predicted, actual, only_cuda=False)
        if not same:
            yield Difference.STRIDES, stride
    offset = numbers(predicted.storage_offset())
    if offset is not None and offset != actual.storage_offset():
        yield Difference.OFFSET, None


def _significant_stride_mismatch(predicted: torch.Tensor, actual: torch.Tensor, numbers: Numbers) -> int | None:
    """The first dimension with a significant stride that is no wildcard and differs, by the rule of the module's docstring."""
    if actual.numel() == 0:
        return None
    for index, (p, a, size) in enumerate(zip(predicted.stride(), actual.stride(), actual.shape, strict=True)):
        if size > 1 and numbers(p) not in (None, a):
            return index
    return None


# --- values ------------------------------------------------------------------------------------------------------------


def _strided_parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    return [tensor] if is_strided(tensor) else list(parts_of(tensor).values())


def _close(predicted: torch.Tensor, actual: torch.Tensor, tolerance: Tolerance) -> bool:
    """Whether the values of two tensors are equal within a tolerance; true where their metadata already differ."""
    if predicted.device != actual.device or is_strided(actual) != is_strided(predicted):
        return True
    pairs = zip(_strided_parts(predicted), _strided_parts(actual), strict=False)
    return all(
        p.dtype != a.dtype or p.shape != a.shape or _same_bits(p, a) or not unequal(p, a, tolerance).any() for p, a in pairs
    )


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two strided tensors of one dtype and size hold the same bits: a fast path, which most pairs take."""
    integers = INTEGERS.get(one.element_size())
    if integers is None or one.is_conj() or other.is_conj() or one.is_neg() or other.is_neg():
        return False
    return torch.equal(one.detach().view(integers), other.detach().view(integers))


def unequal(predicted: torch.Tensor, actual: torch.Tensor, tolerance: Tolerance) -> torch.Tensor:
    """The elements at which two strided tensors of one dtype and size differ by more than a tolerance, as a mask.

    NaN equals NaN, and a complex number is compared in both parts at once.
    """
    if not actual.dtype.is_floating_point and not actual.dtype.is_complex:
        return predicted != actual
    rtol, atol = tolerance.of(predicted, actual)
    return ~torch.isclose(wide(predicted), wide(actual), rtol=rtol, atol=atol, equal_nan=True)


def same(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The elements at which two tensors of one size are equal, as a mask; NaN equals NaN."""
    return (one == other) | ((one != one) & (other != other))


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Values in double precision: ``torch.isclose`` has no kernel for some small dtypes, and differences must not overflow."""
    return tensor.detach().to(torch.complex128 if tensor.dtype.is_complex else torch.float64)


def _close_numbers(predicted: float | complex, actual: float | complex, tolerance: Tolerance) -> bool:
    dtype = torch.complex128 if isinstance(predicted, complex) else torch.float64
    return _close(torch.tensor(predicted, dtype=dtype), torch.tensor(actual, dtype=dtype), tolerance)


# --- aliasing ----------------------------------------------------------------------------------------------------------


def storage_of(tensor: torch.Tensor) -> int | None:
    """The address of a tensor's storage; ``None`` for a tensor that is not strided or has no storage."""
    if tensor.layout is not torch.strided or not torch._C._has_storage(tensor):
        return None
    return tensor.untyped_storage()._cdata


def _aliases(output: torch.Tensor, inputs: list[tuple[str, torch.Tensor, int | None]]) -> tuple[list[str], list[str]]:
    """The inputs that an output is identical with, and those that it only shares a storage with."""
    same = [name for name, tensor, _ in inputs if tensor is output]
    storage = storage_of(output)
    shared = [] if storage is None else [name for name, tensor, s in inputs if s == storage and tensor is not output]
    return same, shared


def _aliasing(place: Place, predicted: tuple[list[str], list[str]], actual: tuple[list[str], list[str]]) -> list[Mismatch]:
    if predicted == actual:
        return []
    return [Mismatch(place, Difference.ALIASING, None, _alias_text(*predicted), _alias_text(*actual))]


def _alias_text(same: list[str], shared: list[str]) -> str:
    parts = []
    if same:
        parts.append("is argument " + ", ".join(same))
    if shared:
        parts.append("shares the storage of argument " + ", ".join(shared))
    return " and ".join(parts) or "new storage"


def _arguments(
    op: torch._ops.OpOverload, predicted: Outcome, actual: Outcome, *, written: bool = True
) -> Iterator[tuple[Place, Any, Any]]:
    """The tensors among the arguments, or only those that the schema declares as written to: place, predicted, actual."""
    for at, name, kwarg_only in _written_arguments(op) if written else _all_arguments(op):
        if at < len(actual.args) and not kwarg_only:
            pair = predicted.args[at], actual.args[at]
        elif name in actual.kwargs:
            pair = predicted.kwargs[name], actual.kwargs[name]
        else:
            continue
        for p, a in zip(*map(_leaves, pair), strict=True):
            if isinstance(a, torch.Tensor):
                yield Place(argument=name, in_list=isinstance(pair[1], tuple | list)), p, a


@functools.cache
def _written_arguments(op: torch._ops.OpOverload) -> list[tuple[int, str, bool]]:
    """Position, name and whether it is keyword-only, of every argument that the schema declares as written to."""
    arguments = enumerate(op._schema.arguments)
    return [(at, a.name, a.kwarg_only) for at, a in arguments if a.alias_info is not None and a.alias_info.is_write]


@functools.cache
def _all_arguments(op: torch._ops.OpOverload) -> list[tuple[int, str, bool]]:
    """As :func:`_written_arguments`, for every argument."""
    return [(at, a.name, a.kwarg_only) for at, a in enumerate(op._schema.arguments)]


# --- text --------------------------------------------------------------------------------------------------------------


def describe(value: Any, numbers: Numbers = number_of) -> str:
    """Render metadata: ``float32 (2, 3) strides (3, 1)``, with offset, layout and device where they are not the default.

    A tuple or list is rendered as its members, anything else as its type. Data is never rendered, and every size that depends on
    it is a ``?``.

    Args:
        value: a result.
        numbers: as for :func:`compare`.

    >>> describe([torch.zeros(2, 3), 1])
    'list of float32 (2, 3) strides (3, 1), int'
    """
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of " + (", ".join(describe(v, numbers) for v in value) or "nothing")
    if value is None:
        return "nothing"
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    parts = [str(value.dtype).removeprefix("torch.")]
    if value.is_nested:
        return f"{parts[0]} nested"
    parts.append(_tuple_text(map(numbers, value.shape)))
    if value.layout is torch.strided:
        parts.append("strides " + _tuple_text(map(numbers, value.stride())))
        offset = numbers(value.storage_offset())
        if offset != 0:
            parts.append(f"offset {_number_text(offset)}")
    else:
        parts.append(str(value.layout).removeprefix("torch."))
    if value.device.type != "cpu":
        parts.append(f"on {value.device.type}")
    parts += [flag for flag, on in (("conj", value.is_conj()), ("neg", value.is_neg())) if on]
    return " ".join(parts)


def _tuple_text(numbers: Iterable[int | None]) -> str:
    texts = list(map(_number_text, numbers))
    return "(" + ", ".join(texts) + ("," if len(texts) == 1 else "") + ")"


def _number_text(number: int | None) -> str:
    return "?" if number is None else str(number)
