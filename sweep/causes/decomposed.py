"""Attributes what the crossref ``decomposition`` finds, or ``validation`` of a decomposition. Runs in a child."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import _add_op_to_registry

from sweep.causes import naming
from sweep.causes.answer import Function
from sweep.causes.attribution import functional_arguments
from sweep.causes.tracer import Trace, trace
from sweep.crossref.common.comparison import Outcome, compare
from sweep.crossref.common.protocol import Arguments
from sweep.crossref.decomposition import decompositions_of
from sweep.findings.kind_class import KindClass, broad_class
from sweep.operators.functional_form import functional_of


def of_decomposition(op: torch._ops.OpOverload, form: str, arguments: Callable[[], Arguments], kind: KindClass) -> Function:
    """The decomposition, what raises in it, or what handles its out= tensors if it is right without them.

    Args:
        op: the overload.
        form: which of its decompositions.
        arguments: returns the arguments of a call that shows it.
        kind: what is wrong, as a broad class.
    """
    traced = _decomposed(op, form, arguments)
    code = naming.unwrapped(decompositions_of(op)[form])
    own = naming.python_function(code) if code is not None else naming.kernel_of(op)
    if isinstance(traced.error, TypeError) and not _takes_out(op, decompositions_of(op)[form]):
        return naming.python_function(_add_op_to_registry.__code__)  # it registers a function for every overload, out= ones too
    if traced.error is not None:
        return naming.python_function_of_error(traced.error) or own
    functional = functional_of(op)
    is_handled = kind is not KindClass.VALUE and traced.root.handles_out
    if is_handled and functional is not None and form in decompositions_of(functional):
        inner = functional_arguments(op, functional, arguments)
        if kind not in _kinds_of(functional, form, inner):
            return naming.of_out_handling(op, traced.root) or own
    return own


def _takes_out(op: torch._ops.OpOverload, function: Callable[..., Any]) -> bool:
    """Whether a function can be called with the out= tensors of an overload."""
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return takes_any or all(argument.name in parameters for argument in op._schema.arguments if argument.is_out)


def _decomposed(op: torch._ops.OpOverload, form: str, arguments: Callable[[], Arguments]) -> Trace:
    args, kwargs = arguments()
    function = decompositions_of(op)[form]

    def predict() -> Outcome:
        with torch.no_grad():
            return Outcome(args, kwargs, function(*args, **kwargs))

    return trace(predict)


def _kinds_of(op: torch._ops.OpOverload, form: str, arguments: Callable[[], Arguments]) -> set[KindClass]:
    """What is wrong with a decomposition in one call."""
    outcome = _decomposed(op, form, arguments).outcome
    if outcome is None:
        return set()
    args, kwargs = arguments()
    try:
        actual = Outcome(args, kwargs, op(*args, **kwargs))
    except Exception:  # whatever the operator refuses with
        return {KindClass.LOST_VALIDATION}
    return {broad_class(mismatch.kind) for mismatch in compare(op, outcome, actual)}
