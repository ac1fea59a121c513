"""Every error that crosses a process or reaches a user. Imports nothing but the standard library, ``findings`` and ``progress``.

An error that a child process raises is raised again in the parent as the same class with the same attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweep.findings.ending import Ending
from sweep.findings.kind import StateChange
from sweep.progress import Phase


class SweepError(Exception):
    """Base of all errors of this project; an instance can be pickled and is equal in meaning on the other side.

    Attributes:
        call: position of the call that a child process was making when it raised this; -1 if it was making none.
        phase: what it was doing.
        checkpoints: what it had saved before, in order.
    """

    call: int = -1
    phase: Phase = Phase()
    checkpoints: Sequence[Any] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[SweepError], args: tuple[Any, ...], attributes: dict[str, Any]) -> SweepError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(attributes)
    return error


# --- what a user can put right -----------------------------------------------------------------------------------------


class UserError(SweepError):
    """Base of the errors that a user can put right; the message is one line that says what to do."""


class UsageError(UserError):
    """An option, or a combination of options, that cannot be satisfied."""


class DeviceError(UserError):
    """A device that torch does not know or cannot use on this machine."""


class LibraryError(UserError):
    """A library of custom operators that cannot be imported or registers no operator."""


class CorpusError(UserError):
    """A corpus that is missing, damaged or of another format, or that cannot be written."""


class WorkerError(UserError):
    """A worker of xdist that cannot do its part, since it has other sources, recorded calls or another torch than the run."""


class MergeError(UserError):
    """Files that are not all the shards of one sweep."""


class ExpectError(UserError):
    """An expect file that cannot be parsed."""


class NotesError(UserError):
    """A file of notes that cannot be read; the message names the line or the section."""


class CausesError(UserError):
    """A file of causes that cannot be read; the message says what to do."""


class ReproError(UserError):
    """A finding of which no script can be written; the message says why."""


class UnknownCrossRefError(UserError):
    """A crossref name that is not registered; the message lists the registered ones."""


class UnknownOverloadError(UserError, LookupError):
    """An overload that the inventory or the corpus does not have; the message names similar ones."""


class UnknownCallError(UserError, IndexError):
    """A call number beyond the recorded calls of an overload."""


class UnknownTaskError(UserError, LookupError):
    """A glob that matches no recording task."""


class NotACallError(UserError):
    """Python text that is not a call of an overload, or whose arguments cannot be constructed or recorded."""


class SearchedFileError(UserError):
    """A file of searched calls that cannot be read or written."""


class AdoptedFileError(UserError):
    """A file of adopted calls that cannot be read or written."""


class MissingExtraError(UserError):
    """A command that needs a library which is not installed."""


# --- what happens to a child process -----------------------------------------------------------------------------------


class ProcessUnusableError(SweepError):
    """A call has left its process in a state in which no other call may be made; the process has to be replaced.

    Attributes:
        cause: how the call ended, or the state that it changed and that cannot be restored.
        by_prediction: whether a predicted path did it, rather than the real call.
    """

    def __init__(self, cause: Ending | StateChange, *, by_prediction: bool = False) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.by_prediction = by_prediction


class ChildDiedError(SweepError):
    """A child process ended in the middle of a request.

    Attributes:
        ending: how it ended.
        call: position of the call that it was making; -1 if it was making none.
        phase: what it was doing.
        checkpoints: what it had saved before, in order.
    """

    def __init__(self, ending: Ending, call: int, phase: Phase, checkpoints: Sequence[Any] = ()) -> None:
        super().__init__(f"{ending} at call {call} ({phase})")
        self.ending = ending
        self.call = call
        self.phase = phase
        self.checkpoints = list(checkpoints)


class ChildFailedError(SweepError):
    """A function in a child process raised an exception that is not a :class:`SweepError`: a bug of the harness.

    Attributes:
        class_name: the class of the exception.
        message: its text.
        traceback: its traceback as text.
        call: position of the call that the child was making; -1 if it was making none.
        phase: what it was doing.
    """

    def __init__(self, class_name: str, message: str, traceback: str, call: int, phase: Phase) -> None:
        super().__init__(f"{class_name}: {message}\n{traceback}")
        self.class_name = class_name
        self.message = message
        self.traceback = traceback
        self.call = call
        self.phase = phase


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; empty if it has none."""
    return (str(error).strip().splitlines() or [""])[0]
