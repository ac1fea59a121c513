"""Selection of the calls that a slow crossref compares: the first of an overload that has some aspect.

A call with symbolic sizes costs as much as a hundred real ones. Its outcome depends on its structure, hardly on its numbers, so
one call for each aspect stands for the others. The selection is made from recorded calls alone, without live arguments, and is
therefore the same in every process.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Sequence
from typing import Any

import torch

from sweep.calls.call import Call, Recorded, TensorData
from sweep.calls.tensors import is_contiguous
from sweep.calls.values import (
    TABLE,
    ComplexArgument,
    FloatArgument,
    IntArgument,
    StorageArgument,
    TensorArgument,
    tensor_positions,
)

#: Of calls with more tensors, which have them in lists, only the number of tensors is an aspect.
_FEW = 8

#: Argument types of which only the type counts.
_QUANTITIES = (TensorArgument, StorageArgument, FloatArgument, ComplexArgument)


def selected(calls: Sequence[Call]) -> frozenset[int]:
    """The positions of the calls to compare: not those that share each of their aspects with one that is selected before them.

    Calls without symbolic sizes are selected too: the crossref says why it does not apply to them.
    """
    seen: set[Hashable] = set()
    positions = set()
    for at, call in enumerate(calls):
        aspects = aspects_of(call) if call.recorded is Recorded.RETURNED and has_symbolic_sizes(call) else frozenset()
        if not aspects or not aspects <= seen:
            seen |= aspects
            positions.add(at)
    return frozenset(positions)


def has_symbolic_sizes(call: Call) -> bool:
    """Whether all tensors of a call are strided and one has a size other than 0 and 1, which are constants."""
    return not any("layout" in tensor for tensor in call.tensors) and any(
        size > 1 for tensor in call.tensors for size in tensor.get("size", ())
    )


def aspects_of(call: Call) -> frozenset[Hashable]:
    """The aspects of a call on strided tensors.

    They are the class of the arguments other than tensors; the classes of the dtypes; the ranks, and which tensors are empty or
    not contiguous; and which tensors share storages, begin inside of them, or have a conjugate or negative bit.
    """
    named = sorted(call.kwargs)
    others = tuple([_class_of(data) for data in call.args]), tuple([(name, _class_of(call.kwargs[name])) for name in named])
    in_order = itertools.chain.from_iterable(
        tensor_positions(data) for data in [*call.args, *map(call.kwargs.__getitem__, named)]
    )
    tensors = [call.tensors[position] for position in in_order]
    if len(tensors) > _FEW:
        return frozenset([("tensors", len(tensors))])
    dtypes = tuple([_class_of_dtype(tensor["dtype"]) for tensor in tensors])
    shapes = tuple([(len(t["size"]), 0 in t["size"], is_contiguous(t["size"], t["stride"])) for t in tensors])
    return frozenset([("others", others), ("dtypes", dtypes), ("shapes", shapes), ("views", _views(tensors))])


def _views(tensors: Sequence[TensorData]) -> Hashable:
    """Of each tensor, the first one on its storage, whether it begins there, and its conjugate and negative bits."""
    storages = [tensor["storage"] for tensor in tensors]
    return tuple([(storages.index(t["storage"]), t["offset"] > 0, "conj" in t, "neg" in t) for t in tensors])


def _class_of(data: Any) -> Hashable:
    """The class of an argument from its JSON form: an option's value, an integer's sign, the type of any other quantity."""
    entry, inner = TABLE.entry_of(data)
    if isinstance(entry, IntArgument):
        return (inner > 0) - (inner < 0)
    children = tuple(map(_class_of, entry.children(inner)))
    return (entry.tag, children) if children or isinstance(entry, _QUANTITIES) else (entry.tag, json.dumps(inner))


def _class_of_dtype(name: str) -> Hashable:
    dtype = getattr(torch, name)
    return dtype.is_floating_point, dtype.is_complex, dtype is torch.bool
