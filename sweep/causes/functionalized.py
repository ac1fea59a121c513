"""Attributes what the crossref ``functionalize`` finds: to fake tensors, or to what functionalizes the operator.

Runs in a child.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sweep.causes import naming
from sweep.causes.answer import Attributed
from sweep.causes.attribution import Attribution, StaticPredictor
from sweep.causes.tracer import trace
from sweep.crossref import functionalize
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.fake_modes import unwrapped
from sweep.crossref.common.protocol import Arguments, PreparedCall, Shared
from sweep.errors import ProcessUnusableError
from sweep.findings.ending import Ending
from sweep.findings.finding import Mismatch
from sweep.findings.kind_class import broad_class
from sweep.operators.inventory import find, qualified_name


def of_functionalized(call: PreparedCall, shared: Shared, mismatch: Mismatch, *, deep: bool) -> Attributed:
    """Who answers for a mismatch between fake tensors and functionalization.

    Args:
        call: the call.
        shared: what crossrefs share.
        mismatch: the mismatch.
        deep: as in :class:`Attribution`.
    """
    kind = broad_class(mismatch.kind)
    inside = find(mismatch.place.inside) if mismatch.place.inside else None
    is_fake = isinstance(mismatch.kind, Ending) and mismatch.kind.side == functionalize.CrossRef.labels[0]
    if isinstance(mismatch.kind, Ending) and not is_fake:
        return _of_raising(call, shared)
    op = inside or call.op
    arguments = call.arguments if inside is None else _Inside(op).arguments_in(call, shared)
    if arguments is None:
        return Attributed(naming.functionalization_of(op), qualified_name(op._name))
    attribution = Attribution(StaticPredictor(), kind, deep=deep)
    operator = qualified_name(op._name) if inside is not None else ""
    if is_fake or kind in attribution.kinds_of(op, arguments):
        attributed = attribution.of(op, arguments)
        return Attributed(attributed.function, attributed.inside or operator)
    return Attributed(naming.functionalization_of(op), operator)


def _of_raising(call: PreparedCall, shared: Shared) -> Attributed:
    """Who raises where a call is functionalized."""
    crossref = functionalize.CrossRef()

    def functionalized() -> Outcome:
        with crossref.opened(call.op, shared):
            return crossref.predict(call, "")

    traced = trace(functionalized)
    if traced.error is None:
        return Attributed(naming.functionalization_of(call.op))
    if isinstance(traced.error, ProcessUnusableError):
        raise traced.error
    return Attributed(naming.of_functionalization_error(call.op, traced))


class _Inside(functionalize.CrossRef):
    """Keeps the arguments of the first call of an operator inside a functionalized one."""

    def __init__(self, inner: torch._ops.OpOverload) -> None:
        super().__init__()
        self._inner = inner
        self._kept: tuple[Any, Any] | None = None

    def arguments_in(self, call: PreparedCall, shared: Shared) -> Callable[[], Arguments] | None:
        """Returns what returns those arguments; ``None`` if there was no such call, or if it writes to them."""
        with self.opened(call.op, shared):
            self.check(call, "")
        kept = self._kept
        if kept is None or self._inner._schema.is_mutable:
            return None
        return lambda: (list(kept[0]), kept[1])

    def _compare(self, op: torch._ops.OpOverload, name: str, fake: Any, functionalized: Outcome) -> None:
        before = len(self._mismatches)
        super()._compare(op, name, fake, functionalized)
        if op is self._inner and self._kept is None and len(self._mismatches) > before:
            args, kwargs = functionalized.args, functionalized.kwargs
            self._kept = [unwrapped(a) for a in args], {name: unwrapped(value) for name, value in kwargs.items()}
