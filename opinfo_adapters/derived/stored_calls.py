"""Calls that earlier searches and sweeps were worth: those in the files of ``searched`` and ``adopted``.

``python -m sweep search`` has found the first, each of which reached a branch that no other call did; a file holds them without
their values, which are the same every time (see ``sweep.search.plain``). ``python -m sweep adopt`` has taken the others from the
examples of another sweep's findings; a file holds them as Python. They come after the tensor variants: they are unusual by
themselves, and variants of them would take the place of variants of ordinary calls. One that the kernel refuses is kept as
refused, unless two like it are. One that this torch cannot construct counts as refused by the exception.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.calls.parsing import call_in
from sweep.recording.attempts import Attempts
from sweep.recording.recorded import RecordedCalls
from sweep.search import adopted, stored
from sweep.search.plain import call_of


@functools.cache
def _searched() -> stored.Stored:
    return stored.load(stored.SEARCHED)


@functools.cache
def _adopted() -> adopted.Adopted:
    return adopted.load(adopted.ADOPTED)


def tasks(recorded: RecordedCalls) -> list[str]:
    """Every overload that has such calls and a kernel."""
    return sorted(set(recorded.callable_overloads()) & (_searched().keys() | _adopted().keys()))


def run(task: str, recorded: RecordedCalls, attempts: Attempts) -> None:
    """Attempt the calls of one overload."""
    for source, make in _makers(task):
        try:
            args, kwargs = build(make(), recorded.device)
        except Exception as error:  # whatever this torch raises while the call is constructed
            attempts.refuse(error)
        else:
            attempts(args, kwargs, source)


def _makers(task: str) -> Iterator[tuple[str, Callable[[], Call]]]:
    """The source of each call of an overload, and what makes it."""
    for number, data in enumerate(_searched().get(task, ())):
        source = f"searched {number}"
        yield source, functools.partial(call_of, task, data, source)
    for number, text in enumerate(_adopted().get(task, ())):
        yield f"adopted {number}", functools.partial(call_in, task, text, "cpu")
