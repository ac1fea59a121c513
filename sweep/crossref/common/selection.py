"""Selection of the calls that are made with symbolic sizes: few, which together have every aspect that is likely to matter.

A call with symbolic sizes costs as much as a hundred real ones, and more for each tensor. Its outcome depends on its structure,
hardly on its numbers. The selection is made from recorded calls alone, without live arguments, and is therefore the same in every
process.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch

from sweep.calls.call import Call, Recorded, TensorData
from sweep.calls.selection import cover
from sweep.calls.tensors import is_contiguous
from sweep.calls.values import TABLE, ComplexArgument, FloatArgument, IntArgument, Place, StorageArgument, tensor_positions

#: The most tensors that the selected calls of an overload have together.
_TENSORS = 24

#: Tensors of a list that are looked at, and the largest length and rank that are told apart.
_ITEMS, _LENGTH, _RANK = 3, 3, 4


def selected(calls: Sequence[Call]) -> frozenset[int]:
    """The positions of the calls to compare; of calls that have the same aspects, the first of those with the fewest tensors.

    Calls without symbolic sizes are selected too: the crossref says why it does not apply to them.
    """
    symbolic = [at for at, call in enumerate(calls) if call.recorded is Recorded.RETURNED and has_symbolic_sizes(call)]
    symbolic.sort(key=lambda at: len(calls[at].tensors))
    covering = cover([aspects_of(calls[at]) for at in symbolic], [len(calls[at].tensors) for at in symbolic], _TENSORS)
    return frozenset(range(len(calls))) - frozenset(symbolic) | {symbolic[at] for at in covering}


def has_symbolic_sizes(call: Call) -> bool:
    """Whether all tensors of a call are strided and one has a size other than 0 and 1, which are constants."""
    return not any("layout" in tensor for tensor in call.tensors) and any(
        size > 1 for tensor in call.tensors for size in tensor.get("size", ())
    )


def aspects_of(call: Call) -> frozenset[Hashable]:
    """The aspects of a call on strided tensors.

    They are, argument by argument: the class of one that is no tensor; of a tensor the class of its dtype, its rank, and whether
    it is empty, broadcasts, or is not contiguous. And of all tensors together how they share sizes and storages.
    """
    aspects: set[Hashable] = set()
    tensors: list[TensorData] = []
    for place, data in [*enumerate(call.args), *call.kwargs.items()]:
        of_argument = [call.tensors[position] for position in tensor_positions(data)]
        aspects.add((place, "tensors", min(len(of_argument), _LENGTH)) if of_argument else (place, "value", _class_of(data)))
        for tensor in of_argument[:_ITEMS]:
            aspects.update(_aspects_of_tensor(place, tensor))
        tensors += of_argument
    aspects.add(("sizes", _sizes(tensors)))
    aspects.add(("storages", _storages(tensors)))
    return frozenset(aspects)


def _aspects_of_tensor(place: Place, tensor: TensorData) -> Iterator[Hashable]:
    size, dtype = tensor["size"], getattr(torch, tensor["dtype"])
    yield place, "dtype", dtype.is_floating_point, dtype.is_complex, dtype is torch.bool
    yield place, "rank", min(len(size), _RANK)
    yield place, "is empty", 0 in size
    yield place, "broadcasts", 1 in size
    yield place, "is contiguous", is_contiguous(size, tensor["stride"])


def _sizes(tensors: Sequence[TensorData]) -> Hashable:
    """Of each tensor, the first one of the same size, and whether it is empty."""
    sizes = [tensor["size"] for tensor in tensors]
    return tuple([(sizes.index(size), 0 in size) for size in sizes])


def _storages(tensors: Sequence[TensorData]) -> Hashable:
    """Of each tensor, the first one on its storage, whether it begins there, and its conjugate and negative bits."""
    storages = [tensor["storage"] for tensor in tensors]
    return tuple([(storages.index(t["storage"]), t["offset"] > 0, "conj" in t, "neg" in t) for t in tensors])


def _class_of(data: Any) -> Hashable:
    """The class of an argument from its JSON form: an option's value, an integer's sign, the type of any other quantity."""
    entry, inner = TABLE.entry_of(data)
    if isinstance(entry, IntArgument):
        return (inner > 0) - (inner < 0)
    children = tuple(map(_class_of, entry.children(inner)))
    is_quantity = isinstance(entry, FloatArgument | ComplexArgument | StorageArgument)
    return (entry.tag, children) if children or is_quantity else (entry.tag, json.dumps(inner))
