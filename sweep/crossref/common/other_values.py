"""The same call with other values in its tensors, to see whether what an operator does depends on the values or the metadata.

A prediction sees metadata alone, so what is refused for its values is nothing that it could have predicted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from sweep.calls.recipes import was_built
from sweep.calls.redzones import WritesOutside, protected
from sweep.calls.tensors import as_fillable, is_strided, parts_of
from sweep.crossref.common.protocol import Arguments, PreparedCall
from sweep.crossref.common.snapshot import Snapshot

#: Number of tensors whose fills are combined with each other.
_COMBINED = 3


def _identity(tensor: torch.Tensor) -> None:
    tensor.zero_()
    if tensor.dim() >= 2:
        tensor.diagonal(dim1=-2, dim2=-1).fill_(1)


def _ascending(tensor: torch.Tensor) -> None:
    tensor.copy_(torch.arange(tensor.numel(), device=tensor.device).reshape(tensor.shape))


def _ascending_rows(tensor: torch.Tensor) -> None:
    if tensor.dim():
        tensor.copy_(torch.arange(tensor.shape[-1], device=tensor.device).expand(tensor.shape))


#: What tensors are filled with: indices and counts that are in range, probabilities, lengths and offsets in order, and matrices
#: that are positive definite.
_FILLS: tuple[Callable[[torch.Tensor], Any], ...] = (
    lambda tensor: tensor.zero_(),
    lambda tensor: tensor.fill_(1),
    lambda tensor: tensor.fill_(2),
    lambda tensor: tensor.fill_(4 if tensor.dtype is not torch.bool else 1),
    lambda tensor: tensor.fill_(0.5 if tensor.is_floating_point() else 1),
    lambda tensor: tensor.fill_(float("inf") if tensor.is_floating_point() else 1),
    lambda tensor: tensor.fill_(100 if tensor.dtype is not torch.bool else 0),
    _identity,
    _ascending,
    _ascending_rows,
)


def is_accepted_with_others(call: PreparedCall) -> bool:
    """Whether an operator accepts a call that it refuses once some of its tensors hold other values.

    Tried are a few fills of all tensors, of the integers and bools alone, of the floating-point numbers alone, of each tensor
    alone, and of the first few integer tensors in every combination. Of tensors that are not strided the values are replaced, and
    never the indices, by which kernels find them without a check. The calls are made on protected copies, for no value is safe
    for every kernel.
    """
    if isinstance(call.refusal, NotImplementedError):  # no kernel for a dtype or layout
        return False
    if isinstance(call.refusal, torch.linalg.LinAlgError):  # by definition; an expanded matrix may have no values that are right
        return True
    if any(map(was_built, tree_leaves(call.arguments()))):  # packed weights hold addresses
        return False
    tensors = _fillable(call.arguments())
    return bool(tensors) and any(_is_accepted(call, fills) for fills in _plans(tensors))


def is_changed_with_others(call: PreparedCall, argument: str) -> bool:
    """Whether a call writes to an argument once some of its tensors hold other values, as in :func:`is_accepted_with_others`.

    Args:
        call: the call.
        argument: position or keyword of the argument.
    """
    arguments = call.arguments()
    if any(map(was_built, tree_leaves(arguments))):
        return False
    return any(argument in _changed(call, fills) for fills in _plans(_fillable(arguments)))


#: What a few integer tensors are filled with in every combination.
_COMBINED_FILLS = (_FILLS[0], _FILLS[1], _ascending)

#: What to fill each tensor of a call with; ``None`` leaves it as it is.
_Fills = Sequence[Callable[[torch.Tensor], Any] | None]


def _plans(tensors: Sequence[torch.Tensor]) -> Iterator[_Fills]:
    """What to fill each of some tensors with; ``None`` leaves it as it is."""
    is_number = [tensor.is_floating_point() or tensor.is_complex() for tensor in tensors]
    for fill in _FILLS:
        yield [fill] * len(tensors)
        if any(is_number) and not all(is_number):
            yield [None if number else fill for number in is_number]
            yield [fill if number else None for number in is_number]
        if len(tensors) > 1:
            for chosen in range(min(len(tensors), 2 * _COMBINED)):
                yield [fill if at == chosen else None for at in range(len(tensors))]
    integers = [at for at, number in enumerate(is_number) if not number][:_COMBINED]
    if len(integers) > 1:
        for combination in itertools.product(_COMBINED_FILLS, repeat=len(integers)):
            of = dict(zip(integers, combination, strict=True))
            yield [of.get(at) for at in range(len(tensors))]


def _is_accepted(call: PreparedCall, fills: _Fills) -> bool:
    try:
        with _filled(call, fills) as (args, kwargs):
            call.op(*args, **kwargs)
    except WritesOutside:
        return True  # accepted, and worse
    except BaseException:  # refused again, or a value that the dtype cannot hold; SystemExit too, as in the real call
        return False
    return True


def _changed(call: PreparedCall, fills: _Fills) -> list[str]:
    """The arguments that a call with other values changes; none if it is refused."""
    try:
        with _filled(call, fills) as (args, kwargs):
            before = Snapshot(args, kwargs)
            call.op(*args, **kwargs)
            return before.changed()
    except BaseException:  # refused, a value that the dtype cannot hold, or a write outside of its tensors
        return []


@contextmanager
def _filled(call: PreparedCall, fills: _Fills) -> Iterator[Arguments]:
    """Protected copies of the arguments of a call with other values."""
    with protected(call.arguments()) as arguments, torch.no_grad():
        args, kwargs = _own(arguments)
        for tensor, fill in zip(_fillable((args, kwargs)), fills, strict=True):
            if fill is not None:
                fill(tensor)
        yield args, kwargs


def _own(arguments: Any) -> Arguments:
    """Arguments whose tensors that are not strided, which have no protected copies, are copies too."""
    leaves, structure = tree_flatten(arguments)
    own = [leaf.clone() if isinstance(leaf, torch.Tensor) and not is_strided(leaf) else leaf for leaf in leaves]
    args, kwargs = tree_unflatten(own, structure)
    return args, kwargs


def _fillable(arguments: Any) -> list[torch.Tensor]:
    """The strided tensors of a call that hold values, those that other tensors consist of included."""
    tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, torch.Tensor)]
    strided = [part for tensor in tensors for part in ([tensor] if is_strided(tensor) else _values(tensor))]
    return [as_fillable(tensor.detach()) for tensor in strided if tensor.numel()]


def _values(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The part of a tensor that is not strided which holds its values and shares its memory, if there is one."""
    if tensor.is_quantized or tensor.is_mkldnn:
        return []
    return [part for name, part in parts_of(tensor).items() if name in ("values", "buffer")]
