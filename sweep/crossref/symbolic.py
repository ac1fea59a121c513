"""Crossref ``symbolic``: fake tensors with symbolic sizes, compared with the real call.

``torch.compile`` calls operators on such tensors whenever a size is dynamic (``dynamic=True``, or a size that has changed). Every
size of every argument is a backed symbol here, and the Python dispatcher is enabled, as in dynamo. What fake tensors with static
sizes say about the same call is the business of the crossref ``fake`` and not repeated: see :meth:`CrossRef.check`.

One call with symbolic sizes takes milliseconds, so not all are made: see ``common.selection``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from sweep.calls.call import Call
from sweep.calls.redzones import protected
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome, compare
from sweep.crossref.common.exemptions import VERSION
from sweep.crossref.common.protocol import Arguments, DoesNotApply, PreparedCall
from sweep.crossref.common.refusals import prediction_ending
from sweep.crossref.common.selection import selected
from sweep.crossref.common.symbolic_shapes import Sizes, SymbolicArguments, why_not_symbolic
from sweep.crossref.decomposition import decompositions_of
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import WHOLE, Mismatch, Population


class CrossRef(protocol.CrossRef):
    """Symbolic against real.

    Attributes:
        sizes: what is known about the sizes.
    """

    labels = ("symbolic", "real")
    sizes: ClassVar[Sizes] = Sizes.BACKED
    population = Population.COMPARED
    exemptions: ClassVar[Mapping[str, str]] = {
        **VERSION,
        "aten.lift_fresh.default": "lifting is what makes a fake tensor of a real one",
    }

    def selected(self, calls: Sequence[Call]) -> Collection[int]:
        return selected(calls)

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        symbolic = SymbolicArguments(self._applicable(call), self.sizes)
        with self.shared.prediction(self.labels[0]):
            return symbolic.outcome(call.op)

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        """Lists the mismatches between the symbolic and the real outcome that the static and the real one do not have.

        Raises:
            DoesNotApply: the arguments have no symbolic sizes, or fake tensors with static sizes raise.
            ProcessUnusableError: no other call may be made in this process.
        """
        arguments = self._applicable(call)
        found = self._mismatches(call, arguments, form)
        return self._without_static(call, arguments, found) if found else []

    def _applicable(self, call: PreparedCall) -> Arguments:
        """New arguments of a call, if they have symbolic sizes."""
        arguments = call.arguments()
        reason = why_not_symbolic(*arguments)
        if reason is not None:
            raise DoesNotApply(reason)
        return arguments

    def _mismatches(self, call: PreparedCall, arguments: Arguments, form: str) -> list[Mismatch]:
        """The mismatches of a call that is made with symbolic sizes."""
        symbolic = SymbolicArguments(arguments, self.sizes)
        try:
            with self.shared.prediction(self.labels[0]):
                predicted = symbolic.outcome(call.op)
        except ProcessUnusableError:
            raise
        except BaseException as error:  # its class is the finding
            return [self.raised(call, form, error)]
        return compare(call.op, predicted, call.actual, numbers=symbolic.number)

    def _without_static(self, call: PreparedCall, arguments: Arguments, found: list[Mismatch]) -> list[Mismatch]:
        """Mismatches without those that fake tensors with static sizes have as well.

        Raises:
            DoesNotApply: fake tensors with static sizes raise.
        """
        static = self.shared.fakes.outcome_or_error(call.op, *arguments)
        if isinstance(static, BaseException):
            raise DoesNotApply("fake tensors with static sizes raise")
        others = compare(call.op, static, call.actual) + self._of_decomposition(call)
        reported = {(m.place, m.kind, m.index) for m in others}
        return [m for m in found if (m.place, m.kind, m.index) not in reported]

    def _of_decomposition(self, call: PreparedCall) -> list[Mismatch]:
        """The mismatches of the decomposition that a fake mode takes for symbolic sizes, on the real arguments.

        They are the business of the crossref ``decomposition``.
        """
        decompose = decompositions_of(call.op).get("")
        if decompose is None:
            return []
        try:
            with self.shared.prediction("decomposition"), protected(call.arguments()) as (args, kwargs):
                outcome = Outcome(args, kwargs, decompose(*args, **kwargs))
        except ProcessUnusableError:
            raise
        except Exception as error:  # its class, which the symbolic side may raise as well
            return [Mismatch(WHOLE, prediction_ending(self.labels[0], error))]
        return [] if outcome.result is NotImplemented else compare(call.op, outcome, call.actual)
