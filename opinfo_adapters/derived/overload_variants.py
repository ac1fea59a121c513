"""The other forms of an operator that is called: out=, in-place, functional, and other overloads of its packet.

Forms of one operator have the same arguments, and their calls carry over as they are; an out= form is given tensors as large
as the result, empty ones that it has to resize, ones that lie otherwise in memory, and ones of a wider dtype. Where only another
overload of the packet is called, its arguments are converted by name (a number to a tensor, a dimension to a list of one); what
it does not have is guessed (see ``schemas``).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from opinfo_adapters.derived import Known
from opinfo_adapters.derived.arguments import OMITTED, bound, converted, laid_out, type_of
from sweep.recording.attempts import Attempts
from opinfo_adapters.derived.tensor_variants import sliced, transposed
from opinfo_adapters.derived.schema_guesses import guesses_for
from opinfo_adapters.derived.selection import representatives
from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.calls.tensors import is_strided
from sweep.operators.inventory import form_signature, inventory, kind_of, resolve

#: How many calls of a sibling are carried over.
CARRIED = 8

#: Of those, how many get every kind of out= tensor.
_VARIED = 3

_WIDER = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
    torch.bool: torch.uint8,
    torch.int64: torch.float32,
    torch.int32: torch.int64,
}


def tasks(known: Known) -> Iterable[str]:
    """Every overload that is not called and has a sibling that is, and every out= form, which samples seldom reach."""
    for name in known.callable_overloads():
        if not any(known.is_called(s) for s in _family(name)):
            continue
        # An out= form that has calls is tried in the first turn only, and has derived ones in the second.
        is_out = kind_of(resolve(name)) == "out"
        if not known.is_called(name) or (is_out and not any(_is_derived(c) for c in known.calls(name))):
            yield name


def run(task: str, known: Known, attempt: Attempts) -> None:
    """Carries calls over from the siblings that have most in common."""
    op = resolve(task)
    exact, others = _siblings(task, known)
    for sibling in exact or others:
        before = len(attempt.kept)
        for rank, call in enumerate(representatives(known.calls(sibling), CARRIED)):
            try:
                carried = list(_carried(op, resolve(sibling), call, known.device, varied=rank < _VARIED))
            except Exception as error:  # the sibling itself: its call needs what another one left, a file perhaps
                attempt.refuse(error.with_traceback(None))
                continue
            for args, kwargs in carried:
                attempt(args, kwargs, f"siblings {sibling}: {call.source}")
        if len(attempt.kept) > before:
            break


def _is_derived(call: Call) -> bool:
    return call.source.startswith("siblings ")


def _base(name: str) -> str:
    """What the packets of an operator's forms have in common: ``aten.add``, for ``aten.add_.Tensor`` and ``aten.add.out``."""
    namespace, packet, _ = name.split(".", 2)
    if packet.startswith("__i") and packet.endswith("__"):
        return f"{namespace}.__{packet[3:]}"
    return f"{namespace}.{packet.rstrip('_').removesuffix('_functional').removesuffix('_copy').removesuffix('_out')}"


@functools.cache
def _families() -> dict[str, list[str]]:
    found = defaultdict(list)
    for name in inventory():
        found[_base(name)].append(name)
    return dict(found)


def _family(name: str) -> list[str]:
    """The other overloads of an operator."""
    return [n for n in _families()[_base(name)] if n != name]


def _siblings(name: str, known: Known) -> tuple[list[str], list[str]]:
    """Called overloads with the same arguments, and called ones with others, those with most in common first."""
    op = resolve(name)
    wanted = form_signature(op)
    called = [n for n in _family(name) if known.is_called(n)]
    exact = [n for n in called if form_signature(resolve(n)) == wanted]
    # An in-place form tells nothing of the result's size; a functional one does.
    exact.sort(key=lambda n: ("functional", "view", "factory", "in-place", "out").index(kind_of(resolve(n))))
    names = {n for n, _ in wanted}

    def distance(other: str) -> tuple[int, int, str]:
        theirs = {n for n, _ in form_signature(resolve(other))}
        return len(names - theirs), len(theirs - names), other

    return exact, sorted((n for n in called if n not in exact), key=distance)


def _carried(
    op: torch._ops.OpOverload, sibling: torch._ops.OpOverload, call: Call, device: str, *, varied: bool
) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """A sibling's call as calls of an overload."""
    values = _converted(op, bound(sibling, *build(call, device)))
    if values is None:
        return
    outs = [a for a in op._schema.arguments if a.is_out]
    if not outs:
        yield laid_out(op, values)
        return
    results = _results(sibling, call, device)
    if results is None or len(results) < len(outs):
        return
    for make in _OUTS if varied else _OUTS[:1]:
        made = [_mapped(make, r) for r in results[-len(outs) :]]
        if not any(m is None or (isinstance(m, list) and None in m) for m in made):
            yield laid_out(op, {**values, **{a.name: m for a, m in zip(outs, made, strict=True)}})


def _converted(op: torch._ops.OpOverload, theirs: dict[str, Any]) -> dict[str, Any] | None:
    like = next((v for v in theirs.values() if isinstance(v, torch.Tensor)), None)
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


def _results(sibling: torch._ops.OpOverload, call: Call, device: str) -> list[Any] | None:
    """What the sibling returns for its call: a tensor or list of tensors for each out= argument."""
    args, kwargs = build(call, device)
    with torch.no_grad():
        result = sibling(*args, **kwargs)
    results = list(result) if isinstance(result, tuple) else [result]
    lists_tensors = isinstance(result, list) and all(isinstance(r, torch.Tensor) for r in result)
    if lists_tensors or all(isinstance(r, torch.Tensor) for r in results):
        return results
    return None


def _mapped(make: Any, result: Any) -> Any:
    return [make(r) for r in result] if isinstance(result, list) else make(result)


def _same(result: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(result) if is_strided(result) else result  # it is nobody else's


def _empty(result: torch.Tensor) -> torch.Tensor | None:
    return torch.empty(0, dtype=result.dtype, device=result.device) if is_strided(result) else None


def _otherwise(result: torch.Tensor) -> torch.Tensor | None:
    return transposed(_same(result)) if is_strided(result) else None


def _with_gaps(result: torch.Tensor) -> torch.Tensor | None:
    return sliced(_same(result)) if is_strided(result) else None


def _wider(result: torch.Tensor) -> torch.Tensor | None:
    wider = _WIDER.get(result.dtype)
    return torch.zeros_like(result, dtype=wider) if wider is not None and is_strided(result) else None


#: The out= tensors that are tried, given what the result is.
_OUTS = (_same, _empty, _otherwise, _with_gaps, _wider)
