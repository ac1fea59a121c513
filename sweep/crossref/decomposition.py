"""Crossref ``decomposition``: the outcome of a decomposition on the real arguments, compared with eager's, values included.

The counterpart upstream is ``test/test_decomp.py``, which compares values and dtypes on OpInfo samples. What decompositions call
are real operators here, too: a wrong one among those is a finding of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch

from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome, Tolerance, compare
from sweep.crossref.common.protocol import DoesNotApply, PreparedCall
from sweep.crossref.common.values import Judged, confirmed
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import Mismatch
from sweep.findings.kind import StateChange

_Table = Mapping[Any, Callable[..., Any]]

#: The form of Inductor's own decompositions.
INDUCTOR = "inductor"


class CrossRef(protocol.CrossRef):
    """A decomposition against eager."""

    labels = ("decomposition", "eager")
    tolerance = Tolerance()
    exemptions: ClassVar[Mapping[str, str]] = {
        # Its schema declares no write, so that both sides would share the running statistics to which eager and decomposition
        # write alike.
        "aten.native_batch_norm.default": "eager writes to its running statistics, which the schema does not declare",
    }

    def why_not(self, op: torch._ops.OpOverload) -> str | None:
        return None if decompositions_of(op) else "no decomposition table has an entry of its own"

    def forms(self, op: torch._ops.OpOverload) -> Sequence[str]:
        return list(decompositions_of(op))

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        """The outcome of a decomposition.

        Raises:
            DoesNotApply: it returned ``NotImplemented``.
            ProcessUnusableError: it wrote to an argument that the operator does not write to, and which others share.
        """
        if call.seed is not None:
            torch.manual_seed(call.seed)
        args, kwargs = call.arguments()
        unwritten = [] if call.op._schema.is_mutable else [(t, t._version) for _, t, _ in Outcome(args, kwargs, None).inputs]
        with self.shared.prediction(self.labels[0]):
            result = decompositions_of(call.op)[form](*args, **kwargs)
        if any(tensor._version != version for tensor, version in unwritten):
            raise ProcessUnusableError(StateChange(("arguments",)), by_prediction=True)
        if result is NotImplemented:
            raise DoesNotApply("the decomposition returns NotImplemented for every call")
        return Outcome(args, kwargs, _as_returned(call.op, result))

    def compare(self, call: PreparedCall, predicted: Outcome, form: str) -> list[Mismatch]:
        if call.seed is not None:
            return compare(call.op, predicted, call.actual)  # other random numbers
        mismatches = compare(call.op, predicted, call.actual, self.tolerance)
        makers: list[Callable[[], Outcome]] = [call.repeated, functools.partial(self.predict, call, form)]
        return confirmed(call, predicted, mismatches, self.tolerance, makers, reference=call, judged=Judged.PREDICTED)


def _as_returned(op: torch._ops.OpOverload, result: Any) -> Any:
    """A result in the container that the dispatcher would hand on: it turns tuples into lists and lists into tuples."""
    returns = op._schema.returns
    if isinstance(result, list) and len(returns) > 1:
        return tuple(result)
    if isinstance(result, tuple) and len(returns) == 1 and isinstance(returns[0].type, torch.ListType):
        return list(result)
    return result


@functools.cache
def decompositions_of(op: torch._ops.OpOverload) -> Mapping[str, Callable[..., Any]]:
    """The decompositions of an overload by form: one of torch's global table or its core ATen table, and one of Inductor's own.

    A table's entry that runs the operator's own kernel for ``CompositeImplicitAutograd`` is no decomposition: it would be
    compared with itself. Neither is an operator that stands in the table by itself.
    """
    functions: dict[str, Callable[..., Any]] = {}
    for form, tables in _tables().items():
        function = next((table[op] for table in tables if op in table), None)
        if function is None or isinstance(function, functools.partial | torch._ops.OpOverload | torch._ops.OpOverloadPacket):
            continue
        if function not in functions.values():
            functions[form] = function
    return functions


@functools.cache
def _tables() -> Mapping[str, Sequence[_Table]]:
    """The tables that this torch has, by form."""
    from torch._decomp import core_aten_decompositions, global_decomposition_table

    return {"": [global_decomposition_table["post_autograd"], core_aten_decompositions()], INDUCTOR: _inductor_tables()}


def _inductor_tables() -> Sequence[_Table]:
    try:
        from torch._inductor.decomposition import select_decomp_table
    except ImportError:  # a torch without Inductor, or without what it needs
        return []
    return [select_decomp_table()]
