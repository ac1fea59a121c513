"""Calls that ``python -m sweep search`` has found, one JSON file per namespace: each reached a branch that no other call did.

A file holds calls without their values, which are the same every time (see ``sweep.search.plain``). One that a newer torch
refuses, or does not have, is counted in the log like every other sample.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from sweep.calls.codec import build
from sweep.operators.inventory import resolve
from sweep.recording.recorder import Recorder
from sweep.search import stored
from sweep.search.plain import call_of


@functools.cache
def _calls() -> stored.Stored:
    return stored.load(Path(__file__).parent)


def tasks(device: str) -> Iterable[str]:
    """Every overload that has searched calls."""
    return sorted(_calls())


def run(task: str, device: str, recorder: Recorder) -> None:
    """Make the calls of one overload."""
    for number, data in enumerate(_calls()[task]):
        source = f"searched {number}"
        try:
            args, kwargs = build(call_of(task, data, source), device)
            op = resolve(task)
            with recorder.observe(source):
                recorder.call(op, *args, **kwargs)
        except Exception as error:
            recorder.failed(f"searched {task}", error)
