"""What a finding is about: a difference of two outcomes, an ending, changed state, or a rule that the real call breaks."""

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


class SchemaFault(enum.Enum):
    """The ways in which what calls do can differ from what the schema declares."""

    UNDECLARED_WRITE = "undeclared write"
    NEVER_WRITTEN = "declared write, never written"
    UNDECLARED_ALIAS = "undeclared alias"
    NEVER_SHARED = "declared alias, never shared"

    def __str__(self) -> str:
        return self.value


class Access(enum.Enum):
    """What a kernel does with memory; the value is the verb."""

    READ = "reads"
    WRITE = "writes"


class Edge(enum.Enum):
    """The side of a tensor's memory on which other memory lies; the value is the preposition."""

    BEFORE = "before"
    PAST = "past"


@dataclass(frozen=True)
class OutOfBoundsAccess:
    """An access to memory outside of a tensor's storage.

    Attributes:
        access: what the kernel does there.
        edge: on which side of the storage; ``None`` if the two sides only show it together.

    >>> str(OutOfBoundsAccess(Access.WRITE, Edge.PAST))
    'writes past'
    """

    access: Access
    edge: Edge | None

    def __str__(self) -> str:
        return f"{self.access.value} {self.edge.value if self.edge else 'outside of'}"


@dataclass(frozen=True)
class LostValidation:
    """A predicted path accepts what the real call refuses.

    Attributes:
        error: the class of what the real call raises.

    >>> str(LostValidation("ValueError"))
    'accepts what raises ValueError'
    """

    error: str

    def __str__(self) -> str:
        return f"accepts what raises {self.error}"


Kind = Difference | Ending | StateChange | SchemaFault | OutOfBoundsAccess | LostValidation
