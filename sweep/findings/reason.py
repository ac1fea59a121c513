"""Why an overload is not called, or not compared."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class ReasonKind(enum.Enum):
    """The reasons for which an overload is not called; the value is their text, with ``{}`` for the detail."""

    NO_KERNEL = "no kernel for {}"
    REFUSED = "refuses what is tried: {}"
    NEEDS_PROCESS_GROUP = "needs a process group"
    NEEDS_OBJECT = "takes an object of class {}"
    NO_SAMPLE = "no sample"
    EXEMPT = "exempt: {}"
    ABSENT = "no such overload in this torch"


@dataclass(frozen=True)
class Reason:
    """Why an overload is not called.

    Attributes:
        kind: the kind of reason.
        detail: what the text of the kind leaves open: the device, the refusal, the class.

    >>> str(Reason(ReasonKind.NO_KERNEL, "cpu by way of aten.add.Tensor, which it calls"))
    'no kernel for cpu by way of aten.add.Tensor, which it calls'
    """

    kind: ReasonKind
    detail: str = ""

    def __str__(self) -> str:
        return self.kind.value.format(self.detail)

    def as_json(self) -> list[str]:
        """The reason as JSON data."""
        return [self.kind.name, self.detail]

    @classmethod
    def from_json(cls, data: Sequence[str]) -> Reason:
        """The reason that :meth:`as_json` returned."""
        kind, detail = data
        return cls(ReasonKind[kind], detail)
