"""The recorder: writes down every distinct call that reaches the dispatcher while a sample runs (see ``observers``).

A call that a sample makes itself is always kept. A call inside another operator, or in backward, is incidental: of those the
first ``INCIDENTAL`` per overload and dtype are kept. Otherwise a few operators would be most of the corpus (in torch 2.13's
float32 samples, ``reshape`` alone has 2,000 distinct calls) and show nothing new.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher, no_python_dispatcher
from torch.utils._pytree import tree_leaves

from sweep.calls.call import Call, Recorded, Unrecordable
from sweep.calls.codec import encode, signature
from sweep.calls.recipes import remember
from sweep.errors import first_line
from sweep.operators.inventory import qualified_name
from sweep.recording.observers import BackendObserver, CompositeObserver
from sweep.recording.refusals import refusal
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
        refusals: overload -> the error that the first handwritten call of it was refused with.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._type = torch.device(device).type
        self.calls: list[tuple[Call, str | None]] = []
        self.dispatched = 0
        self.unrecordable: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.refusals: dict[str, str] = {}
        self._composites = CompositeObserver(self)
        self._signatures: set[Hashable] = set()  # (is refused, is incidental, overload, signature)
        self._incidental_counts: Counter[tuple[torch._ops.OpOverload, torch.dtype | None]] = Counter()
        self._is_encoding = False
        self._source = ""
        self._is_incidental = False
        self._keeps_refused = False
        self._depth = 0
        self._unobserved: torch._ops.OpOverload | None = None
        self._only: torch._ops.OpOverload | None = None

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
        with BackendObserver(self), enable_python_dispatcher() if composites else nullcontext():
            yield

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Context inside ``observe`` for calls of the autograd engine; the rest of the observation is incidental."""
        self._is_incidental = True
        yield

    def failed(self, what: str, error: BaseException) -> None:
        """Count a sample that could not be generated or run."""
        self.failures[what, f"{type(error).__name__}: {first_line(error)[:_MESSAGE_LENGTH]}"] += 1

    def refused(self, op: torch._ops.OpOverload, error: BaseException) -> None:
        """Note that an overload refused a call that was written for it."""
        self.refusals.setdefault(_name(op), refusal(error))

    def reset_counts(self) -> None:
        """Begin the counts of a new task."""
        self.refusals.clear()
        self.dispatched = 0
        self.failures.clear()
        self.unrecordable.clear()

    def drain(self) -> list[tuple[Call, str | None]]:
        """Return the collected calls and forget them; their signatures are kept."""
        calls, self.calls = self.calls, []
        return calls

    @contextmanager
    def only(self, op: torch._ops.OpOverload) -> Iterator[None]:
        """Context inside ``observe`` in which no calls but those of one overload are recorded."""
        self._only = op
        try:
            yield
        finally:
            self._only = None

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
        if self._is_encoding or self._only not in (None, op):
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
