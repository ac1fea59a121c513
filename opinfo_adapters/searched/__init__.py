"""Calls that ``python -m sweep search`` has found, one JSON file per namespace: each reached a branch that no other call did.

A file holds calls without their values, which are the same every time (see ``sweep.search.plain``). One that the kernel refused
when it was found is recorded as refused. One that another torch refuses, accepts or does not have is counted in the log like
every other sample that cannot be recorded.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sweep.calls.call import Recorded
from sweep.calls.codec import build
from sweep.operators.inventory import resolve
from sweep.recording.recorder import Recorder
from sweep.search import stored
from sweep.search.plain import call_of, recorded_of


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
            if recorded_of(data) is Recorded.REFUSED:
                _refuse(op, args, kwargs, source, recorder)
                continue
            with recorder.observe(source):
                recorder.call(op, *args, **kwargs)
        except Exception as error:
            recorder.failed(f"searched {task}", error)


def _refuse(op: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], source: str, recorder: Recorder) -> None:
    """Makes a call that the operator is to refuse.

    Raises:
        ValueError: it does not.
    """
    with recorder.observe(source, refused=True), recorder.only(op):
        try:
            op(*args, **kwargs)
        except Exception:  # which one is compared by the crossrefs
            return
    raise ValueError("accepts what it refused when it was found")
