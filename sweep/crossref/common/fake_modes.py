"""Fake tensors for the crossrefs: turning real arguments into fake ones, and running an overload on them.

A FakeTensor of a plain strided tensor is built straight from an empty meta tensor, several times faster than
``FakeTensorMode.from_tensor``, and one of a sparse tensor from its parts; every other tensor goes through ``from_tensor``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)

from sweep.execution.accelerator import check_not_lost, prediction
from sweep.calls.call import Unrecordable
from sweep.calls.codec import signature
from sweep.calls.tensors import COMPRESSED, is_strided, on_storage, parts_of
from sweep.crossref.common.comparison import Outcome
from sweep.crossref import RealRaised
from sweep.execution.process_state import UnusableByPrediction

#: How many outcomes of inner calls are kept.
_REMEMBERED = 10_000


class Fakes:
    """Fake modes that serve every call of one overload, under every crossref.

    The first one has no ``ShapeEnv``, which is what nearly every call needs; a call whose output size depends on data is made
    again in a second one that has. An outcome is computed once and given to whoever asks again, since it follows from metadata
    alone: the overload itself looks the same to the crossrefs, functionalized or not, and a composite one is made of the same
    few others in most of its calls.

    Args:
        op: the overload.
        side: is told ``real`` before a real call is made, so that a crash in it is not taken for one of the predicted path.
        wait: waits for the device, as :func:`sweep.execution.accelerator.waiter` returns it; an attribute too.
    """

    def __init__(
        self,
        op: torch._ops.OpOverload,
        side: Callable[[str], None] = lambda side: None,
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._op = op
        self._side = side
        self.wait = wait
        FakeTensorMode.cache_clear()  # the class's own: what an overload is answered must not depend on who was asked before
        self._static = _Mode(op)
        self._symbolic: FakeTensorMode | None = None
        self._own: dict[Any, Outcome | BaseException] = {}  # of the overload itself, in the call that is being checked
        self._inner: dict[Any, Outcome | BaseException] = {}  # of others inside it, in any call

    def next_call(self) -> None:
        """Forgets what no other call will ask for again."""
        self._own.clear()
        if len(self._inner) > _REMEMBERED:
            self._inner.clear()

    def real(self, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Any:
        """What a call really returns.

        Raises:
            RealRaised: it raised.
            Unusable: it raised, and no call after it can use the device.
        """
        self._side("real")
        try:
            result = op(*args, **kwargs)
            self.wait()
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: this process belongs to its calls
            check_not_lost(error, self.wait)
            raise RealRaised from error
        return result

    def run(self, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Outcome | BaseException:
        """The outcome of an overload on fake versions of real or functional arguments, or whatever its fake path raises.

        Raises:
            UnusableByPrediction: fake tensors fell back on the real kernel, and no call after it can use the device.
        """
        args = [_unwrapped(a) for a in args]
        kwargs = {name: _unwrapped(v) for name, v in kwargs.items()}
        try:
            key = (op, *signature(tuple(args), kwargs))
        except Unrecordable:
            return self._outcome(op, args, kwargs)
        outcomes = self._own if op is self._op else self._inner
        known = outcomes.get(key)
        if known is None:
            known = outcomes[key] = self._outcome(op, args, kwargs)
        return known

    def _outcome(self, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Outcome | BaseException:
        try:
            with prediction("fake", self.wait):
                try:
                    return self._run(self._static, op, args, kwargs)
                except (DynamicOutputShapeException, DataDependentOutputException):
                    return self._run(self._with_shape_env(), op, args, kwargs)
        except UnusableByPrediction:
            raise
        except BaseException as error:  # which class it raises is a crossref's finding
            return error.with_traceback(None)  # its frames would keep every tensor in them alive

    def _run(self, mode: FakeTensorMode, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Outcome:
        memo: dict[int, Any] = {}
        f_args = [_fake(a, mode, memo) for a in args]
        f_kwargs = {name: _fake(v, mode, memo) for name, v in kwargs.items()}
        with mode:
            return Outcome(f_args, f_kwargs, op(*f_args, **f_kwargs))

    def _with_shape_env(self) -> FakeTensorMode:
        if self._symbolic is None:
            from torch.fx.experimental.symbolic_shapes import ShapeEnv

            self._symbolic = _Mode(self._op, shape_env=ShapeEnv())
        return self._symbolic


class _Mode(FakeTensorMode):
    """A fake mode that keeps its cache for what an overload is made of and computes the overload itself outright.

    Distinct calls never find each other in the cache; making a key and an entry for each costs as much as the answer. Nor is
    anything that writes to its arguments looked up there: an entry holds what a call returned, and not, for one, that it resized
    an out= tensor, so a second call would leave that as it was.
    """

    def __init__(self, op: torch._ops.OpOverload, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._uncached = op

    def _cached_dispatch_impl(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is self._uncached or (isinstance(func, torch._ops.OpOverload) and func._schema.is_mutable):
            return self._dispatch_impl(func, types, args, kwargs)
        return super()._cached_dispatch_impl(func, types, args, kwargs)


def _unwrapped(value: Any) -> Any:
    """A value with every functional tensor in it replaced by the tensor that it wraps."""
    if isinstance(value, torch.Tensor):
        return torch._from_functional_tensor(value) if torch._is_functional_tensor(value) else value
    if isinstance(value, list | tuple):
        return type(value)(_unwrapped(v) for v in value)
    return value


def _fake(value: Any, mode: FakeTensorMode, memo: dict[int, Any]) -> Any:
    """A value with every tensor in it replaced by a fake one; the same by the same, and a shared storage by a shared one."""
    if isinstance(value, torch.Tensor):
        known = memo.get(id(value))
        if known is None:
            known = memo[id(value)] = _fake_tensor(value, mode, memo)
        return known
    if isinstance(value, list | tuple):
        return type(value)(_fake(v, mode, memo) for v in value)
    if isinstance(value, torch.UntypedStorage):
        return _meta_storage(value, memo)
    return value


def _fake_tensor(real: torch.Tensor, mode: FakeTensorMode, memo: dict[int, Any]) -> FakeTensor:
    if real.layout is torch.sparse_coo:
        # from_tensor forgets how many elements a sparse tensor has, and every answer would be wrong for that reason alone.
        # With a memory of their own: parts are new objects each time, and memory goes by id.
        parts = [_fake_tensor(part, mode, {}) for part in parts_of(real).values()]
        with mode:
            return torch.sparse_coo_tensor(*parts, size=real.shape, is_coalesced=real.is_coalesced(), check_invariants=False)
    if real.layout in COMPRESSED:
        metas = [_meta(part, {}) for part in parts_of(real).values()]
        meta = torch.sparse_compressed_tensor(*metas, size=real.shape, layout=real.layout, check_invariants=False)
        return FakeTensor(mode, meta, real.device)
    if not is_strided(real) or real.is_conj() or real.is_neg():
        return mode.from_tensor(real, static_shapes=True)
    return FakeTensor(mode, _meta(real, memo), real.device)


def _meta(real: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    """A strided tensor without its data."""
    storage = _meta_storage(real.untyped_storage(), memo)
    return on_storage(storage, real.dtype, real.storage_offset(), real.shape, real.stride())


def _meta_storage(storage: torch.UntypedStorage, memo: dict[int, Any]) -> torch.UntypedStorage:
    key = -storage._cdata  # tensors are remembered by id, storages by the negative of their address
    known = memo.get(key)
    if known is None:
        known = memo[key] = torch.UntypedStorage(storage.nbytes(), device="meta")
    return known
