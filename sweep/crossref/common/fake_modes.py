"""Fake modes for crossrefs: conversion of real arguments to fake ones, and the outcome of an overload on them.

A FakeTensor of a plain strided tensor is constructed from an empty meta tensor, several times faster than
``FakeTensorMode.from_tensor``, and one of a sparse tensor from its parts; every other tensor goes through ``from_tensor``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)

from sweep.calls.call import Unrecordable
from sweep.calls.codec import signature
from sweep.calls.tensors import COMPRESSED, is_strided, on_storage, parts_of
from sweep.crossref.common.comparison import Outcome
from sweep.errors import ProcessUnusableError

#: Number of outcomes of inner calls that are kept.
_REMEMBERED = 10_000


class FakeModes:
    """Fake modes that serve all calls of one overload, under every crossref.

    The first mode has no ``ShapeEnv``, which suffices for nearly every call; a call whose output size depends on data is made
    again in a second mode that has one. An outcome follows from metadata alone, so it is computed once and kept: the overload
    looks the same to every crossref, functionalized or not, and most calls of a composite overload consist of the same few other
    ones.

    Args:
        op: the overload.
        prediction: context manager to be entered around a fake call, since fake tensors may fall back on real kernels.
    """

    def __init__(
        self,
        op: torch._ops.OpOverload,
        prediction: Callable[[str], AbstractContextManager[None]] = lambda side: nullcontext(),
    ) -> None:
        self._op = op
        self._prediction = prediction
        FakeTensorMode.cache_clear()  # a class attribute: an outcome must not depend on what other overloads did before
        self._static = _Mode(op)
        self._symbolic: FakeTensorMode | None = None
        self._own: dict[Any, Outcome | BaseException] = {}  # of the overload itself, in the call that is being checked
        self._inner: dict[Any, Outcome | BaseException] = {}  # of others inside it, in any call

    def next_call(self) -> None:
        """Forgets what no other call will ask for again."""
        self._own.clear()
        if len(self._inner) > _REMEMBERED:
            self._inner.clear()

    def outcome(self, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Outcome:
        """As :meth:`outcome_or_error`, but raises what the fake path raised."""
        outcome = self.outcome_or_error(op, args, kwargs)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def outcome_or_error(self, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Outcome | BaseException:
        """The outcome of an overload on fake versions of real or functional arguments, or whatever its fake path raises.

        Raises:
            ProcessUnusableError: fake tensors fell back on the real kernel, and no call after it can use the device.
        """
        args = [unwrapped(a) for a in args]
        kwargs = {name: unwrapped(v) for name, v in kwargs.items()}
        try:
            key = (op, signature(tuple(args), kwargs))
        except Unrecordable:
            return self._attempt(op, args, kwargs)
        outcomes = self._own if op is self._op else self._inner
        outcome = outcomes.get(key)
        if outcome is None:
            outcome = outcomes[key] = self._attempt(op, args, kwargs)
        return outcome

    def _attempt(self, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Outcome | BaseException:
        """The outcome, or what the fake path raised, to be kept and raised again."""
        try:
            with self._prediction("fake"):
                try:
                    return outcome_in(self._static, op, args, kwargs)
                except (DynamicOutputShapeException, DataDependentOutputException):
                    return outcome_in(self._with_shape_env(), op, args, kwargs)
        except ProcessUnusableError:
            raise
        except BaseException as error:  # its class is a crossref's finding
            return error.with_traceback(None)  # its frames would keep every tensor in them alive

    def _with_shape_env(self) -> FakeTensorMode:
        if self._symbolic is None:
            from torch.fx.experimental.symbolic_shapes import ShapeEnv

            self._symbolic = _Mode(self._op, shape_env=ShapeEnv())
        return self._symbolic


def outcome_in(mode: FakeTensorMode, op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any]) -> Outcome:
    """The outcome of an overload on new fake versions of real arguments in a mode; raises whatever its fake path raises."""
    memo: dict[int, Any] = {}
    f_args = [_fake(a, mode, memo) for a in args]
    f_kwargs = {name: _fake(v, mode, memo) for name, v in kwargs.items()}
    with mode:
        return Outcome(f_args, f_kwargs, op(*f_args, **f_kwargs))


class _Mode(FakeTensorMode):
    """A fake mode that bypasses its cache for the overload under test and for overloads that write to their arguments.

    Distinct calls never hit each other's entries, and an entry costs as much as the outcome. An entry holds what a call returned
    but not, for example, that it resized an out= tensor, so a hit would leave that tensor as it was.
    """

    def __init__(self, op: torch._ops.OpOverload, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._uncached = op

    def _cached_dispatch_impl(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is self._uncached or (isinstance(func, torch._ops.OpOverload) and func._schema.is_mutable):
            return self._dispatch_impl(func, types, args, kwargs)
        return super()._cached_dispatch_impl(func, types, args, kwargs)


def unwrapped(value: Any) -> Any:
    """Replaces every functional tensor in a value by the tensor that it wraps."""
    if isinstance(value, torch.Tensor):
        return torch._from_functional_tensor(value) if torch._is_functional_tensor(value) else value
    if isinstance(value, list | tuple):
        return type(value)(unwrapped(v) for v in value)
    return value


def _fake(value: Any, mode: FakeTensorMode, memo: dict[int, Any]) -> Any:
    """Replaces every tensor in a value by a fake one; equal tensors and shared storages stay equal and shared."""
    if isinstance(value, torch.Tensor):
        cached = memo.get(id(value))
        if cached is None:
            cached = memo[id(value)] = _fake_tensor(value, mode, memo)
        return cached
    if isinstance(value, list | tuple):
        return type(value)(_fake(v, mode, memo) for v in value)
    if isinstance(value, torch.UntypedStorage):
        return _meta_storage(value, memo)
    return value


def _fake_tensor(real: torch.Tensor, mode: FakeTensorMode, memo: dict[int, Any]) -> FakeTensor:
    if real.layout is torch.sparse_coo:
        # from_tensor does not keep the number of elements of a sparse tensor, and every prediction would be wrong for that alone.
        # A memo of their own: parts are new objects each time, and the memo goes by id.
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
    """Meta tensor of a strided tensor."""
    storage = _meta_storage(real.untyped_storage(), memo)
    return on_storage(storage, real.dtype, real.storage_offset(), real.shape, real.stride())


def _meta_storage(storage: torch.UntypedStorage, memo: dict[int, Any]) -> torch.UntypedStorage:
    key = -storage._cdata  # the memo holds tensors by id, storages by their negated address
    cached = memo.get(key)
    if cached is None:
        cached = memo[key] = torch.UntypedStorage(storage.nbytes(), device="meta")
    return cached
