"""The fake cache: what a fake mode answers from torch's dispatch cache, compared with what it says without it.

A fake mode keeps the metadata of what an operator returned, but not what the operator did to its arguments, and answers the next
call with equal arguments from that. Upstream's own check, ``torch._dynamo.config.fake_tensor_cache_crosscheck_enabled``, compares
the metadata of what is returned, and neither aliasing nor arguments.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._pytree import tree_map_only

from sweep.calls.tensors import is_strided, on_storage
from sweep.crossref.common.comparison import Outcome, compare, describe, storage_of
from sweep.crossref.common.fake_modes import outcome_in
from sweep.crossref.common.protocol import DoesNotApply
from sweep.crossref.common.refusals import prediction_ending
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import WHOLE, Mismatch, Place
from sweep.findings.kind import Difference

#: The names of the predicted and the actual side.
CACHED, UNCACHED = "cached", "uncached"

#: What a mode without a ``ShapeEnv`` raises where an output depends on data.
_DATA_DEPENDENT = (DynamicOutputShapeException, DataDependentOutputException)


class _Way(enum.Enum):
    """How a mode is asked: as it is, only for what the cache holds, or ignoring what it holds of the overload itself."""

    AS_IT_IS = enum.auto()
    ONLY_CACHED = enum.auto()
    IGNORING_OWN = enum.auto()


class _NotCached(BaseException):
    """The cache does not hold the answer; no ``Exception``, which torch might handle."""


@dataclass(frozen=True)
class Uncached:
    """What a fake mode said about a call without looking up the overload itself.

    Attributes:
        args: positional arguments, of which fake versions were made.
        kwargs: keyword arguments, likewise.
        outcome: the outcome, or what was raised.
        is_pure: whether none of the operators that the fake impl calls was found in the cache, either.
    """

    args: Any
    kwargs: dict[str, Any]
    outcome: Outcome | BaseException
    is_pure: bool


@dataclass(frozen=True)
class _Answer:
    """What a mode with a cache answered to one call, and how it came by that.

    Attributes:
        outcome: the outcome, or what was raised.
        is_looked_up: whether the overload itself was looked up, rather than only what it is decomposed into.
        is_hit: whether it was found.
        has_parts: whether operators that its fake impl calls were looked up.
        has_part_hits: whether one of them was found.
        bypasses: torch's reasons for not caching what was looked up.
    """

    outcome: Outcome | BaseException
    is_looked_up: bool
    is_hit: bool
    has_parts: bool
    has_part_hits: bool
    bypasses: tuple[str, ...]


class FakeCache:
    """torch's fake cache, asked about one call at a time, with nothing else in it.

    Args:
        op: the overload.
        prediction: context manager to be entered around a fake call; takes the label of the side.
    """

    def __init__(self, op: torch._ops.OpOverload, prediction: Callable[[str], AbstractContextManager[None]]) -> None:
        self._op, self._prediction = op, prediction
        self._cached = _CachedMode(op)
        self._uncached = FakeTensorMode()
        self._uncached.cache_enabled = False
        self._verdicts: dict[Hashable, list[Mismatch] | DoesNotApply] = {}
        self._never: DoesNotApply | None = None

    def hit(self, args: Any, kwargs: dict[str, Any]) -> Outcome:
        """What the second of two equal calls returns; raises whatever it raises.

        Raises:
            DoesNotApply: torch does not cache the call.
        """
        self._first(args, kwargs)
        outcome = self._second(args, kwargs).outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def mismatches_of_structure(self, call: Uncached) -> list[Mismatch]:
        """Lists the mismatches of the first call with the same structure, which are those of all of them.

        Raises:
            DoesNotApply: as :meth:`mismatches`.
        """
        if self._never is not None:
            raise DoesNotApply(str(self._never))
        key = structure(self._op, call)
        verdict = self._verdicts.get(key)
        if verdict is None:
            try:
                verdict = self.mismatches(call)
            except DoesNotApply as reason:
                verdict = reason
            self._verdicts[key] = verdict
        if isinstance(verdict, DoesNotApply):
            raise DoesNotApply(str(verdict))
        return verdict

    def mismatches(self, call: Uncached) -> list[Mismatch]:
        """Lists the differences between what a fake mode says about a call with a cache and without.

        Raises:
            DoesNotApply: torch does not cache the call.
        """
        args, kwargs, uncached = call.args, call.kwargs, call.outcome
        first = self._first(args, kwargs)
        if not call.is_pure:  # a miss is an uncached computation
            uncached = self._outcome(self._uncached, UNCACHED, args, kwargs) if first.has_part_hits else first.outcome
        found = self._differences(first.outcome, uncached)
        if found:
            return found
        for answer in self._later(first, args, kwargs):
            found = found or self._differences(answer.outcome, uncached)
        return found

    def _later(self, first: _Answer, args: Any, kwargs: dict[str, Any]) -> Iterator[_Answer]:
        """The answers to a call after an equal one; to one whose parts alone are known; and after one whose key alone is equal.

        The parts of a call are known from another one: ``view(x, [-1, 8])`` from ``view(x, [0, 8])``, or from any operator that
        calls ``prims.as_strided`` alike. The key says nothing of which arguments share memory.

        Raises:
            DoesNotApply: torch does not cache the call.
        """
        if not isinstance(first.outcome, BaseException):  # which torch does not cache
            second = self._second(args, kwargs)
            yield second
            if second.is_hit and first.has_parts:
                yield self._ask(_Way.IGNORING_OWN, args, kwargs)
        if _share_memory(args, kwargs):
            self._cached.forget()
            self._ask(_Way.AS_IT_IS, *_apart(args, kwargs))
            answer = self._ask(_Way.ONLY_CACHED, args, kwargs)
            if not isinstance(answer.outcome, _NotCached):
                yield answer

    def _first(self, args: Any, kwargs: dict[str, Any]) -> _Answer:
        """The answer with an empty cache.

        Raises:
            DoesNotApply: torch does not look the call up, or does not cache what depends on data.
        """
        self._cached.forget()
        first = self._ask(_Way.AS_IT_IS, args, kwargs)
        if isinstance(first.outcome, _DATA_DEPENDENT):
            raise DoesNotApply("torch does not cache what depends on data")
        if not first.is_looked_up:
            never = DoesNotApply("torch looks up what it decomposes into" if first.has_parts else "torch does not look it up")
            if torch._C._dispatch_has_kernel_for_dispatch_key(self._op._name, "CompositeImplicitAutograd"):
                self._never = never
            raise never
        return first

    def _second(self, args: Any, kwargs: dict[str, Any]) -> _Answer:
        """The answer to the same call again.

        Raises:
            DoesNotApply: torch would compute it again.
        """
        second = self._ask(_Way.ONLY_CACHED, args, kwargs)
        if isinstance(second.outcome, _NotCached):
            raise DoesNotApply(f"torch does not cache it: {', '.join(second.bypasses) or 'its key does not equal itself'}")
        return second

    def _ask(self, way: _Way, args: Any, kwargs: dict[str, Any]) -> _Answer:
        mode = self._cached
        with mode.asked(way):
            outcome = self._outcome(mode, CACHED, args, kwargs)
        return _Answer(
            outcome,
            mode.lookups > 0,
            mode.lookups > mode.computations,
            mode.part_lookups > 0,
            mode.part_lookups > mode.part_computations,
            tuple(sorted(mode.bypasses)),
        )

    def _outcome(self, mode: FakeTensorMode, side: str, args: Any, kwargs: dict[str, Any]) -> Outcome | BaseException:
        try:
            with self._prediction(side):
                return outcome_in(mode, self._op, args, kwargs)
        except ProcessUnusableError:
            raise
        except BaseException as error:  # its class is compared
            return error.with_traceback(None)  # its frames would keep every tensor in them alive

    def _differences(self, cached: Outcome | BaseException, uncached: Outcome | BaseException) -> list[Mismatch]:
        if cached is uncached:
            return []
        if isinstance(cached, BaseException):
            if type(cached) is type(uncached):
                return []
            text = type(uncached).__name__ if isinstance(uncached, BaseException) else describe(uncached.result)
            return [Mismatch(WHOLE, prediction_ending(CACHED, cached), None, type(cached).__name__, text)]
        if isinstance(uncached, BaseException):
            ending = prediction_ending(UNCACHED, uncached)
            return [Mismatch(WHOLE, ending, None, describe(cached.result), type(uncached).__name__)]
        return compare(self._op, cached, uncached, whole=True) + _sharing_mismatches(cached.result, uncached.result)


class _CachedMode(FakeTensorMode):
    """A fake mode with a cache of its own, which counts what is looked up there.

    Attributes:
        lookups: how often the overload was looked up in the last call.
        computations: how often it was computed there.
        part_lookups: how often other overloads were looked up there.
        part_computations: how often they were computed there.
        bypasses: torch's reasons for not caching something there, each with how often.
    """

    def __init__(self, op: torch._ops.OpOverload) -> None:
        super().__init__()
        self.cache_enabled, self.cache_crosscheck_enabled = True, False  # whatever torch's configuration says
        self._op = op
        self._entries: dict[Any, Any] = {}
        self._way = _Way.AS_IT_IS
        self._reset()

    def _reset(self) -> None:
        self.lookups = self.computations = self.part_lookups = self.part_computations = 0
        self.bypasses: defaultdict[str, int] = defaultdict(int)

    def forget(self) -> None:
        """Empties the cache."""
        self._entries.clear()

    @contextmanager
    def asked(self, way: _Way) -> Iterator[None]:
        """Context of one call. The cache and its counters are class attributes, so they are replaced there."""
        self._reset()
        self._way = way
        kept = FakeTensorMode.cache, FakeTensorMode.cache_bypasses
        FakeTensorMode.cache, FakeTensorMode.cache_bypasses = self._entries, self.bypasses
        try:
            yield
        finally:
            FakeTensorMode.cache, FakeTensorMode.cache_bypasses = kept

    def _cached_dispatch_impl(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is not self._op:
            self.part_lookups += 1
        else:
            self.lookups += 1
            if self._way is _Way.IGNORING_OWN:
                return self._dispatch_impl(func, types, args, kwargs)
        return super()._cached_dispatch_impl(func, types, args, kwargs)

    def _dispatch_impl(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is not self._op:
            self.part_computations += 1
        else:
            self.computations += 1
            if self._way is _Way.ONLY_CACHED:
                raise _NotCached
        return super()._dispatch_impl(func, types, args, kwargs)


def _share_memory(args: Any, kwargs: dict[str, Any]) -> bool:
    storages = [storage for _, _, storage in Outcome(args, kwargs, None).inputs if storage is not None]
    return len(set(storages)) < len(storages)


def _apart(args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Arguments with the same metadata, each tensor on a storage of its own."""

    def alone(tensor: torch.Tensor) -> torch.Tensor:
        if not is_strided(tensor) or tensor.is_conj() or tensor.is_neg():
            return tensor
        storage = torch.UntypedStorage(tensor.untyped_storage().nbytes(), device=tensor.device)
        return on_storage(storage, tensor.dtype, tensor.storage_offset(), tensor.shape, tensor.stride())

    apart: tuple[Any, dict[str, Any]] = tree_map_only(torch.Tensor, alone, (args, kwargs))
    return apart


