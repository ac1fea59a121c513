"""Crossref ``symbolic``: fake tensors with symbolic sizes, compared with the real call.

``torch.compile`` calls operators on such tensors whenever a size is dynamic (``dynamic=True``, or a size that has changed). Every
size of every argument is a backed symbol here, and the Python dispatcher is enabled, as in dynamo. What fake tensors with static
sizes say about the same call is the business of the crossref ``fake`` and not repeated: see :meth:`CrossRef.check`.

One call with symbolic sizes takes milliseconds, so not all are made. A call is made if it is the first of its overload to have
some aspect (see ``common.structure``). Every other one of the same structure as a call that was made has the same verdict; the
remaining ones are not compared and do not count as compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import torch

from sweep.calls.redzones import protected
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome, compare, describe
from sweep.crossref.common.exemptions import VERSION
from sweep.crossref.common.protocol import Arguments, DoesNotApply, PreparedCall, Shared
from sweep.crossref.common.refusals import prediction_ending
from sweep.crossref.common.structure import structure_of
from sweep.crossref.common.symbolic_shapes import Sizes, SymbolicArguments, why_not_symbolic
from sweep.crossref.decomposition import decompositions_of
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import WHOLE, Mismatch


class CrossRef(protocol.CrossRef):
    """Symbolic against real.

    Attributes:
        sizes: what is known about the sizes.
    """

    labels = ("symbolic", "real")
    sizes: ClassVar[Sizes] = Sizes.BACKED
    exemptions: ClassVar[Mapping[str, str]] = {
        **VERSION,
        "aten.lift_fresh.default": "lifting is what makes a fake tensor of a real one",
    }

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        self._seen: set[Hashable] = set()
        self._verdicts: dict[Hashable, list[Mismatch]] = {}
        with super().opened(op, shared):
            yield

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        symbolic = SymbolicArguments(self._applicable(call), self.sizes)
        with self.shared.prediction(self.labels[0]):
            return symbolic.outcome(call.op)

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        """Lists the mismatches between the symbolic and the real outcome that the static and the real one do not have.

        Raises:
            DoesNotApply: the arguments have no symbolic sizes, fake tensors with static sizes raise, or the call is neither made
                nor like one that was.
            ProcessUnusableError: no other call may be made in this process.
        """
        arguments = self._applicable(call)
        structure = structure_of(*arguments)
        if structure is None:
            return self._without_static(call, arguments, self._mismatches(call, arguments, form))
        verdict = self._verdicts.get(structure.identity)
        if verdict is None and structure.aspects <= self._seen:
            raise DoesNotApply("calls like it in all aspects were compared")
        if verdict is None or any(mismatch.place != WHOLE for mismatch in verdict):  # the texts of a mismatch are of one call
            verdict = self._mismatches(call, arguments, form)
            self._verdicts[structure.identity] = verdict
            self._seen |= structure.aspects
        else:
            verdict = [replace(mismatch, actual=describe(call.actual.result)) for mismatch in verdict]
        return self._without_static(call, arguments, verdict)

    def check_anew(self, call: PreparedCall, form: str) -> list[Mismatch]:
        arguments = self._applicable(call)
        return self._without_static(call, arguments, self._mismatches(call, arguments, form))

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
        """Mismatches without those that fake tensors with static sizes have as well."""
        if not found:
            return []
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
