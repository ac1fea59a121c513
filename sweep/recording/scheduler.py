"""Scheduling: runs the tasks of one stage in several sandboxes, with retries. No torch."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from sweep.errors import SweepError, UserError, first_line
from sweep.isolation.sandbox import Sandbox, each_done
from sweep.progress import Activity
from sweep.recording.journal import Journal
from sweep.recording.merge import SHARD_NAME
from sweep.recording.outcome import TaskOutcome
from sweep.recording.progress_bar import ProgressBar
from sweep.recording.retries import Failure, Run
from sweep.recording.stages import Task, title

#: Seconds without a heartbeat after which a task's process is ended.
_TASK_TIMEOUT = 300.0

#: Seconds for one attempt of a derivation. On an accelerator the first call of a kind loads libraries and compiles kernels, in
#: many processes at once.
LIMITS = {Activity.ATTEMPT: 10.0, Activity.ATTEMPT_ON_CPU: 10.0}
ACCELERATOR_LIMITS = {Activity.ATTEMPT: 90.0, Activity.ATTEMPT_ON_CPU: 10.0}

#: Limit in bytes of an accelerator's memory per process, since several share it.
DEVICE_MEMORY = 4 << 30

#: Length of an ending in the journal.
_ENDING_LENGTH = 200


@dataclass(frozen=True)
class _Busy:
    """A sandbox, the run that it was sent, and when."""

    sandbox: Sandbox
    run: Run
    started: float


class Scheduler:
    """Runs the tasks of one stage.

    A task that ends its process costs only itself, or one of its attempts.

    Args:
        sandboxes: the processes to use, at least one.
        stage: number of the stage.
        folder: folder of the corpus in the making.
        device: the device to record on.
        journal: where outcomes are noted; its finished tasks are not run again.
        out: where progress is shown.
    """

    def __init__(self, sandboxes: list[Sandbox], stage: int, folder: Path, device: str, journal: Journal, out: TextIO) -> None:
        self._sandboxes, self._stage, self._folder, self._device = sandboxes, stage, folder, device
        self._journal, self._out = journal, out
        self._waiting: deque[Run] = deque()
        self._busy: dict[int, _Busy] = {}
        self._calls = 0

    def run(self, shards: Path, only: list[str] | None) -> None:
        """Run all tasks that are not finished.

        Args:
            shards: where each task's shard goes.
            only: globs of the tasks to run; ``None`` for all.

        Raises:
            UnknownTaskError: a glob matches no task.
            CorpusError: a shard cannot be written.
        """
        tasks: list[Task] = self._sandboxes[0].request(
            "sweep.recording.tasks:list_tasks", device=self._device, stage=self._stage, known=str(self._folder), only=only
        )
        finished = self._journal.tasks
        self._waiting = deque(Run(task, position) for position, task in enumerate(tasks) if task not in finished)
        self._calls = sum(finished[task].outcome.calls for task in tasks if task in finished)
        bar = ProgressBar(title(self._stage), len(tasks), len(tasks) - len(self._waiting), self._out)
        for sandbox in self._sandboxes:
            self._start_next(sandbox, shards)
        while self._busy:
            for sandbox in each_done([busy.sandbox for busy in self._busy.values()], _TASK_TIMEOUT):
                if self._finish(self._busy.pop(id(sandbox))):
                    bar.advance(f"{self._calls} calls")
                self._start_next(sandbox, shards)
        bar.close()

    def _start_next(self, sandbox: Sandbox, shards: Path) -> None:
        """Send the next run to an idle sandbox, if there is one."""
        if not self._waiting:
            return
        run = self._waiting.popleft()
        self._busy[id(sandbox)] = _Busy(sandbox, run, time.monotonic())
        sandbox.send(
            "sweep.recording.tasks:run_task",
            task=run.task,
            device=self._device,
            file=str(shards / SHARD_NAME.format(run.position)),
            known=str(self._folder),
            plan=run.plan,
            memory=DEVICE_MEMORY,
        )

    def _finish(self, busy: _Busy) -> bool:
        """Receive the reply of a run, and queue the next run of its task; whether the task is finished instead."""
        run, outcome = busy.run, TaskOutcome()
        try:
            outcome = busy.sandbox.receive(timeout=_TASK_TIMEOUT)
            if outcome.out_of_bounds:
                # Nothing guards the memory that a kernel allocates itself. What it may have done to that would end an attempt of
                # another task, or change its answer.
                busy.sandbox.end_child()
            next_run = run.after_success()
        except UserError:
            raise
        except SweepError as error:
            busy.sandbox.end_child()  # its state is unknown
            next_run = run.after_failure(Failure.of(error))
            self._journal.lose_process(run.task, time.monotonic() - busy.started, first_line(error)[:_ENDING_LENGTH])
        if next_run is not None:
            self._waiting.appendleft(next_run)
            return False
        self._journal.finish_task(run.task, time.monotonic() - busy.started, outcome)
        self._calls += outcome.calls
        return True
