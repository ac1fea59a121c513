"""Attributes a finding to the function that answered for the wrong side, and to the first operator inside that answers wrongly.

Runs in a child.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweep.calls.call import Unrecordable
from sweep.calls.codec import build, encode
from sweep.causes import naming
from sweep.causes.answer import Attributed
from sweep.causes.tracer import Node, Trace, place_of, trace
from sweep.crossref.common.comparison import Numbers, Outcome, compare, number_of
from sweep.crossref.common.fake_modes import outcome_in
from sweep.crossref.common.protocol import Arguments
from sweep.crossref.common.refusals import prediction_ending
from sweep.crossref.common.symbolic_shapes import Sizes, SymbolicArguments, why_not_symbolic
from sweep.findings.kind_class import KindClass, broad_class
from sweep.operators.facts import Origin
from sweep.operators.functional_form import functional_of
from sweep.operators.inventory import kind_of, qualified_name
from sweep.operators.origins import prediction_of
from sweep.operators.overload import OverloadKind
from sweep.operators.schema import by_name

#: Operators inside operators are looked into up to this depth.
_DEPTH = 8

#: Files of functions that compute with the operators that they call, so that they can be run on real tensors.
_RUNNABLE = ("torch/_refs/", "torch/_decomp/", "torch/_inductor/decomposition.py")


@dataclass(frozen=True)
class Predicted:
    """A prediction, and what has the values of its sizes."""

    outcome: Outcome
    numbers: Numbers = number_of


class StaticPredictor:
    """Predicts with fake tensors of static sizes, and without torch's cache."""

    symbolic = False

    def predict(self, op: torch._ops.OpOverload, arguments: Arguments) -> Predicted:
        """The prediction; raises whatever fake tensors raise."""
        try:
            return Predicted(outcome_in(_uncached(), op, *arguments))
        except (DynamicOutputShapeException, DataDependentOutputException):
            return Predicted(outcome_in(_uncached(shape_env=ShapeEnv()), op, *arguments))

    def around_real(self) -> AbstractContextManager[object]:
        """Context in which real tensors take the same path as the prediction."""
        return nullcontext()


class SymbolicPredictor:
    """Predicts with fake tensors of symbolic sizes.

    Args:
        sizes: what is known about the sizes.
    """

    symbolic = True

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes

    def predict(self, op: torch._ops.OpOverload, arguments: Arguments) -> Predicted:
        """The prediction; static where the arguments have no symbolic sizes. Raises whatever fake tensors raise."""
        if why_not_symbolic(*arguments) is not None:
            return StaticPredictor().predict(op, arguments)
        symbolic = SymbolicArguments(arguments, self._sizes)
        return Predicted(symbolic.outcome(op), symbolic.number)

    def around_real(self) -> AbstractContextManager[object]:
        return enable_python_dispatcher()


Predictor = StaticPredictor | SymbolicPredictor


def _uncached(**options: Any) -> FakeTensorMode:
    mode = FakeTensorMode(**options)
    mode.cache_enabled = False  # what answers is to be asked, not the cache
    return mode


