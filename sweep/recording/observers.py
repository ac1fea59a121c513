"""The two observers that pass every call which reaches the dispatcher to a sink. Runs in the child.

A ``TorchDispatchMode`` sees the calls that arrive at a backend. A CompositeImplicitAutograd operator never arrives there, since
it has been decomposed by then; the Python dispatcher sees it, because its per-operator table passes the calls of composite
operators to a handler first, whether they come from Python or from C++.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol
from unittest import mock

import torch
from torch._C import DispatchKey
from torch._dispatch.python import no_python_dispatcher
from torch.utils._python_dispatch import TorchDispatchMode

from sweep.operators.inventory import has_fallback


class Sink(Protocol):
    """What the observers pass calls to.

    Attributes:
        device: the device under test.
    """

    device: str

    def see(
        self,
        op: torch._ops.OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        run: Callable[[], Any],
        *,
        composite: bool = False,
    ) -> Any:
        """Make a call, and return its result.

        Args:
            op: the overload.
            args: positional arguments.
            kwargs: keyword arguments.
            run: makes the call.
            composite: whether the operator decomposes into calls, which are seen too.
        """


class BackendObserver(TorchDispatchMode):
    """Observes the calls that arrive at a backend."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink
        # A fallback passes composite operators arguments that Python cannot: undefined tensors in lists, numbers for tensors.
        falls_back = has_fallback(torch.device(sink.device).type)
        self._inside: Callable[[], AbstractContextManager[Any]] = no_python_dispatcher if falls_back else nullcontext

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(t is not torch.Tensor and t is not torch.nn.Parameter for t in types):
            return NotImplemented  # a subclass decomposes itself, and the calls on its parts arrive here
        kwargs = kwargs or {}

        def run() -> Any:
            with self._inside():
                return func(*args, **kwargs)

        return self.sink.see(func, args, kwargs, run)


class CompositeObserver:
    """Observes the calls of composite operators, by replacing ``OpOverload._get_dispatch`` while it is installed."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._entries: dict[tuple[torch._ops.OpOverload, DispatchKey], Any] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        _forget_dispatch()
        try:
            with mock.patch.object(torch._ops.OpOverload, "_get_dispatch", lambda op, key: self.get_dispatch(op, key)):
                yield
        finally:
            _forget_dispatch()

    def get_dispatch(self, op: torch._ops.OpOverload, key: DispatchKey) -> Any:
        """The entry of an operator's Python dispatch table: the C++ kernel, or a handler in front of it."""
        entry = self._entries.get((op, key))
        if entry is None:
            entry = self._entries[op, key] = self._entry(op, key)
        op._dispatch_cache[key] = entry
        torch._ops.add_cached_op(op)
        return entry

    def _entry(self, op: torch._ops.OpOverload, key: DispatchKey) -> Any:
        if key == DispatchKey.Python:
            return key
        try:
            kernel = torch._ops.resolve_key(op, key)
        except NotImplementedError:
            return _by_cpp_dispatcher(op)  # a key that Python cannot resolve, though C++ can
        registered = torch._C._dispatch_has_kernel_for_dispatch_key
        if kernel in op.py_kernels and not registered(op._name, kernel):
            return _by_cpp_dispatcher(op)  # a decomposition that only the Python dispatcher knows; no real call uses it
        if registered(op._name, "CompositeImplicitAutograd"):
            return self._handler(op, kernel)
        return kernel

    def _handler(self, op: torch._ops.OpOverload, kernel: DispatchKey) -> Callable[..., Any]:
        def handler(*args: Any, **kwargs: Any) -> Any:
            run = functools.partial(op._op_dk, kernel, *args, **kwargs)
            if torch._C._functorch.peek_interpreter_stack() is not None:
                return run()  # wrapped values of a function transform are not real arguments
            return self.sink.see(op, args, kwargs, run, composite=True)

        return handler


def _by_cpp_dispatcher(op: torch._ops.OpOverload) -> Callable[..., Any]:
    """A table entry that lets the C++ dispatcher choose the kernel; passing it such a key instead would crash."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        with no_python_dispatcher():
            return op(*args, **kwargs)

    return handler


def _forget_dispatch() -> None:
    for op in torch._ops.get_cached_ops():
        op._dispatch_cache.clear()
    torch._ops.reset_cached_ops()
