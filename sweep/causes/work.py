"""Entry point of a child process: the causes of the findings of one overload. Plain data in and out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sweep.calls.call import Call, Recorded
from sweep.calls.parsing import call_in
from sweep.causes import naming
from sweep.causes.answer import Answer, Attributed, Function, Question
from sweep.causes.attribution import Attribution, StaticPredictor, SymbolicPredictor
from sweep.causes.cached import of_cache
from sweep.causes.decomposed import of_decomposition
from sweep.causes.functionalized import of_functionalized
from sweep.causes.tracer import Node, trace
from sweep.crossref.common import protocol
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.protocol import Arguments, DoesNotApply, PreparedCall, Shared
from sweep.crossref.common.symbolic_shapes import Sizes
from sweep.crossref.decomposition import INDUCTOR
from sweep.crossref.validation import EAGER, FAKE
from sweep.errors import NotACallError
from sweep.execution import settings
from sweep.execution.accelerator import prediction, waiter
from sweep.execution.process_state import StateGuard
from sweep.execution.real_call import RealCallEndedError, arguments_of, own_randomness, prepare
from sweep.findings.finding import CALL, Mismatch, phrase
from sweep.findings.kind import Difference
from sweep.findings.kind_class import KindClass, broad_class
from sweep.operators.inventory import qualified_name, resolve
from sweep.operators.required_state import no_gradients, required_state
from sweep.operators.schema import is_random
from sweep.progress import NO_PROGRESS, Activity, Phase, Progress

#: Crossrefs that judge the real call: the kernel answers for it, and no prediction has to be traced.
_EQUIVALENCE, _SCHEMA = "equivalence", "schema"
_OF_KERNELS = (CALL, "bounds", _EQUIVALENCE, _SCHEMA)

#: The crossrefs whose findings show with symbolic sizes only.
_SYMBOLIC = ("symbolic", "unbacked")

#: Form of the crossref ``validation`` -> the decomposition that it asks.
_FORMS = {"decomposition": "", INDUCTOR: INDUCTOR}

_NOT_SHOWN = "its example does not show it"


def answer(
    name: str,
    questions: Sequence[Question],
    device: str,
    memory: int = 0,
    start: int = 0,
    shallow: int = -1,
    running: str = "",
    alike: Mapping[str, Collection[str]] | None = None,
    progress: Progress = NO_PROGRESS,
) -> list[Answer]:
    """The causes of findings of one overload; each is a checkpoint, too.

    Args:
        name: qualified name of the overload.
        questions: the findings.
        device: where they were found.
        memory: bytes of an accelerator's memory that this process may use; 0 is no limit.
        start: position of the first finding to be answered.
        shallow: position of a finding that is not to be looked into as deeply, since that ended a process; -1 if there is none.
        running: the operator that was running when it did.
        alike: crossref, or ``call`` -> the overloads with findings of it.
        progress: takes heartbeats, the operators inside a real call, and the answers.
    """
    settings.apply(device, memory)
    logging.disable(logging.CRITICAL)  # torch logs what a meta function raises
    warnings.simplefilter("ignore")
    guard, answers = StateGuard(), []
    for at in range(start, len(questions)):
        question = questions[at]
        with required_state(name, device), own_randomness(device):
            asked = _Asked(name, question, device, at, (alike or {}).get(question.crossref, ()), progress)
            found = asked.answer(deep=at != shallow, running=running if at == shallow else "")
        guard.restore()
        answers.append(found)
        progress.checkpoint((at, found))
    return answers


class _Asked:
    """One finding whose cause is asked for.

    Args:
        name: qualified name of its overload.
        question: the finding.
        device: where it was found.
        at: its position, for heartbeats.
        alike: the overloads with findings of the same crossref.
        progress: takes heartbeats.
    """

    def __init__(self, name: str, question: Question, device: str, at: int, alike: Collection[str], progress: Progress) -> None:
        self._name, self._question, self._device, self._at = name, question, device, at
        self._alike, self._progress = alike, progress
        self._op, self._wait = resolve(name), waiter(device)
        self._predicting = partial(prediction, wait=self._wait)

    def answer(self, *, deep: bool, running: str) -> Answer:
        """The cause, by replaying the example.

        Args:
            deep: replay what ends the process, and what happens inside of a call.
            running: the operator that was running when a process ended that did.
        """
        question = self._question
        if question.ends_process and not (deep and question.crossref == CALL):
            return self._of_ended(running)
        self._progress.beat(self._at, Phase(Activity.REAL))
        try:
            call = call_in(self._name, question.example, self._device)
        except NotACallError as error:
            return self._unknown(str(error))
        arguments = arguments_of(self._op, call, self._device, self._wait)
        if question.crossref in _OF_KERNELS:
            return self._known(self._of_kernel(arguments))
        prepared = self._prepared(call, arguments)
        mismatch = self._mismatch(prepared)
        if mismatch is None:
            return self._unknown(_NOT_SHOWN)
        attributed = self._attributed(prepared, mismatch, deep=deep)
        if attributed is None:
            return self._unknown(f"nothing traces the crossref {question.crossref}")
        return self._known(attributed)

    def _of_ended(self, running: str) -> Answer:
        """The cause of a finding that ends the process: the kernel that was running, or what predicts the call."""
        if self._question.crossref in _OF_KERNELS:
            operator = running or self._name
            attributed = Attributed(naming.kernel_of(resolve(operator)), operator if operator != self._name else "")
        else:
            symbolic = self._question.crossref in _SYMBOLIC
            attributed = Attributed(naming.of_node(self._op, Node(self._op), symbolic=symbolic))
        return self._known(attributed)

    def _known(self, attributed: Attributed) -> Answer:
        return Answer(self._question.title, attributed.function, attributed.inside)

    def _unknown(self, reason: str) -> Answer:
        return Answer(self._question.title, None, unknown=reason)

    def _shared(self) -> Shared:
        return Shared(FakeModes(self._op, self._predicting), self._predicting, self._device)

    def _prepared(self, call: Call, arguments: Callable[[], Arguments]) -> PreparedCall:
        """Makes the real call, with the random state that it has in the check loop."""
        seed = call.seed() if is_random(self._op) else None
        try:
            return prepare(self._op, arguments, self._wait, seed, changes=True)
        except RealCallEndedError as error:
            return PreparedCall(self._op, arguments, None, refusal=error.error, seed=seed)

    def _mismatch(self, prepared: PreparedCall) -> Mismatch | None:
        """The mismatch that the finding is about, if the call shows it."""
        crossref, form = protocol.load(self._question.crossref), self._question.form
        self._progress.beat(self._at, Phase(Activity.PREDICTION, self._question.crossref, form))
        if prepared.returned is None and Recorded.REFUSED not in crossref.looks_at:
            return None
        with crossref.opened(self._op, self._shared()):
            try:
                mismatches = crossref.check(prepared, form)
            except DoesNotApply:
                return None
        return next((m for m in mismatches if phrase(m.place, m.kind, m.index) == self._question.what), None)

    def _attributed(self, prepared: PreparedCall, mismatch: Mismatch, *, deep: bool) -> Attributed | None:
        """Who answers for a mismatch with a prediction; ``None`` if nothing traces what its crossref predicts."""
        kind, form = broad_class(mismatch.kind), self._question.form
        match self._question.crossref:
            case "fake" if form:
                return Attributed(of_cache(self._op, prepared.arguments, mismatch))
            case "fake":
                return Attribution(StaticPredictor(), kind, deep=deep).of(self._op, prepared.arguments)
            case "functionalize":
                return of_functionalized(prepared, self._shared(), mismatch, deep=deep)
            case "symbolic":
                return Attribution(SymbolicPredictor(Sizes.BACKED), kind, deep=deep).of(self._op, prepared.arguments)
            case "unbacked":
                return Attribution(SymbolicPredictor(Sizes.UNBACKED), kind, deep=deep).of(self._op, prepared.arguments)
            case "validation" if form == FAKE:
                return Attribution(StaticPredictor(), kind, deep=deep).of(self._op, prepared.arguments)
            case "validation" if form == EAGER:
                assert prepared.refusal is not None
                return Attributed(naming.of_real_error(self._op, prepared.refusal))
            case "decomposition" | "validation":
                return Attributed(self._of_decomposition(prepared, kind))
            case _:
                return None

    def _of_decomposition(self, prepared: PreparedCall, kind: KindClass) -> Function:
        """The decomposition, or what raises in it; the kernel if its values are not those of another form of the same call."""
        if kind is KindClass.VALUE and self._differs_in_another_form(prepared):
            return naming.kernel_of(self._op, keys=naming.keys_of(prepared.arguments()))
        form = self._question.form if self._question.crossref == "decomposition" else _FORMS[self._question.form]
        return of_decomposition(self._op, form, prepared.arguments, kind)

    def _differs_in_another_form(self, prepared: PreparedCall) -> bool:
        crossref = protocol.load(_EQUIVALENCE)
        with crossref.opened(self._op, self._shared()):
            for form in crossref.forms(self._op):
                with suppress(DoesNotApply):
                    if any(mismatch.kind is Difference.VALUE for mismatch in crossref.check(prepared, form)):
                        return True
        return False

    def _of_kernel(self, arguments: Callable[[], Arguments]) -> Attributed:
        """The kernel that a real call runs: that of the first operator inside a composite one with the same kind of finding."""
        if self._question.crossref == CALL:
            # It may end the process; which operator was running has been reported by then.
            self._make(arguments, _Watching(self._report_operator, partial(self._report, self._name)))
        inside = next((op for op in self._inside(arguments) if qualified_name(op._name) in self._alike), None)
        # Of a call of an operator inside the arguments are not known.
        kernel = naming.kernel_of(inside or self._op, keys=() if inside else naming.keys_of(arguments()))
        attributed = Attributed(kernel, qualified_name(inside._name) if inside else "")
        return naming.of_schema(self._op, attributed, alike=self._alike) if self._question.crossref == _SCHEMA else attributed

    def _inside(self, arguments: Callable[[], Arguments]) -> list[torch._ops.OpOverload]:
        """The operators inside of the call, in order; for the crossref ``schema`` also where fake tensors refuse it."""
        predicted = trace(lambda: StaticPredictor().predict(self._op, arguments()).outcome)
        inside = [node.op for node in predicted.root.children]
        if predicted.error is not None and self._question.crossref == _SCHEMA:
            inside = []
            self._make(arguments, _Watching(inside.append))
        return [op for op in inside if op is not self._op and isinstance(op, torch._ops.OpOverload)]

    def _make(self, arguments: Callable[[], Arguments], mode: TorchDispatchMode) -> None:
        """Makes the real call in a mode, whatever it raises: that is not what is asked for."""
        with no_gradients(self._name), suppress(Exception), mode:
            args, kwargs = arguments()
            self._op(*args, **kwargs)

    def _report_operator(self, operator: Any) -> None:
        if isinstance(operator, torch._ops.OpOverload):
            self._report(qualified_name(operator._name))

    def _report(self, name: str) -> None:
        self._progress.checkpoint((self._at, name))


class _Watching(TorchDispatchMode):
    """Calls a function with every operator before it runs, and another one afterwards."""

    def __init__(self, before: Callable[[Any], None], after: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._before, self._after = before, after

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._before(func)
        result = func(*args, **(kwargs or {}))
        self._after()
        return result
