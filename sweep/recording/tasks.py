"""What a recording process does: lists the tasks of a stage, and runs one task and writes its calls to a file.

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
from opinfo_adapters import derived
from opinfo_adapters.derived import Known
from sweep.recording.attempts import Attempts
from sweep.recording.recorder import Recorder
from sweep.calls import corpus
from sweep.execution.accelerator import check_not_lost, limit_memory, waiter
from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.operators.inventory import inventory, resolve
from sweep.calls.printing import written

_recorders: dict[str, Recorder] = {}


def list_tasks(
    device: str, stage: int, known: str, only: list[str] | None = None, heartbeat: Callable[[int, str], None] | None = None
) -> list[str]:
    """The tasks of one stage as ``adapter:task``, in recording order.

    Args:
        device: the device to record on.
        stage: 0 for the adapters, then one for each of ``opinfo_adapters.STAGES``.
        known: the folder of the calls that earlier stages found.
        only: globs; a task that matches none of them is left out.
        heartbeat: not used.

    Raises:
        LookupError: a glob can match no task of any stage.
    """
    if stage:
        name = opinfo_adapters.STAGES[stage - 1]
        tasks = [f"{name}:{task}" for task in derived.load(name).tasks(Known(Path(known), device))]
    else:
        tasks = [f"{name}:{task}" for name in opinfo_adapters.names() for task in opinfo_adapters.load(name).tasks(device)]
        later = [f"{name}:{overload}" for name in opinfo_adapters.STAGES for overload in inventory()]
        for glob in only or ():
            if not fnmatch.filter(tasks, glob) and not fnmatch.filter(later, glob):
                raise LookupError(f"no task matches {glob!r}; they are named as {tasks[0]!r}")
    return [t for t in tasks if only is None or any(fnmatch.fnmatchcase(t, glob) for glob in only)]


def run_task(
    task: str,
    device: str,
    file: str,
    heartbeat: Callable[[int, str], None],
    known: str = "",
    attempts: dict[str, Any] | None = None,
    memory: int = 0,
) -> dict[str, Any]:
    """Runs one task, and writes those of its calls that can be made once more from their plain form.

    Args:
        task: as ``list_tasks`` names it.
        device: the device to record on.
        file: where to write.
        heartbeat: is told which call is being tried.
        known: the folder of the calls that earlier stages found.
        attempts: which attempts to make: ``skip``, ``crashes`` and ``only`` of ``Attempts``.
        memory: bytes of an accelerator's memory that this process may use; 0 is no limit.

    Returns:
        What happened, as counts: ``dispatched`` and ``calls``; ``unrecordable``, ``failures`` and ``refused`` by text. Of a
        derivation that found the first call of nothing, ``why``.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    limit_memory(device, memory)
    adapter, _, name = task.partition(":")
    if adapter in opinfo_adapters.STAGES:
        return _derive(adapter, name, device, Path(file), Known(Path(known), device), heartbeat, attempts or {})
    return _record(adapter, name, device, Path(file), heartbeat)


def _derive(
    module: str,
    overload: str,
    device: str,
    file: Path,
    known: Known,
    heartbeat: Callable[[int, str], None],
    attempts: dict[str, Any],
) -> dict[str, Any]:
    """Runs one task of a derivation. Every call it keeps was made from its plain form already."""
    attempt = Attempts(overload, resolve(overload), device, heartbeat, **attempts)
    derived.load(module).run(overload, known, attempt)
    if attempt.kept and "only" not in attempts:
        plain = [{**c.as_json(), "incidental": None, "repeats": True} for c in attempt.kept]
        corpus.write_file(file, plain, [bytes(c.data) for c in attempt.kept])
    why = "" if attempt.kept or known.is_called(overload) else attempt.why()
    made = len(attempt.kept)
    refused = {f"{module}: {why}": n for why, n in attempt.refused.items()}
    return {
        "dispatched": made + sum(refused.values()),
        "calls": made,
        "refused": refused,
        "unrecordable": {},
        "failures": {},
        "outside": {kind: written(call, "cpu")[0] for kind, call in attempt.outside.items()},
        "why": why,
    }


def _record(adapter: str, name: str, device: str, file: Path, heartbeat: Callable[[int, str], None]) -> dict[str, Any]:
    """Runs one task of an adapter under the recorder."""
    recorder = _recorders.setdefault(device, Recorder(device))
    recorder.dispatched = 0
    recorder.failures.clear()
    recorder.unrecordable.clear()
    heartbeat(-1, "record")
    with recorder.installed():
        opinfo_adapters.load(adapter).run(name, device, recorder)
    wait = waiter(device)
    wait()  # what went wrong there belongs to this task, which ends with it
    known = frozenset(inventory())
    plain: list[dict[str, Any]] = []
    chunks: list[bytes | memoryview] = []
    kept = 0
    for at, (call, incidental) in enumerate(recorder.drain()):
        heartbeat(at, "verify")
        if call.overload not in known:
            recorder.unrecordable["operator that is not in the inventory"] += 1
            continue
        repeats = _repeats(call, device, recorder, wait)
        kept += repeats
        if not repeats and incidental is None:
            continue  # of an incidental one the name is needed, which counts among the first so many
        plain.append({**call.as_json(), "incidental": incidental, "repeats": repeats})
        chunks.append(bytes(call.data))
    if plain:
        corpus.write_file(file, plain, chunks)
    return {
        "dispatched": recorder.dispatched,
        "calls": kept,
        "refused": {},
        "unrecordable": dict(recorder.unrecordable),
        "failures": {f"{what}: {error}": n for (what, error), n in recorder.failures.items()},
    }


def _repeats(call: Call, device: str, recorder: Recorder, wait: Callable[[], None]) -> bool:
    """Whether a call can be made from its plain form; one that cannot would tell nothing about torch."""
    op = resolve(call.overload)
    try:
        args, kwargs = build(call, device)
        with torch.no_grad():
            op(*args, **kwargs)
        wait()
    except Exception as error:  # counted by name in the recording's log, and not kept
        check_not_lost(error, wait)
        recorder.failed(f"{call.source}: making {call.overload} again", error)
        return False
    return True
