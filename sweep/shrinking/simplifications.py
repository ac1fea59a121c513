"""The simplifications of a call that are tried, in order: each takes a draft and proposes edits of it.

An edit may make a call that no kernel accepts; whether the call still shows what it is to show is found out by evaluating it. No
edit empties a tensor: an empty one often takes a path of its own, and would be an example of something else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from sweep.operators.schema import by_name
from sweep.shrinking.draft import SIMPLEST_DTYPE, Draft, is_default, storage_of
from sweep.shrinking.layout import contiguous, cut, is_copyable, is_resizable, is_simple, with_values, without

#: Makes a simpler draft; may raise whatever torch raises where that is impossible.
Edit = Callable[[], Draft]

#: Proposes edits, those that gain most first.
Simplification = Callable[[Draft], Iterator[Edit]]

#: Names of arguments that are dimensions.
_DIMENSIONS = frozenset({"dim", "dims", "dim0", "dim1", "dim2", "axis", "axes", "axis0", "axis1"})

#: Lengths that dimensions are cut to.
_LENGTHS = (1, 2)


# --- lists of tensors ----------------------------------------------------------------------------------------------------


def _shortest_lists(draft: Draft) -> Iterator[Edit]:
    """Every list of tensors keeps its first item."""
    lists = _tensor_lists(draft)
    if any(len(items) > 1 for items in lists.values()):
        yield partial(_keeping, draft, lists, lambda items: items[:1])


def _shorter_lists(draft: Draft) -> Iterator[Edit]:
    """One item less, of all lists that are as long, or of one of them."""
    lists = _tensor_lists(draft)
    for name, items in lists.items():
        for at in reversed(range(len(items) if len(items) > 1 else 0)):
            alike = [other for other, others in lists.items() if len(others) == len(items)]
            for names in (alike, [name]) if len(alike) > 1 else (alike,):
                chosen = {other: lists[other] for other in names}
                yield partial(_keeping, draft, chosen, partial(_dropped, at))


def _dropped(at: int, items: Any) -> Any:
    return items[:at] + items[at + 1 :]


def _tensor_lists(draft: Draft) -> dict[str, Any]:
    passed = by_name(draft.op, draft.args, draft.kwargs)
    return {name: value for name, value in passed.items() if _is_tensor_list(value)}


def _is_tensor_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(item, torch.Tensor) for item in value)


def _keeping(draft: Draft, lists: Mapping[str, Any], keep: Callable[[Any], Any]) -> Draft:
    """The draft with some items of some lists of tensors, and of the lists of numbers that are as long."""
    lengths = {len(items) for items in lists.values()}

    def change(name: str, value: Any) -> Any:
        is_numbers = isinstance(value, list | tuple) and not _is_tensor_list(value) and len(value) in lengths
        return keep(value) if name in lists or is_numbers else value

    return draft.with_arguments(change)


# --- sizes ---------------------------------------------------------------------------------------------------------------


def _shortest_dimensions(draft: Draft) -> Iterator[Edit]:
    """Every dimension is cut to one length, together with the numbers that are as large, or larger, or none."""
    sizes = _sizes(draft)
    for length in _LENGTHS:
        if max(sizes, default=0) <= length:
            continue
        at_most = partial(min, length)
        yield partial(_cut, draft, at_most, at_most)
        yield partial(_cut, draft, at_most, partial(_replaced, sizes, length))
        yield partial(_cut, draft, at_most, _same)


def _shorter_dimensions(draft: Draft) -> Iterator[Edit]:
    """All dimensions of one length are cut, with or without the numbers equal to it; those of an only tensor one by one."""
    for old in sorted(_sizes(draft), reverse=True):
        for length in dict.fromkeys((*_LENGTHS, old - 1)):
            if 0 < length < old:
                change = partial(_replaced, {old}, length)
                yield partial(_cut, draft, change, change)
                yield partial(_cut, draft, change, _same)
    for tensor in _only(draft):
        for dim, old in enumerate(tensor.shape):
            for length in _LENGTHS:
                if length < old:
                    size = [length if other == dim else n for other, n in enumerate(tensor.shape)]
                    yield partial(_with_tensor, draft, tensor, partial(cut, size=size))


def _only(draft: Draft) -> list[torch.Tensor]:
    """The tensor that can be changed by itself: the only one.

    Sizes of several tensors go together in ways that only the kernel knows. One that does not check them leaves their memory, and
    what it then returns is chance.
    """
    tensors = [tensor for tensor in draft.tensors() if is_resizable(tensor)]
    return tensors if len(tensors) == 1 else []


def _sizes(draft: Draft) -> set[int]:
    return {n for tensor in draft.tensors() if is_resizable(tensor) for n in tensor.shape if n > 1}


def _same(number: int) -> int:
    return number


def _replaced(old: Collection[int], new: int, number: int) -> int:
    return min(new, number) if number in old else number


def _cut(draft: Draft, length: Callable[[int], int], number: Callable[[int], int]) -> Draft:
    """The draft with other lengths of dimensions and other integers, those that are dimensions excepted."""
    shared = draft.shared_storages()

    def smaller(tensor: torch.Tensor) -> torch.Tensor:
        size = [min(n, length(n)) for n in tensor.shape] if is_resizable(tensor) else []
        return cut(tensor, size, in_place=storage_of(tensor) in shared) if size != list(tensor.shape) and size else tensor

    def change(name: str, value: Any) -> Any:
        return value if name in _DIMENSIONS else _integers(value, number)

    return draft.with_tensors(smaller).with_arguments(change)


def _integers(value: Any, change: Callable[[int], int]) -> Any:
    """An integer, or list of integers, with each changed; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return change(value)
    if isinstance(value, list | tuple) and all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return [change(item) for item in value]
    return value


