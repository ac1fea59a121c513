"""One call for people: its text, the real call's outcome or error, and the prediction of each crossref. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class ShownCall:
    """One recorded call as text.

    Attributes:
        text: the call as Python.
        exact: whether it has the recorded values.
        source: where the call comes from.
    """

    text: str
    exact: bool
    source: str


@dataclass(frozen=True)
class Side:
    """One side of a call as text.

    Attributes:
        label: who says it: ``real``, ``fake``, ``functionalized``.
        text: the metadata of the result, the class and full message of what was raised, or why there is none.
        raised: whether the side raised.
    """

    label: str
    text: str
    raised: bool = False

    def __str__(self) -> str:
        return f"{self.label} {'raises ' if self.raised else ''}{self.text}"


@dataclass(frozen=True)
class Explanation:
    """What happened to one call.

    Attributes:
        source: the call's source, which for a typed call is the text that was typed.
        actual: the real call.
        predictions: crossref -> its prediction.
    """

    source: str
    actual: Side
    predictions: dict[str, Side]

    def lines(self, raised_by: Collection[str] | None = None) -> list[str]:
        """One line per side; the lines of a long message are indented.

        Args:
            raised_by: leave out every side but these crossrefs' where they raised; ``None`` leaves out nothing.
        """
        sides = [] if raised_by is not None else [str(self.actual)]
        for name, side in self.predictions.items():
            if raised_by is None or (side.raised and name in raised_by):
                sides.append(f"{name}: {side}")
        return [line if not at else f"    {line}" for side in sides for at, line in enumerate(side.splitlines())]
