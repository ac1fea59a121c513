"""Progress of a child process: the heartbeat in shared memory, the phases that it names, and checkpoints.

Imports nothing but the standard library: the parent reads what the child writes.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Activity(enum.IntEnum):
    """What a child is doing; the number is what the heartbeat holds."""

    START = 0
    REAL = 1
    PREDICTION = 2
    EXAMPLE = 3
    ATTEMPT = 4
    ATTEMPT_ON_CPU = 5
    RECORD = 6
    VERIFY = 7


_ACTIVITIES = frozenset(Activity)


@dataclass(frozen=True)
class Phase:
    """An activity, and the crossref that it serves.

    Attributes:
        activity: what is being done.
        crossref: name of the crossref whose prediction is being made; empty for the real call and for everything else.
    """

    activity: Activity = Activity.START
    crossref: str = ""

    def __str__(self) -> str:
        name = self.activity.name.lower().replace("_", " ")
        return f"{self.crossref} {name}" if self.crossref else name


#: Layout of the heartbeat: a counter that grows with every beat, the call's position, the activity, the crossref in UTF-8.
HEARTBEAT = struct.Struct("<qqq48s")


@dataclass(frozen=True)
class Beat:
    """One heartbeat as the parent reads it."""

    count: int
    call: int
    phase: Phase

    def pack_into(self, buffer: Any) -> None:
        HEARTBEAT.pack_into(buffer, 0, self.count, self.call, self.phase.activity, self.phase.crossref.encode()[:48])

    @classmethod
    def unpack_from(cls, buffer: Any) -> Beat:
        """The heartbeat in shared memory; of one that a call has overwritten, the activity counts as ``START``."""
        count, call, activity, crossref = HEARTBEAT.unpack_from(buffer, 0)
        name = crossref.rstrip(b"\0").decode(errors="replace")
        return cls(count, call, Phase(Activity(activity) if activity in _ACTIVITIES else Activity.START, name))


@dataclass(frozen=True)
class Progress:
    """What a function in a child reports while it runs. The default reports to nobody.

    A function that declares a parameter ``progress`` is passed one (see ``child``).

    Attributes:
        beat: takes the position of a call and the phase, just before that begins.
        checkpoint: takes plain data that is to outlive the process.
    """

    beat: Callable[[int, Phase], None] = lambda call, phase: None
    checkpoint: Callable[[Any], None] = lambda data: None


#: Reports to nobody: the default of functions that are also called in a process of their own.
NO_PROGRESS = Progress()