def _sharing_mismatches(cached: Any, uncached: Any) -> list[Mismatch]:
    """The outputs that share their storage with an earlier output on one side alone."""
    sides = [_sharing(result) for result in (cached, uncached)]
    if len(sides[0]) != len(sides[1]):
        return []
    texts = [[f"shares the storage of output {first}" if first < at else "new storage" for at, first in side] for side in sides]
    return [
        Mismatch(Place(output=at), Difference.ALIASING, None, *pair)
        for (at, _), *pair in zip(sides[0], *texts, strict=True)
        if pair[0] != pair[1]
    ]


def _sharing(result: Any) -> list[tuple[int, int]]:
    """The position of every tensor in a tuple, and of the first one on the same storage."""
    if not isinstance(result, tuple):
        return []
    first: dict[int, int] = {}
    storages = [(at, storage_of(value)) for at, value in enumerate(result) if isinstance(value, torch.Tensor)]
    return [(at, at if storage is None else first.setdefault(storage, at)) for at, storage in storages]


# --- the structure of a call -------------------------------------------------------------------------------------------


def structure(op: torch._ops.OpOverload, call: Uncached) -> Hashable:
    """Hashable that is equal for calls of an overload with which the cache deals alike.

    An entry says of each output whether it is an argument, a view of one, or new, and its metadata. So it counts of which types
    the arguments are and which of them share memory, what the call changed in those that it writes to, and of each output what it
    shares memory with and whether it is empty, begins inside of its storage, or depends on data. Numbers and dtypes do not count.
    """
    args, kwargs, outcome = call.args, call.kwargs, call.outcome
    seen: dict[int, int] = {}
    given = tuple([_argument(value, seen) for value in args]), tuple([(n, _argument(kwargs[n], seen)) for n in sorted(kwargs)])
    if isinstance(outcome, BaseException):
        return given, type(outcome)
    changed: Hashable = ()
    if op._schema.is_mutable:
        after = Outcome(outcome.args, outcome.kwargs, None)
        differences = compare(op, after, Outcome(args, kwargs, None))  # sizes of `after` that depend on data equal any other
        changed = frozenset([(mismatch.place, mismatch.kind, mismatch.index) for mismatch in differences])
    seen = {}
    for _, tensor, _ in outcome.inputs:
        _positions(tensor, seen)
    result = outcome.result
    return given, changed, tuple([_output(v, seen) for v in result]) if isinstance(result, tuple) else _output(result, seen)


