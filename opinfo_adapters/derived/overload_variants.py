"""Calls carried over to overload variants: out=, in-place, functional and other overloads of an operator that is called.

The forms of one operator have the same arguments, and their calls carry over unchanged. An out= overload gets tensors as large as
the result, empty ones that it has to resize, ones in another memory format, and ones of a wider dtype. If only an overload with
other arguments is called, its arguments are converted by name (a number to a tensor, a dimension to a list of one); arguments
that it does not have are guessed (see ``schema_guesses``). Attempting the calls lives in ``sweep.recording.attempts``.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from opinfo_adapters.derived.arguments import OMITTED, converted, type_of, unbound
from opinfo_adapters.derived.memory_formats import reversed_order, sliced
from opinfo_adapters.derived.schema_guesses import guesses_for
from opinfo_adapters.derived.selection import representatives
from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.calls.tensors import is_strided
from sweep.operators.inventory import form_signature, inventory, kind_of, resolve
from sweep.operators.overload import OverloadKind
from sweep.operators.schema import by_name
from sweep.recording.attempts import Attempts
from sweep.recording.recorded import RecordedCalls

#: Number of calls of an overload that are carried over to another one.
CARRIED = 8

#: Number of those that get every kind of out= tensor.
_ALL_OUTS = 3

#: The order in which overloads with the same arguments are used. An in-place one shows nothing about the size of the result.
_PREFERENCE = (OverloadKind.FUNCTIONAL, OverloadKind.VIEW, OverloadKind.FACTORY, OverloadKind.IN_PLACE, OverloadKind.OUT)

_WIDER = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
    torch.bool: torch.uint8,
    torch.int64: torch.float32,
    torch.int32: torch.int64,
}


def tasks(recorded: RecordedCalls) -> Iterable[str]:
    """Every overload that is not called and has a variant that is, and every out= overload, which samples seldom reach."""
    for name in recorded.callable_overloads():
        if not any(recorded.is_called(variant) for variant in _variants(name)):
            continue
        # An out= overload that samples reach is attempted only the first time: the second time it has carried calls.
        is_out = kind_of(resolve(name)) is OverloadKind.OUT
        if not recorded.is_called(name) or (is_out and not recorded.has_carried(name)):
            yield name


def run(task: str, recorded: RecordedCalls, attempts: Attempts) -> None:
    """Carry calls over from the overload variants that have most in common with an overload."""
    op = resolve(task)
    exact, others = _called_variants(task, recorded)
    for variant in exact or others:
        before = len(attempts.kept)
        for rank, call in enumerate(representatives(recorded.calls(variant), CARRIED)):
            try:
                carried = list(_carried(op, resolve(variant), call, recorded.device, all_outs=rank < _ALL_OUTS))
            except Exception as error:  # of the variant itself: its call needs what another one left, a file perhaps
                attempts.refuse(error.with_traceback(None))
                continue
            guessed = recorded.is_guess(call)
            for args, kwargs in carried:
                attempts(args, kwargs, f"overload_variants {variant}: {call.source}", guessed=guessed)
        if len(attempts.kept) > before:
            break


def _base(name: str) -> str:
    """The part of an overload's name that all forms of the operator share.

    >>> _base("aten.add_.Tensor"), _base("aten.add.out"), _base("aten.view_copy.out")
    ('aten.add', 'aten.add', 'aten.view')
    """
    namespace, packet, _ = name.split(".", 2)
    if packet.startswith("__i") and packet.endswith("__"):
        return f"{namespace}.__{packet[3:]}"
    return f"{namespace}.{packet.rstrip('_').removesuffix('_functional').removesuffix('_copy').removesuffix('_out')}"


@functools.cache
def _by_base() -> dict[str, list[str]]:
    names = defaultdict(list)
    for name in inventory():
        names[_base(name)].append(name)
    return dict(names)


def _variants(name: str) -> list[str]:
    """The other overloads of an operator, in all its forms."""
    return [other for other in _by_base()[_base(name)] if other != name]


def _called_variants(name: str, recorded: RecordedCalls) -> tuple[list[str], list[str]]:
    """The called variants with the same arguments, and those with others; those with most in common first."""
    op = resolve(name)
    wanted = form_signature(op)
    called = [other for other in _variants(name) if recorded.is_called(other)]
    exact = [other for other in called if form_signature(resolve(other)) == wanted]
    exact.sort(key=lambda other: _PREFERENCE.index(kind_of(resolve(other))))
    names = {argument for argument, _ in wanted}

    def distance(other: str) -> tuple[int, int, str]:
        theirs = {argument for argument, _ in form_signature(resolve(other))}
        return len(names - theirs), len(theirs - names), other

    return exact, sorted((other for other in called if other not in exact), key=distance)


def _carried(
    op: torch._ops.OpOverload, variant: torch._ops.OpOverload, call: Call, device: str, *, all_outs: bool
) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """The arguments of a variant's call as arguments of an overload; several if it has out= tensors."""
    values = _converted(op, by_name(variant, *build(call, device)))
    if values is None:
        return
    out_arguments = [argument for argument in op._schema.arguments if argument.is_out]
    if not out_arguments:
        yield unbound(op, values)
        return
    results = _results(variant, call, device)
    if results is None or len(results) < len(out_arguments):
        return
    for make_out in _OUTS if all_outs else _OUTS[:1]:
        outs = [_mapped(make_out, result) for result in results[-len(out_arguments) :]]
        if not any(out is None or (isinstance(out, list) and None in out) for out in outs):
            yield unbound(op, {**values, **{a.name: out for a, out in zip(out_arguments, outs, strict=True)}})