class Attribution:
    """Attributes wrong predictions of fake tensors.

    Args:
        predictor: makes the predictions.
        kind: what is wrong with them, as a broad class.
        deep: make the calls inside on real tensors too; otherwise only the prediction is made.
    """

    def __init__(self, predictor: Predictor, kind: KindClass, *, deep: bool = True) -> None:
        self._predictor, self._kind, self._deep = predictor, kind, deep

    def of(self, op: torch._ops.OpOverload, arguments: Callable[[], Arguments], *, depth: int = 0) -> Attributed:
        """Who answers for an operator.

        Args:
            op: the operator.
            arguments: returns its real arguments; new ones each time if it writes to some.
            depth: how many operators it is inside of.
        """
        predicted = trace(lambda: self._predictor.predict(op, arguments()).outcome)
        operator = qualified_name(op._name) if depth else ""
        node = _own_node(op, predicted)
        # What raises with symbolic sizes, or refuses by design, says itself where; other errors may be about what is given.
        is_told = predicted.error is not None and (self._predictor.symbolic or self._kind is KindClass.UNSUPPORTED)
        inner = self._inner(op, node, arguments) if self._deep and not is_told and depth < _DEPTH else None
        if inner is not None:
            return self.of(inner.op, inner.arguments, depth=depth + 1)
        if self._deep and kind_of(op) in (OverloadKind.OUT, OverloadKind.IN_PLACE):
            of_form = self._of_functional_form(op, arguments, depth)
            if of_form is not None:
                return of_form
        if predicted.error is not None:
            raising = predicted.raising
            if not depth and raising is not None and raising is not op and functional_of(op) is not raising:
                operator = qualified_name(raising._name)
            attributed = Attributed(naming.of_error(op, predicted, symbolic=self._predictor.symbolic), operator)
            return naming.by_generator(attributed) if is_told else attributed
        if self._deep and kind_of(op) is OverloadKind.OUT and functional_of(op) is not None:
            handling = naming.of_out_handling(op, node)  # the functional form is right
            if handling is not None:
                return Attributed(handling, operator)
        return Attributed(naming.of_node(op, node, symbolic=self._predictor.symbolic), operator)

    def _of_functional_form(self, op: torch._ops.OpOverload, arguments: Callable[[], Arguments], depth: int) -> Attributed | None:
        """Who answers for the functional form of an operator; ``None`` if that is not wrong in the same way."""
        functional = functional_of(op)
        if functional is None:
            return None
        inner = functional_arguments(op, functional, arguments)
        if self._kind not in self.kinds_of(functional, inner):
            return None
        attributed = self.of(functional, inner, depth=depth + 1)
        is_own = attributed.inside == qualified_name(functional._name)
        return Attributed(attributed.function, "" if is_own else attributed.inside)

    def kinds_of(self, op: torch._ops.OpOverload, arguments: Callable[[], Arguments]) -> set[KindClass]:
        """What is wrong with the prediction of a call."""
        comparison = _Comparison(op, arguments(), self._predictor)
        args, kwargs = arguments()
        try:
            result = op(*args, **kwargs)
        except Exception:  # a refusal is an answer too
            return comparison.of_refusal()
        return comparison.with_actual(Outcome(args, kwargs, result))

    def _inner(self, op: torch._ops.OpOverload, node: Node, arguments: Callable[[], Arguments]) -> _Inner | None:
        """The first operator inside that is wrong in the same way, when what predicts computes with real tensors."""
        implementation = _implementation(op, node, symbolic=self._predictor.symbolic)
        if implementation is None:
            return None
        args, kwargs = arguments()
        mode = _Comparing(op, self._predictor, self._kind)
        with suppress(BaseException), torch.no_grad(), self._predictor.around_real(), mode:
            implementation(*args, **kwargs)
        return mode.found  # whatever it raised: what was found before that is what counts


def functional_arguments(
    op: torch._ops.OpOverload, functional: torch._ops.OpOverload, arguments: Callable[[], Arguments]
) -> Callable[[], Arguments]:
    """Returns what returns the arguments of a call in its functional form."""

    def inner() -> Arguments:
        given = by_name(op, *arguments())
        return [], {a.name: given[a.name] for a in functional._schema.arguments if a.name in given}

    return inner


def _own_node(op: torch._ops.OpOverload, predicted: Trace) -> Node:
    """The operator itself in the fake mode; the whole prediction if it is decomposed before it reaches the mode."""
    root = predicted.root
    # What refuses a call of static sizes that depend on data is asked again.
    is_dispatched = bool(root.children) and all(child.op is op for child in root.children) and not root.functions
    return root.children[-1] if is_dispatched else root


