"""Refusals by design: exceptions by which a predicted path says that it does not support a call."""

from __future__ import annotations

from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedMutationAliasingException,
    UnsupportedOperatorException,
)

from sweep.findings.ending import Ending, EndingKind, ending_of

#: Each says in its name that fake tensors do not support an argument type, an operator, or an output that depends on data.
_REFUSALS = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedMutationAliasingException,
    UnsupportedOperatorException,
)


def prediction_ending(side: str, error: BaseException) -> Ending:
    """The ending of a prediction that raised: a refusal by design is ``unsupported``.

    Args:
        side: which side raised, as expect files name it.
        error: what it raised.
    """
    if isinstance(error, _REFUSALS):
        return Ending(EndingKind.UNSUPPORTED, type(error).__name__, side)
    return ending_of(side, error)
