"""Crossref ``unbacked``: fake tensors with sizes of which nothing is known, compared with the real call."""

from __future__ import annotations

from sweep.crossref import symbolic
from sweep.crossref.common.symbolic_shapes import Sizes


class CrossRef(symbolic.CrossRef):
    """Unbacked against real."""

    labels = ("unbacked", "real")
    sizes = Sizes.UNBACKED
