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
from typing import Any

import torch

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

    def __call__(self, task: _Task) -> _Task:
        """Decorator that adds a generator function, which takes the device, as a task of its name."""
        self._tasks[task.__name__] = task
        return task

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
                    with recorder.observe(source):
                        is_overload = isinstance(invocation.func, torch._ops.OpOverload)
                        result = (
                            recorder.call(invocation.func, *invocation.args, **invocation.keywords)
                            if is_overload
                            else invocation()
                        )
                except Exception as error:
                    recorder.failed(source, error)
                    result = None
        except StopIteration:
            return
        except Exception as error:  # of the generator itself, which lacks the result of a failed call
            recorder.failed(f"{source}, making arguments", error)
