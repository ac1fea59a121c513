"""Crossref ``fake``: the outputs that FakeTensor propagation predicts, compared with those of the real call.

The counterpart upstream is ``torch._subclasses.CrossRefFakeMode``; here every mismatch is collected, and outputs whose size
depends on data are compared as far as they are known instead of being skipped. The form ``cache`` compares what a fake mode says
with its dispatch cache, which the other form bypasses, and without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.exemptions import VERSION
from sweep.crossref.common.fake_cache import CACHED, UNCACHED, FakeCache, Uncached
from sweep.crossref.common.protocol import PreparedCall, Shared
from sweep.findings.finding import Mismatch

#: The form with the dispatch cache.
CACHE = "cache"


class CrossRef(protocol.CrossRef):
    """Fake against real, and fake with the cache against fake without."""

    labels = ("fake", "real")
    exemptions: ClassVar[Mapping[str, str]] = {
        **VERSION,
        # The exception that the seed and CrossRefFakeMode make as well: a constant being lifted is a real tensor on purpose, and
        # under a fake mode lifting turns it into a fake one, so the two outcomes cannot be of the same kind.
        "aten.lift_fresh.default": "lifting is what makes a fake tensor of a real one",
    }

    def forms(self, op: torch._ops.OpOverload) -> Sequence[str]:
        return ("", CACHE)

    def basis_of(self, form: str) -> str:
        return ""

    def labels_of(self, form: str) -> tuple[str, str]:
        return (CACHED, UNCACHED) if form == CACHE else self.labels

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, shared: Shared) -> Iterator[None]:
        self._cache = FakeCache(op, shared.prediction)
        self._last: tuple[PreparedCall, Uncached] | None = None
        with super().opened(op, shared):
            yield
        self._last = None

    def predict(self, call: PreparedCall, form: str) -> Outcome:
        if form == CACHE:
            return self._cache.hit(*call.arguments())
        outcome = self._uncached(call).outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def check(self, call: PreparedCall, form: str) -> list[Mismatch]:
        if form != CACHE:
            return super().check(call, form)
        last, self._last = self._last, None  # memory that is kept while the next call is made is not used again by it
        if last is not None and last[0] is call:
            return self._cache.mismatches_of_structure(last[1])
        return self._cache.mismatches(self._uncached(call))  # of an example, which has to show the mismatch itself

    def _uncached(self, call: PreparedCall) -> Uncached:
        args, kwargs = call.arguments()
        hits = FakeTensorMode.cache_hits
        outcome = self.shared.fakes.outcome_or_error(call.op, args, kwargs)
        uncached = Uncached(args, kwargs, outcome, is_pure=FakeTensorMode.cache_hits == hits)
        self._last = call, uncached
        return uncached
