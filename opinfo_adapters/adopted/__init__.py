"""Calls that ``python -m sweep adopt`` has taken from the examples of another sweep's findings, as Python, one on a line.

Such a sweep makes more calls than a recording can afford, such as those of ``record --pairs``; what it finds is worth one call
each. A call that the operator refuses is recorded as refused, as those are that crossref ``validation`` reports. One that this
torch cannot construct, or does not have, is counted in the log like every other sample that cannot be recorded.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from sweep.calls.codec import build
from sweep.calls.parsing import call_in
from sweep.operators.inventory import resolve
from sweep.operators.required_state import required_state
from sweep.recording.recorder import Recorder
from sweep.search import adopted


@functools.cache
def _texts() -> adopted.Adopted:
    return adopted.load(Path(__file__).parent)


def tasks(device: str) -> Iterable[str]:
    """Every overload that has adopted calls."""
    return sorted(_texts())


def run(task: str, device: str, recorder: Recorder) -> None:
    """Make the calls of one overload."""
    for text in _texts()[task]:
        try:
            with required_state(task, device):
                _record(task, text, device, recorder)
        except Exception as error:
            recorder.failed(f"adopted {task}", error)


def _record(task: str, text: str, device: str, recorder: Recorder) -> None:
    """Records a call as refused if it is, and otherwise as one that returns."""
    op, call = resolve(task), call_in(task, text, "cpu")
    with recorder.only(op):
        args, kwargs = build(call, device)
        with recorder.observe("adopted", refused=True):
            try:
                op(*args, **kwargs)
            except Exception:  # which one is compared by the crossrefs
                return
        args, kwargs = build(call, device)
        with recorder.observe("adopted"):
            recorder.call(op, *args, **kwargs)
