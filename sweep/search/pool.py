"""Runs requests in several sandboxes at once, whose children may die. Runs in the parent; no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.errors import ChildFailedError, SweepError, UserError
from sweep.isolation.sandbox import Sandbox, each_done


@dataclass(frozen=True)
class Job:
    """One request.

    Attributes:
        function: ``module:function``.
        name: the overload that it is about.
        arguments: keyword arguments.
    """

    function: str
    name: str
    arguments: dict[str, Any]


def run(
    sandboxes: Sequence[Sandbox],
    following: Callable[[], Job | None],
    finished: Callable[[Job, Any], None],
    died: Callable[[Job, SweepError], Job | None],
    timeout: float,
) -> None:
    """Runs jobs until there are no more.

    Args:
        sandboxes: the processes to use, at least one.
        following: returns the next job; ``None`` if there is none now.
        finished: is given a job and what it returned.
        died: is given a job that ended its process or left it unusable, and how; returns what to do instead, if anything.
        timeout: seconds without a heartbeat after which a process is ended.

    Raises:
        ChildFailedError: a job has a bug.
        UserError: a job raised it.
    """
    busy: dict[int, tuple[Sandbox, Job]] = {}

    def start(sandbox: Sandbox, job: Job | None) -> None:
        if job is not None:
            busy[id(sandbox)] = sandbox, job
            sandbox.send(job.function, name=job.name, **job.arguments)

    while True:
        for sandbox in sandboxes:
            if id(sandbox) not in busy:
                start(sandbox, following())
        if not busy:
            return
        for sandbox in each_done([sandbox for sandbox, _ in busy.values()], timeout):
            _, job = busy.pop(id(sandbox))
            try:
                finished(job, sandbox.receive(timeout=timeout))
            except (ChildFailedError, UserError):
                raise
            except SweepError as error:
                sandbox.end_child()  # its state is unknown
                start(sandbox, died(job, error))
