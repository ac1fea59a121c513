"""Handwritten calls with valid values, for operators that no sample reaches: one file per family of operators.

A family is a module with ``family = Family(__name__)`` and ``tasks, run = family.tasks, family.run``, and one generator per task.
The generator yields the calls to make and is sent the result of each:

    @family
    def hann_window(device):
        for length in (0, 1, 7):
            yield call(ops.aten.hann_window, length, device=device)

    @family
    def linear_prepack(device):
        packed = yield call(ops.quantized.linear_prepack, weight(device), None)
        yield call(ops.quantized.linear_unpack, packed)

An operator of ``ops`` that this torch does not have costs only its own calls. Samples of OpInfo live in ``opinfo``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext
from typing import Any

import torch

from sweep.operators.inventory import qualified_name
from sweep.operators.required_state import required_state
from sweep.recording.recorder import Recorder

#: A call that is still to be made.
Invocation = functools.partial[Any]
_Task = Callable[[str], Generator[Invocation, Any, None]]


def call(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Invocation:
    """A call to be made under the recorder: of an overload, a packet, or any function that makes such calls."""
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
    """``torch.ops``, or one of its namespaces or operators; attributes that it does not have are ``_Absent``."""

    def __init__(self, wrapped: Any, name: str = "") -> None:
        self._wrapped, self._name = wrapped, name

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._wrapped, name, None)
        if value is None:
            value = _Absent(f"{self._name}{name}")
        elif isinstance(value, torch._ops._OpNamespace | torch._ops.OpOverloadPacket):
            value = _Operators(value, f"{self._name}{name}.")
        vars(self)[name] = value  # one object per operator, as in torch.ops
        return value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapped(*args, **kwargs)


ops: Any = _Operators(torch.ops)


class Family:
    """The tasks of one module.

    Args:
        module: its ``__name__``, which becomes part of the source of its calls.
    """

    def __init__(self, module: str) -> None:
        self._name = module.rpartition(".")[2]
        self._tasks: dict[str, _Task] = {}
        self._alone: set[str] = set()

    def __call__(self, task: _Task) -> _Task:
        """Decorator that adds a generator function, which takes the device, as a task of its name."""
        self._tasks[task.__name__] = task
        return task

    def alone(self, task: _Task) -> _Task:
        """Decorator as the family itself, for a task whose calls, all of overloads, are recorded without the calls inside them.

        The number of those is limited, so that those of one task leave less room for those of others, which may show more.
        """
        self._alone.add(task.__name__)
        return self(task)

    def tasks(self, device: str) -> Iterable[str]:
        return list(self._tasks)

    def run(self, task: str, device: str, recorder: Recorder) -> None:
        """Make the calls of one task, with the same random numbers every time. The result of one that fails is ``None``."""
        source = f"{self._name} {task}"
        torch.manual_seed(0)
        try:
            calls = self._tasks[task](device)
            result = None
            while True:
                invocation = calls.send(result)
                try:
                    result = _made(invocation, device, recorder, source, alone=task in self._alone)
                except Exception as error:
                    recorder.failed(source, error)
                    if isinstance(invocation.func, torch._ops.OpOverload):
                        recorder.refused(invocation.func, error)
                    result = None
        except StopIteration:
            return
        except Exception as error:  # of the generator itself, which lacks the result of a failed call
            recorder.failed(f"{source}, making arguments", error)


def _made(invocation: Invocation, device: str, recorder: Recorder, source: str, *, alone: bool) -> Any:
    """Make a call under the recorder, in the state that its overload requires, and return its result."""
    op = invocation.func
    if not isinstance(op, torch._ops.OpOverload):
        with recorder.observe(source):
            return invocation()
    only = recorder.only(op) if alone else nullcontext()
    with required_state(qualified_name(op._name), device), recorder.observe(source), only:
        return recorder.call(op, *invocation.args, **invocation.keywords)
