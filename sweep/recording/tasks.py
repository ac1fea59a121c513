"""Entry points of recording processes: listing the tasks of a stage, and running one task, whose calls go to a shard.

A process keeps its recorder: a call that an earlier task of the process has written is not written again.
"""

from __future__ import annotations

import fnmatch
import functools
import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from sweep.calls.call import Call, Recorded
from sweep.calls.codec import build
from sweep.calls.new_memory import filled
from sweep.calls.printing import written
from sweep.errors import UnknownTaskError
from sweep.execution import settings
from sweep.execution.accelerator import check_not_lost, waiter
from sweep.operators.inventory import inventory, resolve
from sweep.operators.required_state import no_gradients, required_state
from sweep.progress import Activity, Phase, Progress
from sweep.recording.adapters import adapter_names, load_adapter, load_derivation
from sweep.recording.attempts import Attempts
from sweep.recording.outcome import AttemptPlan, TaskOutcome
from sweep.recording.recorded import RecordedCalls
from sweep.recording.recorder import Recorder
from sweep.recording.shards import ShardCall, write_shard
from sweep.recording.stages import STAGES, Task

_recorders: dict[str, Recorder] = {}


def list_tasks(device: str, stage: int, known: str, only: list[str] | None = None) -> list[Task]:
    """The tasks of one stage, in recording order.

    Args:
        device: the device to record on.
        stage: 0 for the adapters, then one for each of ``STAGES``.
        known: folder with the calls of earlier stages.
        only: globs for names such as ``opinfo:op_db/*``; a task that matches none of them is left out.

    Raises:
        UnknownTaskError: a glob can match no task of any stage.
    """
    if stage:
        module = STAGES[stage - 1]
        recorded = _recorded(known, device, stage)
        tasks = [Task(stage, module, overload) for overload in load_derivation(module).tasks(recorded)]
    else:
        tasks = [Task(0, module, name) for module in adapter_names() for name in load_adapter(module).tasks(device)]
        _check_globs(only or [], [str(task) for task in tasks])
    return [task for task in tasks if only is None or any(fnmatch.fnmatchcase(str(task), glob) for glob in only)]


def _check_globs(globs: list[str], tasks: list[str]) -> None:
    derived = [f"{module}:{overload}" for module in STAGES for overload in inventory()]
    for glob in globs:
        if not fnmatch.filter(tasks, glob) and not fnmatch.filter(derived, glob):
            raise UnknownTaskError(f"no task matches {glob!r}; tasks have names such as {tasks[0]!r}")


@functools.lru_cache(maxsize=1)
def _recorded(folder: str, device: str, stage: int) -> RecordedCalls:
    """The calls that a stage begins with; they do not change while it runs."""
    return RecordedCalls(Path(folder), device)


def run_task(
    task: Task, device: str, file: str, progress: Progress, known: str = "", plan: AttemptPlan | None = None, memory: int = 0
) -> TaskOutcome:
    """Run one task, and write those of its calls to a shard that work when made again from their plain form.

    Args:
        task: the task.
        device: the device to record on.
        file: the shard; it is not written if there is no call.
        progress: is told which call is being made.
        known: folder with the calls of earlier stages.
        plan: which attempts of a derivation to make; all by default.
        memory: limit in bytes of the memory of an accelerator; 0 is no limit.

    Raises:
        CorpusError: the shard cannot be written.
        ProcessUnusableError: no other call may be made in this process.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)  # an earlier task may have changed it
    settings.apply(device, memory)
    with filled(0):  # some samples pass memory to which nothing was written, and some kernels read their own
        if task.stage:
            return _derive(task, device, Path(file), _recorded(known, device, task.stage), progress, plan or AttemptPlan())
        return _record(task, device, Path(file), progress)


def _derive(task: Task, device: str, file: Path, recorded: RecordedCalls, progress: Progress, plan: AttemptPlan) -> TaskOutcome:
    """Run one task of a derivation. Attempts are made from plain forms, so every call that is kept repeats."""
    with required_state(task.name, device):
        attempts = Attempts(task.name, resolve(task.name), device, progress, plan)
        load_derivation(task.module).run(task.name, recorded, attempts)
    if plan.only is None:
        pairs = zip(attempts.kept, attempts.kept_guesses, strict=True)
        calls = [ShardCall.of(call, guessed=guessed) for call, guessed in pairs]
        outside = (replace(call, recorded=Recorded.OUT_OF_BOUNDS) for call in attempts.out_of_bounds.values())
        calls += [ShardCall.of(call) for call in (*attempts.kept_refused, *outside)]
        if calls:
            write_shard(file, calls)
    refused, refusal = attempts.refused, attempts.most_frequent_refusal()
    has_calls = bool(attempts.kept) or recorded.is_called(task.name)
    return TaskOutcome(
        dispatched=len(attempts.kept) + sum(refused.values()),
        calls=len(attempts.kept),
        refused=dict(refused),
        out_of_bounds={kind: written(call, "cpu")[0] for kind, call in attempts.out_of_bounds.items()},
        refusals={task.name: refusal} if refusal and not has_calls else {},
        pairs=attempts.pairs,
    )


def _record(task: Task, device: str, file: Path, progress: Progress) -> TaskOutcome:
    """Run one task of an adapter under the recorder."""
    recorder = _recorders.setdefault(device, Recorder(device))
    recorder.reset_counts()
    progress.beat(-1, Phase(Activity.RECORD))
    with recorder.installed():
        load_adapter(task.module).run(task.name, device, recorder)
    wait = waiter(device)
    wait()  # an error of a queued kernel belongs to this task and ends it
    names = frozenset(inventory())
    verify = Phase(Activity.VERIFY)
    calls: list[ShardCall] = []
    for position, (call, incidental) in enumerate(recorder.drain()):
        progress.beat(position, verify)
        if call.overload not in names:
            recorder.unrecordable["operator that is not in the inventory"] += 1
            continue
        repeats = _repeats(call, device, recorder, wait)
        if repeats or incidental is not None:  # an incidental call counts among the first ones even if it does not repeat
            calls.append(ShardCall.of(call, incidental=incidental, repeats=repeats))
    if calls:
        write_shard(file, calls)
    return TaskOutcome(
        dispatched=recorder.dispatched,
        calls=sum(call.repeats and call.recorded is Recorded.RETURNED for call in calls),
        unrecordable=dict(recorder.unrecordable),
        failures={f"{what}: {error}": n for (what, error), n in recorder.failures.items()},
        refusals=dict(recorder.refusals),
    )


def _repeats(call: Call, device: str, recorder: Recorder, wait: Callable[[], None]) -> bool:
    """Whether a call ends in the same way when it is made from its plain form; else it would show nothing about torch."""
    op = resolve(call.overload)
    is_refused = call.recorded is Recorded.REFUSED
    try:
        with required_state(call.overload, device), no_gradients(call.overload):
            args, kwargs = build(call, device)
            op(*args, **kwargs)
            wait()
    except Exception as error:  # counted in the log; the call is not kept
        check_not_lost(error, wait)
        if not is_refused:
            recorder.failed(f"{call.source}: repeating {call.overload}", error)
        return is_refused
    return not is_refused
