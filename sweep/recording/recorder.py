"""The recorder: writes down every distinct call that reaches the dispatcher while a sample runs.

Two observers are needed. A ``TorchDispatchMode`` sees what arrives at a backend; a CompositeImplicitAutograd operator never
does, since it has already become other operators by then. Those are seen through the Python dispatcher, whose per-operator
table hands each composite operator's call to us on its way, from Python or from C++ alike.

A call that a sample makes itself is always kept. One that happens inside another operator, or in backward, is incidental:
of those the first ``INCIDENTAL`` of an overload and dtype are kept, since a few hot operators would otherwise be most of the
corpus (in torch 2.13's float32 samples, ``reshape`` alone has 2,000 distinct ones) and say nothing new.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch._C import DispatchKey
from torch._dispatch.python import enable_python_dispatcher, no_python_dispatcher
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from opinfo_adapters import INCIDENTAL
from sweep.calls.call import Call, Unrecordable
from sweep.calls.codec import encode, signature
from sweep.calls.recipes import remember
from sweep.operators.inventory import has_fallback, qualified_name


class Recorder:
    """Collects distinct calls on one device.

    Attributes:
        device: the device under test, such as ``cpu`` or ``cuda:0``.
        calls: the calls to keep, in the order in which they were made, each with the dtype that it is incidental to,
            or ``None`` where a sample made it itself.
        dispatched: how many calls went past, repeated ones included.
        unrecordable: reason -> number of calls that have no plain-data form.
        failures: (what, exception) -> number of samples that could not be generated or run.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._type = torch.device(device).type
        self.calls: list[tuple[Call, str | None]] = []
        self.dispatched = 0
        self.unrecordable: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self._composites = _CompositeObserver(self)
        self._seen: set[tuple[Any, ...]] = set()  # (was it incidental, overload, signature)
        self._kept: Counter[tuple[torch._ops.OpOverload, torch.dtype | None]] = Counter()
        self._busy = False
        self._source = ""
        self._incidental = False
        self._depth = 0
        self._unseen: torch._ops.OpOverload | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """What has to be around every ``observe``: the composite observer stands in for torch's dispatch tables meanwhile."""
        with self._composites.installed():
            yield

    @contextmanager
    def observe(self, source: str, *, incidental: bool = False, composites: bool = True) -> Iterator[None]:
        """Writes down the calls made inside.

        Args:
            source: says in a few words where they come from.
            incidental: nobody asked for these very calls.
            composites: composite operators too. Tensor subclasses that take themselves apart in Python cannot bear it.
        """
        self._source, self._incidental, self._depth = source, incidental, 0
        with _BackendObserver(self), enable_python_dispatcher() if composites else nullcontext():
            yield

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Inside ``observe``: what follows is the engine's doing."""
        self._incidental = True
        yield

    def failed(self, what: str, error: BaseException) -> None:
        """Counts a sample that could not be generated or run."""
        first_line = (str(error).splitlines() or [""])[0]
        self.failures[what, f"{type(error).__name__}: {first_line[:120]}"] += 1

    def drain(self) -> list[tuple[Call, str | None]]:
        """The calls collected since the last time, which are forgotten here (their signatures are not)."""
        calls, self.calls = self.calls, []
        return calls

    def call(self, op: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Any:
        """Inside ``observe``: makes a call, and writes it down even where autograd answers it and no observer sees it.

        ``_fw_primal`` is such an operator: its autograd kernel makes an alias and passes nothing on.
        """
        self._unseen = op
        result = op(*args, **kwargs)
        if self._unseen is op and op._schema.is_mutable:
            self.unrecordable["writes to its arguments where no observer sees it"] += 1
        elif self._unseen is op:
            self.see(op, args, kwargs, lambda: result)
        return result

    def see(
        self,
        op: torch._ops.OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        run: Callable[[], Any],
        *,
        composite: bool = False,
    ) -> Any:
        """Makes a call and, if it is to be kept and succeeds, writes it down as it was before it ran."""
        if self._busy:
            return run()
        self.dispatched += 1
        if op is self._unseen:
            self._unseen = None
        incidental = self._incidental or self._depth > 0
        self._depth += composite
        try:
            call, seen = self._look(op, args, kwargs, incidental)
            result = run()
        finally:
            self._depth -= composite
        remember(result, _name(op), args, kwargs)
        if self._is_elsewhere(args, kwargs, result):
            return result
        if call is not None and seen not in self._seen:  # the same call may have been made inside this one
            self._seen.add(seen)
            dtype = _dtype(args)
            self._kept[op, dtype] += incidental
            self.calls.append((call, str(dtype) if incidental else None))
        return result

    def _is_elsewhere(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
        """Whether a call has to do with tensors, and with none of the device: what the CPU can do says nothing about another one.

        One without any tensor is nowhere else either.
        """
        if self._type == "cpu":
            return False
        places = {t.device.type for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)}
        return bool(places) and self._type not in places

    def _look(
        self, op: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], incidental: bool
    ) -> tuple[Call | None, tuple[Any, ...]]:
        """The plain form of a call that is to be kept, with its signature; no call if it is not."""
        if incidental and self._kept[op, _dtype(args)] >= INCIDENTAL:
            return None, ()
        self._busy = True
        try:
            signed = (incidental, op, *signature(args, kwargs))
            # A call that is asked for here and incidental there is written twice: what is kept in the end must not depend on
            # which process saw the one and which the other.
            if signed in self._seen:
                return None, ()
            # Reading the arguments must not be seen, and need not pass all that watches.
            with torch.no_grad(), torch._C._DisableTorchDispatch(), no_python_dispatcher():
                return encode(_name(op), args, kwargs, device=self.device, source=self._source), signed
        except Unrecordable as reason:
            self.unrecordable[str(reason)] += 1
            return None, ()
        finally:
            self._busy = False


