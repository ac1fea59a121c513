"""Crossref ``validation``: calls that eager refuses, and a predicted path accepts.

The calls are OpInfo's error inputs, and some of those that derivations saw refused. A path that raises anything refuses too: its
class and message are not compared. What eager refuses for the values in its tensors, nothing could have predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch

from sweep.calls.call import Recorded
from sweep.calls.redzones import protected
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome, describe
from sweep.crossref.common.exemptions import VERSION
from sweep.crossref.common.other_values import is_accepted_with_others
from sweep.crossref.common.protocol import CHANGES_STATE, DoesNotApply, NoPrediction, PreparedCall, Shared
from sweep.crossref.common.refusals import prediction_ending
from sweep.crossref.decomposition import decompositions_of
from sweep.errors import ProcessUnusableError
from sweep.findings.ending import EndingKind, ending_of
from sweep.findings.finding import WHOLE, Mismatch, Population
from sweep.findings.kind import LostValidation

#: The form that judges eager's refusal by itself.
EAGER = "eager"

#: The form of fake tensors; every other form is a decomposition.
FAKE = "fake"

#: The form of the decomposition of torch's global table, whose name in ``decompositions_of`` is empty.
_DECOMPOSITION = "decomposition"


class CrossRef(protocol.CrossRef):
    """What eager refuses against a predicted path."""

    labels = ("predicted", "real")
    looks_at = frozenset({Recorded.REFUSED})
    population = Population.REFUSED
    exemptions: ClassVar[Mapping[str, str]] = {
        **VERSION,
        **dict.fromkeys(
            ("aten._segment_reduce_backward.default", "aten._segment_reduce_backward.out"),
            "writes far outside of its tensors for lengths and offsets that do not go together, so other values cannot be tried",
        ),
        **dict.fromkeys(
            (
                "_quantized.wrapped_fbgemm_linear_fp16_weight.default",
                "quantized.embedding_bag_byte_unpack.default",
                "quantized.linear_dynamic_fp16_unpacked_weight.default",
            ),
            "takes any bytes for a size or an address, so other values cannot be tried",
        ),
    }

    def forms(self, op: torch._ops.OpOverload) -> Sequence[str]:
        return (EAGER, FAKE, *(form or _DECOMPOSITION for form in decompositions_of(op)))

    def labels_of(self, form: str) -> tuple[str, str]:
        return form, "real"

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        self._asked: tuple[PreparedCall | None, bool] = (None, False)
        with super().opened(op, shared):
            yield

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        if form == EAGER:
            raise NoPrediction("judges the real call itself")
        if form == FAKE:
            return self.shared.fakes.outcome(call.op, *call.arguments())
        function = decompositions_of(call.op)["" if form == _DECOMPOSITION else form]
        with self.shared.prediction(form), protected(call.arguments()) as (args, kwargs):
            result = function(*args, **kwargs)
        if result is NotImplemented:
            raise DoesNotApply("the decomposition returns NotImplemented for every call")
        return Outcome(args, kwargs, result)

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        if call.refusal is None:
            raise DoesNotApply("no recorded call is refused")
        if call.changes_state:
            raise DoesNotApply(CHANGES_STATE)
        refusal = ending_of("real", call.refusal)
        error_class = type(call.refusal).__name__
        if form == EAGER:
            is_bug = refusal.kind is EndingKind.INTERNAL_ASSERT
            return [Mismatch(WHOLE, refusal, None, "", error_class)] if is_bug else []
        try:
            predicted = self.predict(call, form)
        except (ProcessUnusableError, DoesNotApply):
            raise
        except BaseException as error:
            ending = prediction_ending(form, error)
            is_bug = ending.kind is EndingKind.INTERNAL_ASSERT and ending.kind is not refusal.kind
            return [Mismatch(WHOLE, ending, None, type(error).__name__, error_class)] if is_bug else []
        if refusal.kind is not EndingKind.RAISED or self._is_about_values(call):
            return []
        return [Mismatch(WHOLE, LostValidation(error_class), None, describe(predicted.result), error_class)]

    def _is_about_values(self, call: PreparedCall) -> bool:
        """Whether eager accepts the same metadata with other values; asked once per call."""
        asked, answer = self._asked
        if asked is not call:
            with self.shared.prediction("real"):
                answer = is_accepted_with_others(call)
            self._asked = (call, answer)
        return answer
