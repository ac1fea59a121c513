"""What came of evaluating a user's text, as plain data. Imported by parent and child; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.findings.ending import Ending


@dataclass(frozen=True)
class DispatchedCall:
    """A call that the text dispatched, which is the only one of its corpus.

    Attributes:
        overload: qualified name.
        folder: folder of the corpus.
        text: the call as Python, with the values that it had; empty if they are too many to print.
    """

    overload: str
    folder: str
    text: str


@dataclass(frozen=True)
class UncheckedCall:
    """A call that the text dispatched and that cannot be made again.

    Attributes:
        operator: qualified name.
        reason: why it cannot.
    """

    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator}: {self.reason}"


@dataclass(frozen=True)
class RaisedByText:
    """An exception that ended the text.

    Attributes:
        class_name: its class.
        message: its whole message.
        line: the line of the text, from 1; 0 if no line of it was running.
    """

    class_name: str
    message: str
    line: int

    def __str__(self) -> str:
        return f"{self.class_name}: {self.message.partition(chr(10))[0]}"


@dataclass(frozen=True)
class Evaluation:
    """What came of evaluating a text.

    Attributes:
        calls: the distinct calls, in the order in which they began.
        unchecked: those that cannot be made again, each once.
        repeated: how many calls differ from those only in values, and were left out since there are several such already.
        raised: the exception that ended the text, if one did.
        ending: how the text ended its process, if it did.
        is_single_call: whether the text is a call of one overload, whose arguments alone were evaluated.
    """

    calls: Sequence[DispatchedCall]
    unchecked: Sequence[UncheckedCall] = ()
    repeated: int = 0
    raised: RaisedByText | None = None
    ending: Ending | None = None
    is_single_call: bool = False

    @classmethod
    def interrupted(cls, saved: Sequence[DispatchedCall | UncheckedCall], ending: Ending) -> Evaluation:
        """The evaluation of a text that ended its process, from what the process had saved."""
        calls = [entry for entry in saved if isinstance(entry, DispatchedCall)]
        return cls(calls, [entry for entry in saved if isinstance(entry, UncheckedCall)], ending=ending)
