"""What to do for the examples of an overload's findings, as plain data that the parent sends. No torch."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Effort(enum.IntEnum):
    """How much is done for an example; each includes the one before."""

    #: The simplest text of the smallest call that shows the finding is taken as it is.
    UNTRIED = 0
    #: Printed calls are evaluated until one shows the finding.
    TRIED = 1
    #: That one is made smaller as long as it shows the finding.
    SHRUNK = 2


@dataclass(frozen=True)
class Trials:
    """Which printed calls to evaluate.

    Attributes:
        effort: how much is done for an example.
        examples: title of a finding -> the example that it has already, which is kept if it still shows the finding.
        deadly: numbers of the evaluations that ended a process, in the order in which the overload's examples are evaluated. They
            are not repeated.
    """

    effort: Effort = Effort.TRIED
    examples: Mapping[str, str] = field(default_factory=dict)
    deadly: frozenset[int] = frozenset()


#: Evaluates printed calls, and makes none smaller: the default of functions that are not part of a run.
TRIED = Trials()
