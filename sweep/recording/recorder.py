"""The recorder: writes down every distinct call that reaches the dispatcher while a sample runs.

Two observers are needed. A ``TorchDispatchMode`` sees the calls that arrive at a backend. A CompositeImplicitAutograd operator
never arrives there, since it has been decomposed by then; the Python dispatcher sees it, because its per-operator table passes
the calls of composite operators to a handler first, whether they come from Python or from C++.

A call that a sample makes itself is always kept. A call inside another operator, or in backward, is incidental: of those the
first ``INCIDENTAL`` per overload and dtype are kept. Otherwise a few operators would be most of the corpus (in torch 2.13's
float32 samples, ``reshape`` alone has 2,000 distinct calls) and show nothing new.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch._C import DispatchKey
from torch._dispatch.python import enable_python_dispatcher, no_python_dispatcher
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sweep.calls.call import Call, Recorded, Unrecordable
from sweep.calls.codec import encode, signature
from sweep.calls.recipes import remember
from sweep.errors import first_line
from sweep.operators.inventory import has_fallback, qualified_name
from sweep.recording.stages import INCIDENTAL

#: Length of an exception's message in the log.
_MESSAGE_LENGTH = 120


class Recorder:
    """Collects the distinct calls on one device.

    Attributes:
        device: the device under test, such as ``cpu`` or ``cuda:0``.
        calls: the calls to keep, in the order in which they were made, each with the dtype that it is incidental to, or ``None``
            for a call that a sample made itself.
        dispatched: number of observed calls, including repeated ones.
        unrecordable: reason -> number of calls without a plain form.
        failures: (description, exception) -> number of samples that could not be generated or run.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._type = torch.device(device).type
        self.calls: list[tuple[Call, str | None]] = []
        self.dispatched = 0
        self.unrecordable: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self._composites = _CompositeObserver(self)
        self._signatures: set[Hashable] = set()  # (is refused, is incidental, overload, signature)
        self._incidental_counts: Counter[tuple[torch._ops.OpOverload, torch.dtype | None]] = Counter()
        self._is_encoding = False
        self._source = ""
        self._is_incidental = False
        self._keeps_refused = False
        self._depth = 0
        self._unobserved: torch._ops.OpOverload | None = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Context around every ``observe``: torch's dispatch tables pass composite calls to the recorder."""
        with self._composites.installed():
            yield

    @contextmanager
    def observe(self, source: str, *, incidental: bool = False, composites: bool = True, refused: bool = False) -> Iterator[None]:
        """Context in which calls are recorded.

        Args:
            source: where they come from, in a few words.
            incidental: whether all of them are incidental.
            composites: whether to record composite operators. Tensor subclasses that decompose themselves in Python fail under
                it.
            refused: record the calls that are refused, and no others.
        """
        self._source, self._is_incidental, self._depth, self._keeps_refused = source, incidental, 0, refused
        with _BackendObserver(self), enable_python_dispatcher() if composites else nullcontext():
            yield

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Context inside ``observe`` for calls of the autograd engine; the rest of the observation is incidental."""
        self._is_incidental = True
        yield

    def failed(self, what: str, error: BaseException) -> None:
        """Count a sample that could not be generated or run."""
        self.failures[what, f"{type(error).__name__}: {first_line(error)[:_MESSAGE_LENGTH]}"] += 1

    def reset_counts(self) -> None:
        """Begin the counts of a new task."""
        self.dispatched = 0
        self.failures.clear()
        self.unrecordable.clear()

    def drain(self) -> list[tuple[Call, str | None]]:
        """Return the collected calls and forget them; their signatures are kept."""
        calls, self.calls = self.calls, []
        return calls

    def call(self, op: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Any:
        """Make a call inside ``observe``, and record it even if autograd answers it before any observer sees it.

        ``_fw_primal`` is such an operator: its autograd kernel makes an alias and does not redispatch.
        """
        self._unobserved = op
        result = op(*args, **kwargs)
        if self._unobserved is op and op._schema.is_mutable:
            self.unrecordable["writes to its arguments where no observer sees it"] += 1
        elif self._unobserved is op:
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
        """Make a call. If it is to be kept, for having succeeded or for having been refused, record it as it was before it ran.

        Args:
            op: the overload.
            args: positional arguments.
            kwargs: keyword arguments.
            run: makes the call.
            composite: whether the operator decomposes into calls, which are incidental.
        """
        if self._is_encoding:
            return run()
        self.dispatched += 1
        if op is self._unobserved:
            self._unobserved = None
        incidental = self._is_incidental or self._depth > 0
        call, key = self._encoded_if_new(op, args, kwargs, incidental)
        self._depth += composite
        try:
            result = run()
        except Exception:
            if call is not None and self._keeps_refused and key not in self._signatures:
                self._signatures.add(key)
                self.calls.append((replace(call, recorded=Recorded.REFUSED), None))
            raise
        finally:
            self._depth -= composite
        remember(result, _name(op), args, kwargs)
        if call is None or self._keeps_refused or self._is_elsewhere(args, kwargs, result):
            return result
        if key not in self._signatures:  # the same call may have been made inside this one
            self._signatures.add(key)
            dtype = _dtype(args)
            self._incidental_counts[op, dtype] += incidental
            self.calls.append((call, str(dtype) if incidental else None))
        return result

    def _is_elsewhere(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
        """Whether a call has tensors, and none of them on the device: it shows nothing about the device.

        A call without any tensor counts as one of the device.
        """
        if self._type == "cpu":
            return False
        places = {t.device.type for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)}
        return bool(places) and self._type not in places

    def _encoded_if_new(
        self, op: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], incidental: bool
    ) -> tuple[Call | None, Hashable]:
        """The plain form of a call that is to be kept, and its key; no call if it is not."""
        is_counted = incidental and not self._keeps_refused
        if is_counted and self._incidental_counts[op, _dtype(args)] >= INCIDENTAL:
            return None, None
        self._is_encoding = True
        try:
            # A call that one sample makes itself and that is incidental in another is written twice: the result must not depend
            # on which process saw which.
            key = (self._keeps_refused, is_counted, op, signature(args, kwargs))
            if key in self._signatures:
                return None, None
            # Reading the arguments must not be observed, and need not pass the observers.
            with torch.no_grad(), torch._C._DisableTorchDispatch(), no_python_dispatcher():
                return encode(_name(op), args, kwargs, device=self.device, source=self._source), key
        except Unrecordable as reason:
            self.unrecordable[str(reason)] += 1
            return None, None
        finally:
            self._is_encoding = False


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
    """Observes the calls that arrive at a backend."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        # A fallback passes composite operators arguments that Python cannot: undefined tensors in lists, numbers for tensors.
        falls_back = has_fallback(torch.device(recorder.device).type)
        self._inside: Callable[[], AbstractContextManager[Any]] = no_python_dispatcher if falls_back else nullcontext

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(t is not torch.Tensor and t is not torch.nn.Parameter for t in types):
            return NotImplemented  # a subclass decomposes itself, and the calls on its parts arrive here
        kwargs = kwargs or {}

        def run() -> Any:
            with self._inside():
                return func(*args, **kwargs)

        return self.recorder.see(func, args, kwargs, run)


class _CompositeObserver:
    """Observes the calls of composite operators, by replacing ``OpOverload._get_dispatch`` while it is installed."""

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
            return self.recorder.see(op, args, kwargs, run, composite=True)

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
