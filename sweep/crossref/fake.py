"""Crossref ``fake``: the outputs that FakeTensor propagation predicts, compared with those of the real call.

The counterpart upstream is ``torch._subclasses.CrossRefFakeMode``; here every mismatch is collected, and outputs whose size
depends on data are compared as far as they are known instead of being skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.exemptions import VERSION
from sweep.crossref.common.protocol import PreparedCall


class CrossRef(protocol.CrossRef):
    """Fake against real."""

    labels = ("fake", "real")
    exemptions: ClassVar[Mapping[str, str]] = {
        **VERSION,
        # The exception that the seed and CrossRefFakeMode make as well: a constant being lifted is a real tensor on purpose, and
        # under a fake mode lifting turns it into a fake one, so the two outcomes cannot be of the same kind.
        "aten.lift_fresh.default": "lifting is what makes a fake tensor of a real one",
    }

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        return self.shared.fakes.outcome(call.op, *call.arguments())