def _implementation(op: torch._ops.OpOverload, node: Node, *, symbolic: bool) -> Callable[..., Any] | None:
    """What computes a prediction with other operators, so that it can be run on real tensors; ``None`` if nothing does."""
    if node.op is None:
        return op
    last = place_of(node.functions[-1]) if node.functions else ""
    match prediction_of(op, symbolic=symbolic).origin:
        case Origin.DECOMPOSITION:
            return decomposition_table[op] if last.startswith(_RUNNABLE) else None
        case Origin.PYTHON_COMPOSITE | Origin.CPP_COMPOSITE:
            return op
        case Origin.PYTHON_META:
            return op.py_kernels[torch._C.DispatchKey.Meta] if last.startswith(_RUNNABLE) else None
        case _:
            return None


@dataclass(frozen=True)
class _Inner:
    """A call inside of another one."""

    op: torch._ops.OpOverload
    arguments: Callable[[], Arguments]


class _Comparison:
    """What is predicted of a call, before it is made.

    Args:
        op: the overload.
        arguments: its arguments.
        predictor: makes the prediction.
    """

    def __init__(self, op: torch._ops.OpOverload, arguments: Arguments, predictor: Predictor) -> None:
        self._op = op
        self._predicted: Predicted | BaseException
        try:
            self._predicted = predictor.predict(op, arguments)
        except BaseException as error:  # the class of whatever it raises is compared
            self._predicted = error.with_traceback(None)

    def with_actual(self, actual: Outcome) -> set[KindClass]:
        """What is wrong with the prediction of a call that returned."""
        if isinstance(self._predicted, BaseException):
            return {broad_class(prediction_ending("fake", self._predicted))}
        mismatches = compare(self._op, self._predicted.outcome, actual, numbers=self._predicted.numbers)
        return {broad_class(mismatch.kind) for mismatch in mismatches}

    def of_refusal(self) -> set[KindClass]:
        """What is wrong with the prediction of a call that raised."""
        return set() if isinstance(self._predicted, BaseException) else {KindClass.LOST_VALIDATION}


class _Found(BaseException):
    """The first wrong operator has been found; no ``Exception``, which torch might handle."""


class _Comparing(TorchDispatchMode):
    """Compares every operator with its prediction, up to the first that is wrong in a given way.

    Args:
        outer: the operator inside which they are, which does not count.
        predictor: makes the predictions.
        kind: what has to be wrong with one, as a broad class.

    Attributes:
        found: the first wrong one.
    """

    def __init__(self, outer: torch._ops.OpOverload, predictor: Predictor, kind: KindClass) -> None:
        super().__init__()
        self._outer, self._predictor, self._kind = outer, predictor, kind
        self.found: _Inner | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is self._outer or not isinstance(func, torch._ops.OpOverload) or not _has_tensor(args, kwargs):
            return func(*args, **kwargs)
        arguments = _kept(func, args, kwargs)
        comparison = _Comparison(func, (list(args), kwargs), self._predictor)
        try:
            result = func(*args, **kwargs)
        except Exception:
            self._note(func, arguments, comparison.of_refusal())
            raise
        self._note(func, arguments, comparison.with_actual(Outcome(list(args), kwargs, result)))
        return result

    def _note(self, func: torch._ops.OpOverload, arguments: Callable[[], Arguments] | None, kinds: set[KindClass]) -> None:
        if self._kind in kinds and arguments is not None:
            self.found = _Inner(func, arguments)
            raise _Found


def _has_tensor(args: Any, kwargs: Any) -> bool:
    return any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves((args, kwargs)))


def _kept(op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Callable[[], Arguments] | None:
    """Returns what returns the arguments as they are now, new ones each time if the operator writes to some.

    ``None`` if they cannot be kept.
    """
    if not op._schema.is_mutable:
        return lambda: (list(args), kwargs)
    device = next(str(leaf.device) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor))
    try:
        call = encode(qualified_name(op._name), args, kwargs, device=device, source="inside")
    except Unrecordable:
        return None
    return lambda: build(call, device)
