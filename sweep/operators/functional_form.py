"""The functional form of an out= or in-place overload, the overload that returns what this one writes; and the way back."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import torch

from sweep.operators.inventory import form_signature, kind_of
from sweep.operators.overload import OverloadKind
from sweep.operators.schema import written_names

#: Endings by which the operator of an out= or in-place overload differs from the functional one in name.
_ENDINGS = ("_out", "_")

#: Arguments of a functional overload for which an out= overload has its out tensor.
OPTIONS = frozenset({"dtype", "layout", "device", "pin_memory"})


@functools.cache
def functional_of(op: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """The overload with the same arguments, but for out= tensors, that writes to none of them; ``None`` if there is none.

    That of an out= overload may take :data:`OPTIONS` in addition. Arguments go by their names; their order may be another one.

    >>> functional_of(torch.ops.aten.add.out), functional_of(torch.ops.aten.add_.Tensor)
    (<OpOverload(op='aten.add', overload='Tensor')>, <OpOverload(op='aten.add', overload='Tensor')>)
    """
    if kind_of(op) not in (OverloadKind.OUT, OverloadKind.IN_PLACE):
        return None
    wanted, options = _signature(op), OPTIONS if kind_of(op) is OverloadKind.OUT else frozenset()
    for allowed in (frozenset[str](), options):
        for functional in _candidates(op):
            more = _signature(functional) - wanted
            is_same = wanted <= _signature(functional) and {name for name, _ in more} <= allowed
            if is_same and len(functional._schema.returns) == len(written_names(op)):
                return functional
    return None


@functools.cache
def out_of(op: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """The out= overload that runs the kernel of a functional one; ``None`` if there is none.

    >>> out_of(torch.ops.aten.index_select.default)
    <OpOverload(op='aten.index_select', overload='out')>
    """
    if kind_of(op) is not OverloadKind.FUNCTIONAL:
        return None
    name = op._schema.name.partition("::")[2]
    outs = (out for out in _overloads(op, (name, f"{name}_out")) if kind_of(out) is OverloadKind.OUT)
    return next((out for out in outs if not is_generated_out(out) and functional_of(out) is op), None)


def is_generated_out(op: torch._ops.OpOverload) -> bool:
    """Whether torchgen has written the kernel of an out= overload, which calls the functional form and copies what it returns."""
    return kind_of(op) is OverloadKind.OUT and torch.Tag.generated in op.tags


def _candidates(op: torch._ops.OpOverload) -> Iterator[torch._ops.OpOverload]:
    """The overloads that write to no argument, of the operator itself and of those named after it."""
    name = op._schema.name.partition("::")[2]
    names = [name, *(name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending))]
    if name.startswith("__i") and name.endswith("__"):
        names.append(f"__{name[3:]}")  # __iand__ is the in-place form of __and__
    yield from (candidate for candidate in _overloads(op, names) if not candidate._schema.is_mutable)


def _overloads(op: torch._ops.OpOverload, names: Iterable[str]) -> Iterator[torch._ops.OpOverload]:
    """The overloads of the operators with some names in the namespace of an operator."""
    for packet in (getattr(getattr(torch.ops, op.namespace), each, None) for each in names if each):
        for overload in sorted(packet.overloads()) if packet is not None else ():
            yield getattr(packet, overload)


def _signature(op: torch._ops.OpOverload) -> frozenset[tuple[str, str]]:
    return frozenset(form_signature(op))
