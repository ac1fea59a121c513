"""The retry policy of one recording task: what to run next after its process was lost, as a state machine without side effects.

A task is run until it succeeds or is given up. After its first crash it is repeated from the start in a new process: heap
corruption by an earlier task of the same process ends some later attempt, and which one is chance. After that, an attempt that
ends the process is skipped. If it is a crash of the real call, the attempt is first repeated alone; a crash that happens again
is a property of the call, which is kept, so that the sweep shows it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from sweep.errors import ChildDiedError, ProcessUnusableError, SweepError
from sweep.findings.ending import Ending, EndingKind
from sweep.progress import Activity, Phase
from sweep.recording.outcome import AttemptPlan
from sweep.recording.stages import GUESSED, PAIRS, Task

#: Number of attempts of one task that may end their process; after one more, the rest is not tried.
MAX_SKIPPED = 4

#: Signals that the call itself causes. An abort may come from the allocator, which finds what an earlier call has corrupted.
_OWN_CRASHES = {Ending(EndingKind.CRASH, signal) for signal in ("SIGSEGV", "SIGFPE", "SIGILL", "SIGBUS")}


class Mode(enum.Enum):
    """What a run of a task is for."""

    #: All attempts that are not skipped.
    FULL = enum.auto()
    #: One attempt alone, to see whether it crashes again.
    CONFIRM = enum.auto()
    #: The attempts before the one that was one too many.
    SHORTENED = enum.auto()


@dataclass(frozen=True)
class Failure:
    """How a run of a task failed.

    Attributes:
        ending: how the process ended; ``None`` if the call left it unusable instead.
        attempt: number of the attempt that was being made; -1 for none.
        activity: what the process was doing.
    """

    ending: Ending | None
    attempt: int
    activity: Activity

    @classmethod
    def of(cls, error: SweepError) -> Failure | None:
        """The failure that an error of a request stands for; ``None`` if a retry cannot help, as after a bug of the harness."""
        if isinstance(error, ChildDiedError):
            return cls(error.ending, error.call, error.phase.activity)
        if isinstance(error, ProcessUnusableError):
            phase: Phase = getattr(error, "phase", Phase())
            return cls(None, getattr(error, "call", -1), phase.activity)
        return None

    @property
    def is_crash(self) -> bool:
        """Whether a signal ended the process."""
        return self.ending is not None and self.ending.kind is EndingKind.CRASH

    @property
    def is_of_attempt(self) -> bool:
        """Whether an attempt of a derivation failed, on either device."""
        return self.activity in (Activity.ATTEMPT, Activity.ATTEMPT_ON_CPU)


@dataclass(frozen=True)
class Run:
    """One run of a task, and the state of its retries.

    Attributes:
        task: the task.
        position: its position among the tasks of its stage.
        mode: what the run is for.
        skip: attempts that ended a process.
        crashes: those of them that do so every time.
        suspect: the attempt that a ``CONFIRM`` run repeats.
        first_ending: how the suspect ended the first time.
        stop: the first attempt that a ``SHORTENED`` run does not make.
        was_isolated: whether the task was already repeated in a process in which no other task had run.
    """

    task: Task
    position: int
    mode: Mode = Mode.FULL
    skip: tuple[int, ...] = ()
    crashes: tuple[int, ...] = ()
    suspect: int | None = None
    first_ending: Ending | None = None
    stop: int | None = None
    was_isolated: bool = False

    @property
    def plan(self) -> AttemptPlan:
        """The attempts that the child is to make."""
        if self.mode is Mode.CONFIRM:
            return AttemptPlan(skip=self.skip, only=self.suspect)
        return AttemptPlan(skip=self.skip, crashes=self.crashes, stop=self.stop)

    def after_success(self) -> Run | None:
        """The next run after the process answered; ``None`` if the task is done."""
        return self._resolved(crashes_again=False) if self.mode is Mode.CONFIRM else None

    def after_failure(self, failure: Failure | None) -> Run | None:
        """The next run after the process was lost; ``None`` if the task is given up."""
        if failure is None:
            return None
        if failure.is_crash and not self.was_isolated:
            return replace(self, was_isolated=True)  # an earlier task of the process may have corrupted the heap
        if not failure.is_of_attempt or self.mode is Mode.SHORTENED:
            return None
        if len(self.skip) >= MAX_SKIPPED:
            return replace(self, mode=Mode.SHORTENED, suspect=None, first_ending=None, stop=failure.attempt)
        if self.mode is Mode.CONFIRM:
            return self._resolved(crashes_again=(failure.attempt, failure.ending) == (self.suspect, self.first_ending))
        if self._may_be_kept(failure):
            return replace(self, mode=Mode.CONFIRM, suspect=failure.attempt, first_ending=failure.ending)
        return replace(self, skip=(*self.skip, failure.attempt))

    def _may_be_kept(self, failure: Failure) -> bool:
        """Whether a crash may be worth keeping: one per task, of the device under test, where no attempt depends on another."""
        is_own = failure.ending in _OWN_CRASHES and failure.activity is Activity.ATTEMPT
        return is_own and self.task.module not in (GUESSED, PAIRS) and not self.crashes

    def _resolved(self, *, crashes_again: bool) -> Run:
        """The full run once it is known whether the suspect crashes every time."""
        assert self.suspect is not None
        return replace(
            self,
            mode=Mode.FULL,
            skip=(*self.skip, self.suspect),
            crashes=(*self.crashes, self.suspect) if crashes_again else self.crashes,
            suspect=None,
            first_ending=None,
        )
