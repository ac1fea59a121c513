"""Calls that cannot be derived from anything: a file per family of operators, with real, valid values.

A family is a module with ``family = Family(__name__)`` and ``tasks, run = family.tasks, family.run``, and a generator per task,
which yields the calls to make and is given back what each returned:

    @family
    def hann_window(device):
        for length in (0, 1, 7):
            yield call(ops.aten.hann_window, length, device=device)

    @family
    def linear_prepack(device):
        packed = yield call(ops.quantized.linear_prepack, weight(device), None)
        yield call(ops.quantized.linear_unpack, packed)

An operator of ``ops`` that this torch does not have costs its own calls and no other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch

from sweep.recording.recorder import Recorder

#: What a task yields: a call still to be made.
Invocation = functools.partial[Any]
_Task = Callable[[str], Generator[Invocation, Any, None]]


def call(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Invocation:
    """A call to be made under the recorder: an overload, a packet, or any function of torch that makes such calls."""
    return functools.partial(op, *args, **kwargs)


class _Absent:
    """Stands for an operator, or one of its overloads, that this torch does not have."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> _Absent:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise LookupError(f"torch {torch.__version__} has no operator {self._name}")


class _Operators:
    """What ``torch.ops`` has, or one of its namespaces or operators, with what it does not have."""

    def __init__(self, what: Any, name: str = "") -> None:
        self._what, self._name = what, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._what, name, None)
        if found is None:
            found = _Absent(f"{self._name}{name}")
        elif isinstance(found, torch._ops._OpNamespace | torch._ops.OpOverloadPacket):
            found = _Operators(found, f"{self._name}{name}.")
        vars(self)[name] = found  # one object for one operator, as in torch.ops
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._what(*args, **kwargs)


ops: Any = _Operators(torch.ops)


class Family:
    """The tasks of one module.

    Args:
        module: its ``__name__``, which tells in the corpus where a call comes from.
    """

    def __init__(self, module: str) -> None:
        self._name = module.rpartition(".")[2]
        self._tasks: dict[str, _Task] = {}

    def __call__(self, task: _Task) -> _Task:
        """Decorator: adds a generator function of the device as a task of that name."""
        self._tasks[task.__name__] = task
        return task

    def tasks(self, device: str) -> Iterable[str]:
        return list(self._tasks)

    def run(self, task: str, device: str, recorder: Recorder) -> None:
        """Makes the calls of one task, with the same random numbers each time. One that fails is counted, and gives ``None``."""
        source = f"{self._name} {task}"
        torch.manual_seed(0)
        try:
            calls = self._tasks[task](device)
            result = None
            while True:
                made = calls.send(result)
                try:
                    with recorder.observe(source):
                        is_overload = isinstance(made.func, torch._ops.OpOverload)
                        result = recorder.call(made.func, *made.args, **made.keywords) if is_overload else made()
                except Exception as error:
                    recorder.failed(source, error)
                    result = None
        except StopIteration:
            return
        except Exception as error:  # the generator itself, on what a failed call did not give it
            recorder.failed(f"{source}, making arguments", error)
