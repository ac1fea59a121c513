"""What a recording process does: lists the tasks of every adapter, and runs one task and writes its calls to a file.

Called by name in a child process (see ``sweep.recording``); the process keeps its recorder, so that a call which an earlier task
has written is not written again.
"""

from __future__ import annotations

import fnmatch
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import opinfo_adapters
from opinfo_adapters.recorder import Recorder
from sweep import corpus
from sweep.calls import Call, build
from sweep.overloads import inventory, resolve

_recorders: dict[str, Recorder] = {}
_inventory = frozenset(inventory())


def list_tasks(device: str, only: list[str] | None = None, mark: Callable[[int, str], None] | None = None) -> list[str]:
    """The tasks of all adapters as ``adapter:task``, in recording order.

    Args:
        device: the device to record on.
        only: globs; a task that matches none of them is left out.
        mark: not used.

    Raises:
        LookupError: a glob matches no task.
    """
    tasks = [f"{name}:{task}" for name in opinfo_adapters.names() for task in opinfo_adapters.load(name).tasks(device)]
    for glob in only or ():
        if not fnmatch.filter(tasks, glob):
            raise LookupError(f"no task matches {glob!r}; they are named as {tasks[0]!r}")
    return [t for t in tasks if only is None or any(fnmatch.fnmatchcase(t, glob) for glob in only)]


def run_task(task: str, device: str, file: str, mark: Callable[[int, str], None]) -> dict[str, Any]:
    """Runs one task, makes each of its new calls once more from its plain form, and writes those that succeed.

    Returns:
        What happened, as counts: ``dispatched``, ``calls``, ``unrecordable`` and ``failures`` (text -> count).
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    recorder = _recorders.setdefault(device, Recorder(device))
    recorder.dispatched = 0
    recorder.failures.clear()
    recorder.unrecordable.clear()
    adapter, _, name = task.partition(":")
    mark(-1, "record")
    with recorder.installed():
        opinfo_adapters.load(adapter).run(name, device, recorder)
    written: list[dict[str, Any]] = []
    chunks: list[bytes | memoryview] = []
    kept = 0
    for at, (call, incidental) in enumerate(recorder.drain()):
        mark(at, "verify")
        if call.overload not in _inventory:
            recorder.unrecordable["operator of torch's test suite"] += 1
            continue
        repeats = _repeats(call, device, recorder)
        kept += repeats
        if not repeats and incidental is None:
            continue  # of an incidental one the name is needed, which counts among the first so many
        written.append({**call.as_json(), "incidental": incidental, "repeats": repeats})
        chunks.append(bytes(call.data))
    if written:
        corpus.write_file(Path(file), written, chunks)
    return {
        "dispatched": recorder.dispatched,
        "calls": kept,
        "unrecordable": dict(recorder.unrecordable),
        "failures": {f"{what}: {error}": n for (what, error), n in recorder.failures.items()},
    }


def _repeats(call: Call, device: str, recorder: Recorder) -> bool:
    """Whether a call can be made from its plain form; one that cannot would tell nothing about torch."""
    op = resolve(call.overload)
    try:
        args, kwargs = build(call, device)
        with torch.no_grad():
            op(*args, **kwargs)
    except Exception as error:  # counted by name in the recording's log, and not kept
        recorder.failed(f"{call.source}: making {call.overload} again", error)
        return False
    return True
