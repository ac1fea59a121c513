"""Crossref ``schema``: what calls write to and share memory with, against what the schema declares, in both directions.

Writes are seen bit for bit, in snapshots of the arguments. Of a sparse, nested or quantized tensor the strided tensors count that
it consists of. Upstream has ``torch._subclasses.schema_check_mode``, which compares values and takes no sparse arguments.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch.utils._pytree import tree_leaves

from sweep.calls.tensors import is_strided
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.other_values import is_changed_with_others
from sweep.crossref.common.protocol import NoPrediction, PreparedCall, Shared
from sweep.crossref.common.snapshot import memory_of
from sweep.findings.finding import Claim, Mismatch, Place
from sweep.findings.kind import SchemaFault
from sweep.operators import process_group
from sweep.operators.inventory import qualified_name
from sweep.operators.schema import by_name


class CrossRef(protocol.CrossRef):
    """The schema against what calls do."""

    labels = ("schema", "real")
    needs_changes = True
    exemptions: ClassVar[Mapping[str, str]] = {
        "aten.detach_.default": "changes what autograd knows of its argument, which calls without gradients do not show",
    }

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        raise NoPrediction("looks at the real call alone")

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        self._written: set[str] = set()
        with super().opened(op, shared):
            yield

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        arguments = _arguments(call)
        return [*self._writes(call, arguments), *_aliases(call, arguments), *_aliases_of_outputs(call, arguments)]

    def _writes(self, call: PreparedCall, arguments: Sequence[_Tensors]) -> Iterator[Mismatch]:
        """Writes that the schema does not declare, and what every call says about those that it declares."""
        assert call.changed is not None, "a crossref that asks for changes is told them"
        written = {storage for argument in arguments if argument.declared.is_write for storage in argument.storages}
        for argument in arguments:
            name, is_changed = argument.declared.name, argument.key in call.changed
            if not argument.declared.is_write:
                if is_changed and argument.storages.isdisjoint(written):
                    place = Place(argument=name, in_list=isinstance(argument.declared.type, torch.ListType))
                    yield Mismatch(place, SchemaFault.UNDECLARED_WRITE, None, "not written to", "changed")
            elif name not in self._written:
                yield from self._declared_write(call, argument, is_changed=is_changed)

    def _declared_write(self, call: PreparedCall, argument: _Tensors, *, is_changed: bool) -> Iterator[Mismatch]:
        """What a call says about a write that the schema declares and that no call before has made.

        A call that omits an optional tensor says nothing of one that it does not show: that tensor may be what it depends on.
        Neither does a collective, which writes nothing here for want of other ranks, nor a tensor that is not strided: what is
        recorded as an out= one is a result, which holds the right values already.
        """
        if process_group.is_needed_for(qualified_name(call.op._name)):
            return
        place = Place(argument=argument.declared.name)
        if is_changed or (argument.has_elements and self._is_changed_with_others(call, argument)):
            self._written.add(argument.declared.name)
            yield Mismatch(place, SchemaFault.NEVER_WRITTEN, claim=Claim.REFUTED)
        elif argument.has_elements and all(map(is_strided, argument.tensors)) and not _omits_optional(call):
            yield Mismatch(place, SchemaFault.NEVER_WRITTEN, None, "written to", "unchanged", Claim.UNLESS_REFUTED)

    def _is_changed_with_others(self, call: PreparedCall, argument: _Tensors) -> bool:
        if call.changes_state:
            return False
        with self.shared.prediction("real"):
            return is_changed_with_others(call, argument.key)


@dataclass(frozen=True)
class _Tensors:
    """The tensors of one argument or return value.

    Attributes:
        declared: the argument or return value in the schema.
        tensors: its tensors, several for a list.
        key: position or keyword of an argument.
    """

    declared: torch._C.Argument
    tensors: Sequence[torch.Tensor]
    key: str = ""

    @cached_property
    def storages(self) -> frozenset[int]:
        """The addresses of the storages that hold its tensors."""
        return frozenset(storage._cdata for tensor in self.tensors for storage in memory_of(tensor))

    @cached_property
    def has_elements(self) -> bool:
        """Whether there is anything to be written to, or to be shared."""
        return any(tensor.is_nested or tensor.numel() for tensor in self.tensors)

    def may_share(self, other: _Tensors) -> bool:
        """Whether the schema lets two values share memory.

        Of a list the schema says in Python that it is annotated, and not with what, so it may share memory with any annotated
        argument.
        """
        own, others = self.declared.alias_info, other.declared.alias_info
        if own is None or others is None:
            return False
        sets = [own.before_set | own.after_set, others.before_set | others.after_set]
        return not all(sets) or any("*" in names for names in sets) or bool(sets[0] & sets[1])


def _aliases(call: PreparedCall, arguments: Sequence[_Tensors]) -> Iterator[Mismatch]:
    """Memory that is shared and not declared so, and what every call says about memory that is declared as shared."""
    for at, output in _outputs(call):
        place = Place(output=at)
        allowed = {storage for argument in arguments if output.may_share(argument) for storage in argument.storages}
        for argument in arguments:
            is_same = any(tensor is own for tensor in output.tensors for own in argument.tensors)
            is_shared = is_same or (output.has_elements and not output.storages.isdisjoint(argument.storages))
            if not output.may_share(argument):
                if is_shared and argument.storages.isdisjoint(allowed):
                    text = f"is argument {argument.key}" if is_same else f"shares memory with argument {argument.key}"
                    yield Mismatch(place, SchemaFault.UNDECLARED_ALIAS, None, "new memory", text)
            elif is_shared or (output.has_elements and argument.has_elements):
                claim = Claim.REFUTED if is_shared else Claim.UNLESS_REFUTED
                text = f"shares memory with argument {argument.key}"
                yield Mismatch(place, SchemaFault.NEVER_SHARED, None, text, "new memory", claim)


def _aliases_of_outputs(call: PreparedCall, arguments: Sequence[_Tensors]) -> Iterator[Mismatch]:
    """Memory that two return values share, is new, and is not declared so.

    Memory of an argument is left out: what it may be shared with is judged by that argument.
    """
    known = {storage for argument in arguments for storage in argument.storages}
    for (first, one), (at, other) in itertools.combinations(_outputs(call), 2):
        is_shared = one.has_elements and other.has_elements and not (one.storages & other.storages) <= known
        if is_shared and not other.may_share(one):
            text = f"shares memory with output {first}"
            yield Mismatch(Place(output=at), SchemaFault.UNDECLARED_ALIAS, None, "new memory", text)


def _arguments(call: PreparedCall) -> list[_Tensors]:
    """The arguments that hold tensors."""
    schema = call.op._schema.arguments
    by_name = {argument.name: argument for argument in schema}
    named = [(schema[at], str(at), value) for at, value in enumerate(call.actual.args)]
    named += [(by_name[name], name, value) for name, value in call.actual.kwargs.items()]
    arguments = [_Tensors(declared, _tensors(value), key) for declared, key, value in named]
    return [argument for argument in arguments if argument.tensors]


def _outputs(call: PreparedCall) -> Iterator[tuple[int, _Tensors]]:
    """The return values that hold tensors, with their positions."""
    returns, result = call.op._schema.returns, call.actual.result
    values = result if len(returns) > 1 else (result,)
    for at, (declared, value) in enumerate(zip(returns, values, strict=False)):
        tensors = _tensors(value)
        if tensors:
            yield at, _Tensors(declared, tensors)


def _omits_optional(call: PreparedCall) -> bool:
    """Whether a call has no value for an optional tensor."""
    given = by_name(call.op, call.actual.args, call.actual.kwargs)
    optional = (a.name for a in call.op._schema.arguments if str(a.real_type).startswith("Optional[Tensor"))
    return any(given.get(name) is None for name in optional)


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]
