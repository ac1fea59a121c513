"""Makes the predictions of a call, for the sake of the code that answers for them: fake tensors and decompositions.

What they return is compared in ``crossref``, not here. Runs in a child.
"""

from __future__ import annotations

from contextlib import suppress

import torch

from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.symbolic_shapes import Sizes, SymbolicArguments, why_not_symbolic
from sweep.crossref.decomposition import decompositions_of


class Predictions:
    """The predictions of the calls of one overload. Whatever one raises is an answer, too.

    Args:
        op: the overload.
    """

    def __init__(self, op: torch._ops.OpOverload) -> None:
        self._op = op
        self._fakes = FakeModes(op)

    def make(self, call: Call) -> None:
        """Predicts a call with fake tensors of static sizes, and with every decomposition on tensors of its own."""
        self._fakes.next_call()
        args, kwargs = build(call, "cpu")
        self._fakes.outcome_or_error(self._op, args, kwargs)
        for decomposition in decompositions_of(self._op).values():
            torch.manual_seed(call.seed())
            args, kwargs = build(call, "cpu")
            with suppress(BaseException), torch.no_grad():
                decomposition(*args, **kwargs)

    def make_symbolic(self, call: Call) -> None:
        """Predicts a call with fake tensors of symbolic sizes, backed and unbacked, if it has any."""
        arguments = build(call, "cpu")
        if why_not_symbolic(*arguments) is not None:
            return
        for sizes in Sizes:
            with suppress(BaseException):
                SymbolicArguments(arguments, sizes).outcome(self._op)