def _argument(value: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(value, torch.Tensor):
        return _positions(value, seen)
    if isinstance(value, list | tuple):
        return type(value), frozenset([_argument(v, seen) for v in value])
    return (type(value),)


def _output(value: Any, seen: dict[int, int]) -> Hashable:
    if isinstance(value, torch.Tensor):
        if not is_strided(value):
            return value.layout, value.is_nested
        if value._has_symbolic_sizes_strides:
            return torch.SymInt
        return 0 in value.shape, value.storage_offset() != 0, value.is_conj(), value.is_neg(), _positions(value, seen)
    if isinstance(value, list | tuple):
        return type(value), frozenset([_output(v, seen) for v in value])
    return (type(value),)


def _positions(tensor: torch.Tensor, seen: dict[int, int]) -> tuple[int | None, int | None]:
    """The positions of a tensor and of the first one on its storage among those before; ``None`` for what was not there.

    Args:
        tensor: the tensor.
        seen: those before: by the id of a tensor, and by the negated address of a storage.
    """
    storage = storage_of(tensor)
    positions = seen.get(id(tensor)), None if storage is None else seen.get(-storage)
    at = len(seen)
    seen.setdefault(id(tensor), at)
    if storage is not None:
        seen.setdefault(-storage, at)
    return positions
