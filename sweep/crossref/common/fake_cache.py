"""The fake cache: what a fake mode answers from torch's dispatch cache, compared with what it says without it.

A fake mode keeps the metadata of what an operator returned, but not what the operator did to its arguments, and answers the next
call with the same metadata from that. Upstream has ``torch._dynamo.config.fake_tensor_cache_crosscheck_enabled``, which compares
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

from sweep.calls.tensors import is_strided
from sweep.crossref.common.comparison import Outcome, compare, describe, storage_of
from sweep.crossref.common.fake_modes import outcome_in
from sweep.crossref.common.protocol import DoesNotApply
from sweep.crossref.common.refusals import prediction_ending
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import WHOLE, Mismatch, Place
from sweep.findings.kind import Difference

#: Names of the predicted and the actual side.
LABELS = CACHED, UNCACHED = "cached", "uncached"

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
    """torch's fake cache, with the calls of one overload and nothing else in it.

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
        self._cached.forget()
        self._first(args, kwargs)
        outcome = self._second(args, kwargs).outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def mismatches(
        self, args: Any, kwargs: dict[str, Any], uncached: Outcome | BaseException, *, is_pure: bool
    ) -> list[Mismatch]:
        """Lists the differences between what the mode says with its cache and without, of the first call with the same structure.

        The cache holds what calls before this one have left there.

        Args:
            args: positional arguments, of which fake versions are made.
            kwargs: keyword arguments, likewise.
            uncached: what a mode says that does not look up the overload itself.
            is_pure: whether none of the operators that the fake impl calls was found in a cache, either.

        Raises:
            DoesNotApply: torch does not cache the call.
        """
        if self._never is not None:
            raise DoesNotApply(str(self._never))
        key = structure(self._op, args, kwargs, uncached)
        verdict = self._verdicts.get(key)
        if verdict is None:
            try:
                verdict = self._compared(args, kwargs, uncached if is_pure else None)
            except DoesNotApply as reason:
                verdict = reason
            self._verdicts[key] = verdict
        if isinstance(verdict, DoesNotApply):
            raise DoesNotApply(str(verdict))
        return verdict

    def mismatches_alone(
        self, args: Any, kwargs: dict[str, Any], uncached: Outcome | BaseException, *, is_pure: bool
    ) -> list[Mismatch]:
        """As :meth:`mismatches`, with an empty cache, and of this very call."""
        self._cached.forget()
        return self._compared(args, kwargs, uncached if is_pure else None)

    def _compared(self, args: Any, kwargs: dict[str, Any], uncached: Outcome | BaseException | None) -> list[Mismatch]:
        """Compares the answers to equal calls: a miss, a hit, and a miss whose parts hit.

        The last one is the answer to another call with the same parts: ``view(x, [-1, 8])`` after ``view(x, [0, 8])``, or after
        another operator that calls ``prims.as_strided`` alike.
        """
        first = self._first(args, kwargs)
        if uncached is None:  # a miss is the uncached computation
            is_pure = not first.is_hit and not first.has_part_hits
            uncached = first.outcome if is_pure else self._outcome(self._uncached, UNCACHED, args, kwargs)
        found = self._differences(first.outcome, uncached)
        if isinstance(first.outcome, BaseException):  # of which torch keeps nothing
            return found
        try:
            second = self._second(args, kwargs)
        except DoesNotApply:
            if found:
                return found
            raise
        found = found or self._differences(second.outcome, uncached)
        if not found and second.is_hit and (first.has_parts or first.is_hit):
            third = self._ask(_Way.IGNORING_OWN, args, kwargs)
            found = self._differences(third.outcome, uncached)
        return found

    def _first(self, args: Any, kwargs: dict[str, Any]) -> _Answer:
        """The answer to the first of equal calls: a miss, unless the key of another call is equal.

        Raises:
            DoesNotApply: torch does not look it up, or does not cache what depends on data.
        """
        self._cached.forget_parts()
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
        """The answer to the second of equal calls: a hit.

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
        self._part_entries: dict[Any, Any] = {}
        self._way = _Way.AS_IT_IS
        self._reset()

    def _reset(self) -> None:
        self.lookups = self.computations = self.part_lookups = self.part_computations = 0
        self.bypasses: defaultdict[str, int] = defaultdict(int)

    def forget(self) -> None:
        """Empties the cache."""
        self._entries.clear()
        self.forget_parts()

    def forget_parts(self) -> None:
        """Empties the cache except for entries of the overload itself."""
        self._part_entries.clear()

    @contextmanager
    def asked(self, way: _Way) -> Iterator[None]:
        """Context of one call. The cache and its counters are class attributes, so they are replaced there."""
        self._reset()
        self._way = way
        kept = FakeTensorMode.cache, FakeTensorMode.cache_bypasses
        FakeTensorMode.cache_bypasses = self.bypasses
        try:
            yield
        finally:
            FakeTensorMode.cache, FakeTensorMode.cache_bypasses = kept

    def _cached_dispatch_impl(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is not self._op:
            self.part_lookups += 1
            FakeTensorMode.cache = self._part_entries
            return super()._cached_dispatch_impl(func, types, args, kwargs)
        self.lookups += 1
        if self._way is _Way.IGNORING_OWN:
            return self._dispatch_impl(func, types, args, kwargs)
        FakeTensorMode.cache = self._entries
        return super()._cached_dispatch_impl(func, types, args, kwargs)

    def _dispatch_impl(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is not self._op:
            self.part_computations += 1
        else:
            self.computations += 1
            if self._way is _Way.ONLY_CACHED:
                raise _NotCached
        return super()._dispatch_impl(func, types, args, kwargs)


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


def structure(op: torch._ops.OpOverload, args: Any, kwargs: dict[str, Any], uncached: Outcome | BaseException) -> Hashable:
    """Hashable that is equal for calls of an overload with which the cache deals alike.

    An entry says of each output whether it is an argument, a view of one, or new, and its metadata. So it counts of which types
    the arguments are and which of them share memory; what the call changed in those that it writes to; and of each output what
    it shares memory with, and whether it is empty, begins inside of its storage, or depends on data. Dtypes and numbers do not
    count.

    Args:
        op: the overload.
        args: positional arguments as they were before the call.
        kwargs: keyword arguments, likewise.
        uncached: the outcome of the call.
    """
    seen: dict[int, int] = {}
    given = tuple([_argument(value, seen) for value in args]), tuple([(n, _argument(kwargs[n], seen)) for n in sorted(kwargs)])
    if isinstance(uncached, BaseException):
        return given, type(uncached)
    changed: Hashable = ()
    if op._schema.is_mutable:
        differences = compare(op, Outcome(args, kwargs, None), Outcome(uncached.args, uncached.kwargs, None))
        changed = frozenset([(mismatch.place, mismatch.kind, mismatch.index) for mismatch in differences])
    seen = {}
    for _, tensor, _ in uncached.inputs:
        _positions(tensor, seen)
    result = uncached.result
    return given, changed, tuple([_output(v, seen) for v in result]) if isinstance(result, tuple) else _output(result, seen)


def _argument(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, torch.Tensor):
        return _positions(value, seen)
    if isinstance(value, list | tuple):
        return type(value), frozenset([_argument(v, seen) for v in value])
    return type(value)


def _output(value: Any, seen: dict[int, int]) -> Any:
    if isinstance(value, torch.Tensor):
        if not is_strided(value):
            return value.layout, value.is_nested
        if value._has_symbolic_sizes_strides:
            return torch.SymInt
        return 0 in value.shape, value.storage_offset() != 0, value.is_conj(), value.is_neg(), _positions(value, seen)
    if isinstance(value, list | tuple):
        return type(value), frozenset([_output(v, seen) for v in value])
    return type(value)


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
