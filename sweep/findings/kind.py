"""What a finding is about: a difference of two outcomes, an ending, or changed process state."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sweep.findings.ending import Ending


class Difference(enum.Enum):
    """The ways in which a predicted outcome can differ from the actual one."""

    OUTPUTS = "outputs"
    CONTAINER = "container"
    TYPE = "type"
    RANK = "rank"
    SIZE = "size"
    DTYPE = "dtype"
    DEVICE = "device"
    LAYOUT = "layout"
    STRIDES = "strides"
    OFFSET = "offset"
    CONJ = "conj"
    NEG = "neg"
    ALIASING = "aliasing"
    VALUE = "value"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class StateChange:
    """Process-wide state that a call left changed.

    Attributes:
        names: the names of the switches (see ``execution.process_state``).
    """

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"changes {', '.join(self.names)}"


Kind = Difference | Ending | StateChange
