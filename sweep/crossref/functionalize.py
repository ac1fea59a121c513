"""Crossref ``functionalize``: at every overload that dispatches to Functionalize, fake output against functionalized output.

A call is made on functional tensors with the Python dispatcher enabled, through torch's own hook
(``torch._dispatch.python.make_crossref_functionalize``). Where torch's version raises at the first mismatch and makes a new fake
mode for every operator, this one collects all mismatches and shares one mode. A mismatch at an operator inside a composite one is
reported for the composite one, with the name of the inner operator. An operator that writes to its arguments and has no kernel
for Functionalize, such as a custom one, is functionalized as ``torch.compile`` does it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar
from unittest import mock

import torch
from torch._C import DispatchKey
from torch._dispatch.python import enable_python_dispatcher, suspend_functionalization
from torch.utils._python_dispatch import _disable_current_modes

from sweep.crossref.common import protocol
from sweep.crossref.common.auto_functionalize import auto_functionalized, fallback_refuses, is_refused
from sweep.crossref.common.comparison import Outcome, compare, describe
from sweep.crossref.common.exemptions import VERSION
from sweep.crossref.common.protocol import PreparedCall, Shared
from sweep.crossref.common.refusals import prediction_ending
from sweep.errors import ProcessUnusableError
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import WHOLE, Mismatch, Place
from sweep.findings.kind import Difference
from sweep.operators.inventory import qualified_name


class CrossRef(protocol.CrossRef):
    """Fake against functionalized."""

    labels = ("fake", "functionalized")
    prediction_label = "functionalized"
    exemptions: ClassVar[Mapping[str, str]] = {
        **VERSION,
        # The seed suppresses it as well ("pretty weird"): under functionalization, lifting wraps a plain tensor.
        "aten.lift_fresh.default": "lifting is what wraps a plain tensor",
        # Which of its calls crash there and which raise differs from run to run (torch 2.13), with the same arguments.
        "aten._amp_foreach_non_finite_check_and_unscale.out": "what its functionalized form does depends on what memory holds",
    }

    def __init__(self) -> None:
        self._mismatches: list[Mismatch] = []
        self._op: torch._ops.OpOverload | None = None
        self._handled: list[torch._ops.OpOverload] = []

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        self.shared, self._op = shared, op
        self._handled.clear()
        _forget_functionalize(torch._ops.get_cached_ops())
        try:
            with (
                mock.patch("torch._dispatch.python.CROSSREF_FUNCTIONALIZE", True),
                mock.patch("torch._dispatch.python.make_crossref_functionalize", self._handler),
            ):
                yield
        finally:
            _forget_functionalize(self._handled)
            self._op = None

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        """The outcome on functional tensors; what the handler compares meanwhile is in ``_mismatches``."""
        args, kwargs = call.arguments()
        memo: dict[int, Any] = {}
        f_args = [_functional(a, memo) for a in args]
        f_kwargs = {name: _functional(v, memo) for name, v in kwargs.items()}
        with self.shared.prediction("functionalized"), _functionalization(), enable_python_dispatcher():
            return Outcome(f_args, f_kwargs, call.op(*f_args, **f_kwargs))

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        self._mismatches = []
        try:
            self.predict(call, form)
        except ProcessUnusableError:
            raise
        except BaseException as error:  # the class of whatever the functionalized path raises is the finding
            self._mismatches.append(_raised(call.op, "functionalized", error))
        else:
            if _has_whole_form(call.op):
                self._check_whole(call, form)
        return self._mismatches

    def _check_whole(self, call: PreparedCall, form: str) -> None:
        """Compares a composite operator itself, which autograd decomposes before it is functionalized.

        Below autograd, as inside ``torch.func.functionalize``, it dispatches to Functionalize too, mostly to its fallback. That
        wraps every output anew, which says nothing about the operator, so aliasing and offsets do not count here.
        """
        before = len(self._mismatches)
        try:
            with torch._C._AutoDispatchBelowAutograd():
                self.predict(call, form)
        except ProcessUnusableError:
            raise
        except BaseException as error:  # the class is the finding, since with autograd on it does not raise
            self._mismatches.append(_raised(call.op, "functionalized below autograd", error))
        ignored = (Difference.ALIASING, Difference.OFFSET)
        self._mismatches[before:] = [m for m in self._mismatches[before:] if m.kind not in ignored]

    def _handler(self, op: torch._ops.OpOverload, final_key: DispatchKey) -> DispatchKey | Callable[..., Any]:
        """The entry of an overload's Python dispatch table for Functionalize while the crossref is open."""
        self._handled.append(op)
        name = qualified_name(op._name)
        if name in self.exemptions:
            return final_key
        is_refused = final_key == DispatchKey.Functionalize and fallback_refuses(op)
        functionalized = functools.partial(auto_functionalized, op) if is_refused else functools.partial(op._op_dk, final_key)

        def handler(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                if torch._C._len_torch_dispatch_stack():
                    stack.enter_context(_disable_current_modes())
                stack.enter_context(suspend_functionalization())
                fake = self.shared.fakes.outcome_or_error(op, args, kwargs)
            result = functionalized(*args, **kwargs)
            self._compare(op, name, fake, Outcome(args, kwargs, result))
            return result

        return handler

    def _compare(self, op: torch._ops.OpOverload, name: str, fake: Outcome | BaseException, functionalized: Outcome) -> None:
        """Adds the mismatches of one functionalized operator."""
        inside = "" if op is self._op else name
        if isinstance(fake, BaseException):
            ending = prediction_ending("fake", fake)
            self._mismatches.append(
                Mismatch(Place(inside=inside), ending, None, type(fake).__name__, describe(functionalized.result))
            )
            return
        for mismatch in compare(op, fake, functionalized):
            if _is_written(op, mismatch.place) and mismatch.kind in _unknown_of_written(op):
                continue
            self._mismatches.append(replace(mismatch, place=replace(mismatch.place, inside=inside)))


@functools.cache
def _has_whole_form(op: torch._ops.OpOverload) -> bool:
    """Whether a composite operator can be functionalized undecomposed, below autograd."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(op._name, "CompositeImplicitAutograd") and not fallback_refuses(op)


@functools.cache
def _is_written(op: torch._ops.OpOverload, place: Place) -> bool:
    """Whether an output or argument is one that the call wrote to."""
    if place.argument:
        return True
    returns = op._schema.returns
    if place.output is None or place.output >= len(returns):
        return False
    alias = returns[place.output].alias_info
    return alias is not None and alias.is_write


def _unknown_of_written(op: torch._ops.OpOverload) -> tuple[Difference, ...]:
    """What says nothing about the operator where it differs in an output or argument that the call wrote to.

    Functionalized, that is replaced by a new value with the layout of the operator's functional form, which is copied into the
    original in the end (``FunctionalTensorWrapper::replace_``). By way of ``torch.compile``, an output that is an argument is
    wrapped anew as well.
    """
    layout = (Difference.STRIDES, Difference.OFFSET)
    return (*layout, Difference.ALIASING) if fallback_refuses(op) else layout


def _raised(op: torch._ops.OpOverload, side: str, error: BaseException) -> Mismatch:
    ending = prediction_ending(side, error)
    if isinstance(error, RuntimeError) and ending.kind is EndingKind.RAISED and is_refused(op):
        ending = Ending(EndingKind.UNSUPPORTED, ending.detail, side)
    return Mismatch(WHOLE, ending, None, "", type(error).__name__)


def _forget_functionalize(ops: Iterable[torch._ops.OpOverload]) -> None:
    """Drops cached decisions about Functionalize, so that the next call asks again (as the seed does on enter and exit)."""
    for op in ops:
        if DispatchKey.Functionalize in op._dispatch_cache:
            op._uncache_dispatch(DispatchKey.Functionalize)


@contextmanager
def _functionalization() -> Iterator[None]:
    torch._enable_functionalization(reapply_views=True)
    try:
        yield
    finally:
        torch._disable_functionalization()


def _functional(value: Any, memo: dict[int, Any]) -> Any:
    """Wraps every tensor in a value for functionalization; the same tensor gets the same wrapper."""
    if isinstance(value, torch.Tensor):
        if id(value) not in memo:
            memo[id(value)] = torch._to_functional_tensor(value)
        return memo[id(value)]
    if isinstance(value, list | tuple):
        return type(value)(_functional(v, memo) for v in value)
    return value
