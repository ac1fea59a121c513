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
        form: the form of the crossref, if it has several.
    """

    activity: Activity = Activity.START
    crossref: str = ""
    form: str = ""

    def __str__(self) -> str:
        name = self.activity.name.lower().replace("_", " ")
        return " ".join(filter(None, (self.crossref, self.form, name)))


#: Length of a name in the heartbeat, in bytes of UTF-8.
_NAME_LENGTH = 48

#: Layout of the heartbeat: a counter that grows with every beat, the call's position, the activity, the crossref and its form.
HEARTBEAT = struct.Struct(f"<qqq{_NAME_LENGTH}s{_NAME_LENGTH}s")


@dataclass(frozen=True)
class Beat:
    """One heartbeat as the parent reads it."""

    count: int
    call: int
    phase: Phase

    def pack_into(self, buffer: Any) -> None:
        names = [name.encode()[:_NAME_LENGTH] for name in (self.phase.crossref, self.phase.form)]
        HEARTBEAT.pack_into(buffer, 0, self.count, self.call, self.phase.activity, *names)

    @classmethod
    def unpack_from(cls, buffer: Any) -> Beat:
        """The heartbeat in shared memory; of one that a call has overwritten, the activity counts as ``START``."""
        count, call, activity, *encoded = HEARTBEAT.unpack_from(buffer, 0)
        names = [name.rstrip(b"\0").decode(errors="replace") for name in encoded]
        return cls(count, call, Phase(Activity(activity) if activity in _ACTIVITIES else Activity.START, *names))


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