def _dtype(args: tuple[Any, ...]) -> torch.dtype | None:
    """The dtype of the first tensor among the arguments."""
    for value in args:
        if isinstance(value, torch.Tensor):
            return value.dtype
        if type(value) is list and value and isinstance(value[0], torch.Tensor):
            return value[0].dtype
    return None


@functools.cache
def _name(op: torch._ops.OpOverload) -> str:
    return qualified_name(op._name)


class _BackendObserver(TorchDispatchMode):
    """Sees the calls that arrive at a backend."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        # A fallback hands composite operators what Python cannot pass on: undefined tensors in lists, numbers for tensors.
        falls_back = has_fallback(torch.device(recorder.device).type)
        self._inside: Callable[[], AbstractContextManager[Any]] = no_python_dispatcher if falls_back else nullcontext

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(t is not torch.Tensor and t is not torch.nn.Parameter for t in types):
            return NotImplemented  # a subclass takes itself apart, and its parts come past here
        kwargs = kwargs or {}

        def run() -> Any:
            with self._inside():
                return func(*args, **kwargs)

        return self.recorder.see(func, args, kwargs, run)


class _CompositeObserver:
    """Sees the calls of composite operators, by standing in for ``OpOverload._get_dispatch`` while it is installed."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
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
        """The entry of an operator's Python dispatch table: the plain C++ kernel, or our handler in front of it."""
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
            return _plainly(op)  # a key that Python cannot resolve, though C++ can
        registered = torch._C._dispatch_has_kernel_for_dispatch_key
        if kernel in op.py_kernels and not registered(op._name, kernel):
            return _plainly(op)  # a decomposition that only the Python dispatcher knows, and no real call takes
        if registered(op._name, "CompositeImplicitAutograd"):
            return self._handler(op, kernel)
        return kernel

    def _handler(self, op: torch._ops.OpOverload, kernel: DispatchKey) -> Callable[..., Any]:
        def handler(*args: Any, **kwargs: Any) -> Any:
            run = functools.partial(op._op_dk, kernel, *args, **kwargs)
            if torch._C._functorch.peek_interpreter_stack() is not None:
                return run()  # wrapped values of a function transform are nobody's real arguments
            return self.recorder.see(op, args, kwargs, run, composite=True)

        return handler


def _plainly(op: torch._ops.OpOverload) -> Callable[..., Any]:
    """A table entry that lets the C++ dispatcher decide; naming such a key to it instead would crash."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        with no_python_dispatcher():
            return op(*args, **kwargs)

    return handler


def _forget_dispatch() -> None:
    for op in torch._ops.get_cached_ops():
        op._dispatch_cache.clear()
    torch._ops.reset_cached_ops()