def _with_tensor(draft: Draft, chosen: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> Draft:
    return draft.with_tensors(lambda tensor: change(tensor) if tensor is chosen else tensor)


# --- numbers of dimensions -----------------------------------------------------------------------------------------------


def _fewest_dimensions(draft: Draft) -> Iterator[Edit]:
    """No dimension, or one, in all tensors; then one less in those that have most."""
    rank = _rank(draft)
    for left in (0, 1):
        if rank > left + 1:
            yield partial(_leaving, draft, left)
    if rank:
        yield partial(_without, draft, 0, rank)


def _fewer_dimensions(draft: Draft) -> Iterator[Edit]:
    """One dimension less in the tensors that have most, or in an only tensor."""
    rank = _rank(draft)
    for dim in reversed(range(1, rank)):
        yield partial(_without, draft, dim, rank)
    for tensor in _only(draft):
        for dim in range(tensor.dim()):
            yield partial(_with_tensor, draft, tensor, partial(without, dim=dim))


def _rank(draft: Draft) -> int:
    return max((tensor.dim() for tensor in draft.tensors() if is_resizable(tensor)), default=0)


def _leaving(draft: Draft, rank: int) -> Draft:
    """The draft with so many dimensions of each tensor, the last ones."""
    for most in range(_rank(draft), rank, -1):
        draft = _without(draft, 0, most)
    return draft


def _without(draft: Draft, dim: int, rank: int) -> Draft:
    """The draft without one dimension of all tensors of a rank; integers that stand for dimensions follow."""
    shared = draft.shared_storages()

    def smaller(tensor: torch.Tensor) -> torch.Tensor:
        is_chosen = is_resizable(tensor) and tensor.dim() == rank and tensor.shape[dim] > 0
        return without(tensor, dim, in_place=storage_of(tensor) in shared) if is_chosen else tensor

    def change(name: str, value: Any) -> Any:
        if name in _DIMENSIONS:
            return _integers(value, lambda number: number - 1 if number > dim else number)
        is_per_dimension = isinstance(value, list | tuple) and len(value) == rank and not _is_tensor_list(value)
        return [*value[:dim], *value[dim + 1 :]] if is_per_dimension else value

    return draft.with_tensors(smaller).with_arguments(change)


# --- memory formats, options, dtypes -------------------------------------------------------------------------------------


def _all_contiguous(draft: Draft) -> Iterator[Edit]:
    yield partial(draft.with_tensors, lambda tensor: contiguous(tensor) if is_copyable(tensor) else tensor)


def _contiguous(draft: Draft) -> Iterator[Edit]:
    shared = draft.shared_storages()
    for tensor in draft.tensors():
        if is_copyable(tensor) and (not is_simple(tensor) or storage_of(tensor) in shared):
            yield partial(_with_tensor, draft, tensor, contiguous)


def _all_defaults(draft: Draft) -> Iterator[Edit]:
    yield partial(_with_defaults, draft, frozenset(draft.options()))
    yield partial(_with_defaults, draft, frozenset())


def _defaults(draft: Draft) -> Iterator[Edit]:
    for name in draft.options():
        yield partial(_with_defaults, draft, {name})


def _with_defaults(draft: Draft, names: Collection[str]) -> Draft:
    """The draft with default values of some arguments, and without those that need not be passed."""
    schemas = {argument.name: argument for argument in draft.op._schema.arguments}
    draft = draft.with_arguments(lambda name, value: schemas[name].default_value if name in names else value)

    def is_needless(name: str, value: Any) -> bool:
        return schemas[name].has_default_value() and is_default(schemas[name], value)

    args = list(draft.args)
    for argument in reversed(draft.op._schema.arguments[: len(args)]):
        if not is_needless(argument.name, args[-1]):
            break
        args.pop()
    kwargs = {name: value for name, value in draft.kwargs.items() if not is_needless(name, value)}
    return replace(draft, args=tuple(args), kwargs=kwargs)


def _simplest_dtypes(draft: Draft) -> Iterator[Edit]:
    """The simplest dtype for all tensors, or for those of floating-point and complex numbers."""
    dtypes = _dtypes(draft)
    inexact = {dtype for dtype in dtypes if dtype.is_floating_point or dtype.is_complex}
    for chosen in dict.fromkeys((frozenset(dtypes), frozenset(inexact))):
        if chosen:
            yield partial(_retyped, draft, chosen)


def _simpler_dtypes(draft: Draft) -> Iterator[Edit]:
    for dtype in sorted(_dtypes(draft), key=str):
        yield partial(_retyped, draft, frozenset({dtype}))


def _dtypes(draft: Draft) -> set[torch.dtype]:
    return {tensor.dtype for tensor in filter(is_copyable, draft.tensors())} - {SIMPLEST_DTYPE}


def _retyped(draft: Draft, dtypes: Collection[torch.dtype]) -> Draft:
    """The draft with the simplest dtype for tensors of some dtypes, and where such a dtype is passed."""

    def simpler(tensor: torch.Tensor) -> torch.Tensor:
        is_chosen = is_copyable(tensor) and tensor.dtype in dtypes
        return with_values(tensor, tensor.to(SIMPLEST_DTYPE)) if is_chosen else tensor

    def change(name: str, value: Any) -> Any:
        return SIMPLEST_DTYPE if isinstance(value, torch.dtype) and value in dtypes else value

    return draft.with_tensors(simpler).with_arguments(change)


# --- values --------------------------------------------------------------------------------------------------------------


def _constants(draft: Draft) -> Iterator[Edit]:
    """Zeros, or ones, in all tensors."""
    for fill in ("zeros", "ones"):
        if fill != draft.fill:
            yield partial(replace, draft, fill=fill)


def _simpler_values(draft: Draft) -> Iterator[Edit]:
    """Recorded values without digits behind the point, and zeros or ones in one tensor."""
    if draft.fill == "exact":
        yield partial(draft.with_tensors, _rounded)
        for tensor in filter(is_copyable, draft.tensors()):
            for value in (0, 1):
                yield partial(_with_tensor, draft, tensor, partial(_filled, value=value))
    yield partial(draft.with_arguments, lambda name, value: float(round(value)) if isinstance(value, float) else value)


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    is_fraction = is_copyable(tensor) and tensor.is_floating_point()
    return with_values(tensor, tensor.double().round().to(tensor.dtype)) if is_fraction else tensor


def _filled(tensor: torch.Tensor, value: int) -> torch.Tensor:
    return with_values(tensor, torch.full_like(tensor, value, memory_format=torch.contiguous_format))


#: Every simplification. Those that change all of a call at once come first: one of them is worth many of the others.
TABLE: tuple[Simplification, ...] = (
    _shortest_lists,
    _shortest_dimensions,
    _fewest_dimensions,
    _all_contiguous,
    _all_defaults,
    _simplest_dtypes,
    _constants,
    _shorter_lists,
    _shorter_dimensions,
    _fewer_dimensions,
    _contiguous,
    _defaults,
    _simpler_dtypes,
    _simpler_values,
)
