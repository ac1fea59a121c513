"""Crossref ``decomposition``: the outcome of a decomposition on the real arguments, compared with eager's, values included.

The counterpart upstream is ``test/test_decomp.py``, which compares values and dtypes on OpInfo samples. What decompositions call
are real operators here, too: a wrong one among those is a finding of its own.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch._decomp import core_aten_decompositions, global_decomposition_table
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

from sweep.calls.tensors import is_strided
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome, Tolerance, coarsest, compare
from sweep.crossref.common.protocol import DoesNotApply, PreparedCall
from sweep.crossref.common.values import Judged, confirmed
from sweep.errors import ProcessUnusableError
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import Mismatch
from sweep.findings.kind import Difference, StateChange

_Table = Mapping[Any, Callable[..., Any]]

#: The form of Inductor's own decompositions.
INDUCTOR = "inductor"

_HALF = (torch.float16, torch.bfloat16)

#: What torch raises for a layout that an operator does not support.
_REFUSALS = (RuntimeError, NotImplementedError)


class CrossRef(protocol.CrossRef):
    """A decomposition against eager."""

    labels = ("decomposition", "eager")
    tolerance = Tolerance()
    needs_changes = True
    exemptions: ClassVar[Mapping[str, str]] = {
        # Its schema declares no write, so that both sides would share the running statistics to which eager and decomposition
        # write alike.
        "aten.native_batch_norm.default": "eager writes to its running statistics, which the schema does not declare",
        # Lifting wraps plain tensors under functionalization. Of one, eager returns the tensor itself and the table an alias.
        "aten.lift.default": "lifting is what wraps a plain tensor",
        "aten.lift_fresh.default": "lifting is what wraps a plain tensor",
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
        call.reseed()
        args, kwargs = call.arguments()
        unwritten = [] if call.op._schema.is_mutable else [(t, t._version) for _, t, _ in Outcome(args, kwargs, None).inputs]
        try:
            with self.shared.prediction(self.labels[0]):
                result = decompositions_of(call.op)[form](*args, **kwargs)
        finally:
            if any(tensor._version != version for tensor, version in unwritten):
                raise ProcessUnusableError(StateChange(("arguments",)), by_prediction=True)
        if result is NotImplemented:
            raise DoesNotApply("the decomposition returns NotImplemented for every call")
        return Outcome(args, kwargs, _as_returned(call.op, result))

    def raised(self, call: PreparedCall, form: str, error: BaseException) -> Mismatch:
        """The mismatch of a decomposition that raised.

        Decompositions are written in terms of ``torch._prims``, which have strided tensors only: where an argument is none, they
        refuse it by design.
        """
        mismatch = super().raised(call, form, error)
        kind = mismatch.kind
        is_refusal = isinstance(kind, Ending) and kind.kind is EndingKind.RAISED and type(error) in _REFUSALS
        if is_refusal and not all(is_strided(tensor) for _, tensor, _ in call.actual.inputs):
            return replace(mismatch, kind=Ending(EndingKind.UNSUPPORTED, type(error).__name__, self.labels[0]))
        return mismatch

    def compare(self, call: PreparedCall, predicted: Outcome, form: str) -> list[Mismatch]:
        if call.seed is not None:
            return compare(call.op, predicted, call.actual)  # other random numbers
        mismatches = compare(call.op, predicted, call.actual, self.tolerance)
        if all(mismatch.kind is not Difference.VALUE for mismatch in mismatches):
            return mismatches
        makers: list[Callable[[], Outcome]] = [call.repeated, lambda: self._as_run(call, self.predict(call, form), form)]
        as_run = self._as_run(call, predicted, form)
        return confirmed(call, as_run, mismatches, _tolerance(call), makers, reference=call, judged=Judged.PREDICTED)

    def _as_run(self, call: PreparedCall, predicted: Outcome, form: str) -> Outcome:
        """A prediction with the values that code made from the decomposition computes.

        Code that Inductor makes computes in float32 what it loads and stores as float16 or bfloat16.
        """
        if form != INDUCTOR or not any(tensor.dtype in _HALF for _, tensor, _ in call.actual.inputs):
            return predicted
        in_single = PreparedCall(call.op, lambda: tree_map_only(torch.Tensor, _single, call.arguments()), None)
        try:
            outcome = self.predict(in_single, form)
        except ProcessUnusableError:
            raise
        except Exception:  # its integers, or other arguments, do not go with float32: it computes in no other dtype than it says
            return predicted
        leaves, structure = tree_flatten((outcome.args, outcome.kwargs, outcome.result))
        like = tree_leaves((predicted.args, predicted.kwargs, predicted.result))
        cast = [leaf.to(p.dtype) if isinstance(leaf, torch.Tensor) else leaf for leaf, p in zip(leaves, like, strict=True)]
        return Outcome(*tree_unflatten(cast, structure))


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in _HALF else tensor


def _tolerance(call: PreparedCall) -> Tolerance:
    """The tolerance of the least precise floating-point tensor of a call.

    A result may be rounded to the dtype of any argument on the way, whatever dtype it has in the end.
    """
    tensors = [tensor for _, tensor, _ in call.actual.inputs] + tree_leaves(call.actual.result)
    floating = [t for t in tensors if isinstance(t, torch.Tensor) and (t.is_floating_point() or t.is_complex())]
    return coarsest(floating) if floating else Tolerance()


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
    return {"": [global_decomposition_table["post_autograd"], core_aten_decompositions()], INDUCTOR: _inductor_tables()}


def _inductor_tables() -> Sequence[_Table]:
    try:
        importlib.import_module("torch._inductor.lowering")  # the table uses it without importing it
        from torch._inductor.decomposition import select_decomp_table
    except ImportError:  # a torch without Inductor, or without what it needs
        return []
    return [select_decomp_table()]
