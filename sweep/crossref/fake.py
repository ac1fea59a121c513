"""Crossref ``fake``: what FakeTensor propagation says about a call's outputs, against what the call really returns.

The counterpart upstream is ``torch._subclasses.CrossRefFakeMode``; here every mismatch is collected, and outputs whose size
depends on data are compared as far as they are known instead of being skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from sweep.crossref.common.comparison import Mismatch, Outcome, compare, describe
from sweep.crossref import ending
from sweep.crossref.common.fake_modes import Fakes


class CrossRef:
    """Fake against real. See :class:`sweep.crossref.CrossRef`."""

    expected = "fake"
    real = "real"

    def __init__(self) -> None:
        self._fakes: Fakes | None = None

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, fakes: Fakes) -> Iterator[None]:
        self._fakes = fakes
        try:
            yield
        finally:
            self._fakes = None

    def check(self, op: torch._ops.OpOverload, make: Callable[[], tuple[list[Any], dict[str, Any]]]) -> list[Mismatch]:
        assert self._fakes is not None, "check is called inside opened()"
        args, kwargs = make()
        fake = self._fakes.run(op, args, kwargs)
        result = self._fakes.real(op, args, kwargs)
        if isinstance(fake, BaseException):
            return [Mismatch("", ending("fake", fake), None, type(fake).__name__, describe(result))]
        return compare(op, fake, Outcome(args, kwargs, result))