def _converted(op: torch._ops.OpOverload, theirs: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of a variant's call by the names and types of an overload; ``None`` if one is missing."""
    like = next((value for value in theirs.values() if isinstance(value, torch.Tensor)), None)
    values = {}
    for argument in op._schema.arguments:
        if argument.is_out:
            continue
        value = theirs.get(argument.name, OMITTED)
        if value is not OMITTED:
            value = converted(value, type_of(argument), like)
        if value is OMITTED and not argument.has_default_value():
            value = next(iter(guesses_for(argument, like)), OMITTED)
            if value is OMITTED:
                return None
        values[argument.name] = value
    return values


def _results(variant: torch._ops.OpOverload, call: Call, device: str) -> list[Any] | None:
    """The results of a variant's call, a tensor or list of tensors for each out= argument; ``None`` if there are others."""
    args, kwargs = build(call, device)
    with torch.no_grad():
        result = variant(*args, **kwargs)
    results = list(result) if isinstance(result, tuple) else [result]
    lists_tensors = isinstance(result, list) and all(isinstance(r, torch.Tensor) for r in result)
    if lists_tensors or all(isinstance(r, torch.Tensor) for r in results):
        return results
    return None


def _mapped(function: Callable[[torch.Tensor], torch.Tensor | None], result: Any) -> Any:
    return [function(r) for r in result] if isinstance(result, list) else function(result)


def _same(result: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(result) if is_strided(result) else result  # nobody else uses it


def _empty(result: torch.Tensor) -> torch.Tensor | None:
    return torch.empty(0, dtype=result.dtype, device=result.device) if is_strided(result) else None


def _transposed(result: torch.Tensor) -> torch.Tensor | None:
    return reversed_order(_same(result)) if is_strided(result) else None


def _sliced(result: torch.Tensor) -> torch.Tensor | None:
    return sliced(_same(result)) if is_strided(result) else None


def _wider(result: torch.Tensor) -> torch.Tensor | None:
    wider = _WIDER.get(result.dtype)
    return torch.zeros_like(result, dtype=wider) if wider is not None and is_strided(result) else None


#: How out= tensors are made from the result of a variant.
_OUTS: tuple[Callable[[torch.Tensor], torch.Tensor | None], ...] = (_same, _empty, _transposed, _sliced, _wider)
