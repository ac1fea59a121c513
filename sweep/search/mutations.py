"""Mutations of plain calls: other sizes, strides, dtypes and options, chosen at random from a seeded generator.

A mutation changes a plain form in place and may make a call that no kernel accepts; whether one does is found out by making it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch

from sweep.calls.tensors import extent
from sweep.search.plain import PlainCall, is_integer

#: Tensors with more elements are not made.
_LARGEST = 4096

#: Larger ranks are not made.
_LARGEST_RANK = 6

_DTYPES = (
    *("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("complex64", "complex128", "complex32", "float8_e4m3fn"),
)
_INTEGERS = (0, 1, -1, 2, -2, 3, 4, 5, 8, 64)
_FLOATS = (0.0, 1.0, -1.0, 0.5, 2.0, 3.0, -2.5, math.inf, -math.inf, math.nan)
_LAYOUTS = ("strided", "sparse_coo", "sparse_csr")
_FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
_TEXTS = ("none", "mean", "sum", "constant", "reflect")

#: How many mutations are applied to one call, each as often as it stands here.
_COUNTS = (1, 1, 1, 1, 2, 2, 3, 4)


class Inapplicable(Exception):
    """A mutation does not apply to a call."""


class Mutator:
    """Mutates calls of one overload.

    Args:
        op: the overload.
        literals: strings and integers that are tried as options before all others.
    """

    def __init__(self, op: torch._ops.OpOverload, literals: Sequence[str | int]) -> None:
        self._arguments = op._schema.arguments
        self._texts = [value for value in literals if isinstance(value, str)] or list(_TEXTS)
        self._integers = [value for value in literals if isinstance(value, int)]

    def mutated(self, call: PlainCall, random: Random) -> PlainCall | None:
        """A mutated copy of a call; ``None`` if no mutation that was drawn applies.

        Args:
            call: the plain form of a call.
            random: where choices are drawn from.
        """
        changed = copy.deepcopy(call)
        applied = 0
        for _ in range(random.choice(_COUNTS)):
            on_tensors = bool(changed["tensors"]) and random.random() < 0.55
            mutation = random.choice(_OF_TENSORS) if on_tensors else self._mutate_option
            try:
                mutation(changed, random)
            except Inapplicable:
                continue
            applied += 1
        return changed if applied else None

    def _mutate_option(self, call: PlainCall, random: Random) -> None:
        """Gives one argument another value, or passes one that is not passed."""
        at = random.randrange(len(self._arguments)) if self._arguments else -1
        if at < 0:
            raise Inapplicable
        argument = self._arguments[at]
        value = self._other(str(argument.real_type), call, random, self._value_at(call, at))
        if at < len(call["args"]):
            call["args"][at] = value
        else:
            call["kwargs"][argument.name] = value

    def _value_at(self, call: PlainCall, at: int) -> Any:
        if at < len(call["args"]):
            return call["args"][at]
        return call["kwargs"].get(self._arguments[at].name)

    def _other(self, wanted: str, call: PlainCall, random: Random, old: Any) -> Any:
        """Another value of a type of the schema."""
        wanted = wanted.replace("SymInt", "int").replace("Scalar?", "Optional[number]")
        if wanted.startswith("Optional["):
            if old is not None and random.random() < 0.4:
                return None
            return self._other(wanted[9:-1], call, random, old)
        if wanted.startswith("List["):
            return self._other_list(wanted[5:-1], call, random, old if isinstance(old, list) else [])
        makers: dict[str, Callable[[], Any]] = {
            "Tensor": lambda: self._other_tensor(call, random, old),
            "int": lambda: self._integer(random, old),
            "bool": lambda: not old,
            "float": lambda: {"float": repr(random.choice(_FLOATS))},
            "number": lambda: self._number(random, old),
            "Scalar": lambda: self._number(random, old),
            "str": lambda: random.choice(self._texts),
            "ScalarType": lambda: {"dtype": random.choice(_DTYPES)},
            "Layout": lambda: {"layout": random.choice(_LAYOUTS)},
            "MemoryFormat": lambda: {"memory_format": random.choice(_FORMATS)},
            "Device": lambda: {"device": "self"},
        }
        if wanted not in makers:
            raise Inapplicable
        return makers[wanted]()

    def _integer(self, random: Random, old: Any) -> int:
        if isinstance(old, int) and random.random() < 0.3:
            return old + random.choice((-1, 1))
        if self._integers and random.random() < 0.4:
            return random.choice(self._integers)
        return random.choice(_INTEGERS)

    def _number(self, random: Random, old: Any) -> Any:
        kind = random.randrange(6)
        if kind == 0:
            return random.random() < 0.5
        if kind == 1:
            return {"complex": ["1.0", "2.0"]}
        return self._integer(random, old) if kind < 4 else {"float": repr(random.choice(_FLOATS))}

    def _other_list(self, item: str, call: PlainCall, random: Random, old: list[Any]) -> list[Any]:
        """A list with one item changed, added or removed, all of them alike, or none."""
        values, kind = list(old), random.randrange(6)
        if not values or kind == 0:
            return [*values, values[-1] if values else self._other(item, call, random, None)]
        if kind == 1:
            return values[:-1]
        if kind == 2:
            return []
        if kind == 3:
            return [self._other(item, call, random, values[0])] * len(values)
        at = random.randrange(len(values))
        values[at] = self._other(item, call, random, values[at])
        return values

    def _other_tensor(self, call: PlainCall, random: Random, old: Any) -> Any:
        """A reference to another tensor of the call, or to a new one like some tensor of it."""
        strided = _strided(call)
        if strided and random.random() < 0.3:
            return {"tensor": random.choice(strided)}
        like = call["tensors"][random.choice(strided)] if strided else None
        size = list(like["size"]) if like else random.choice(([], [1], [2, 3], [2, 3, 4, 4]))
        if random.random() < 0.5:
            size = random.choice((size[:1], size[1:2], size[-1:], []))
        dtype = like["dtype"] if like and random.random() < 0.7 else random.choice(_DTYPES)
        call["tensors"].append({"dtype": dtype, "device": "self", "size": size, "stride": [], "offset": 0})
        _place(call, len(call["tensors"]) - 1, size, _contiguous(size))
        return {"tensor": len(call["tensors"]) - 1}


def _strided(call: PlainCall) -> list[int]:
    """The positions of the strided tensors that are not parts of others."""
    parts = {position for tensor in call["tensors"] for position in tensor.get("parts", {}).values()}
    return [at for at, tensor in enumerate(call["tensors"]) if "storage" in tensor and at not in parts]


def _contiguous(size: Sequence[int]) -> list[int]:
    strides, step = [], 1
    for n in reversed(size):
        strides.append(step)
        step *= max(n, 1)
    return strides[::-1]


def _place(call: PlainCall, at: int, size: Sequence[int], stride: Sequence[int], offset: int = 0) -> None:
    """Gives a tensor a size and strides on a storage of its own, which holds just that.

    Raises:
        Inapplicable: it would be too large.
    """
    tensor = call["tensors"][at]
    count = extent(size, stride)
    if count + offset > _LARGEST or len(size) > _LARGEST_RANK or any(n < 0 for n in size):
        raise Inapplicable
    dtype = getattr(torch, tensor["dtype"])
    storage = {"nbytes": (count + offset) * dtype.itemsize, "device": tensor["device"]}
    old = call["storages"][tensor["storage"]] if "storage" in tensor else {}
    if "values" in old and is_integer(dtype):
        storage["values"] = old["values"]
    shared = [other for other in call["tensors"] if other is not tensor and other.get("storage") == tensor.get("storage")]
    if "storage" in tensor and not shared and not old.get("argument"):
        call["storages"][tensor["storage"]] = storage
    else:
        call["storages"].append(storage)
        tensor["storage"] = len(call["storages"]) - 1
    tensor.update(size=list(size), stride=list(stride), offset=offset)


def _chosen(call: PlainCall, random: Random, attribute: str) -> list[int]:
    """One tensor, or all that have the same value of an attribute as that one."""
    strided = _strided(call)
    if not strided:
        raise Inapplicable
    at = random.choice(strided)
    if random.random() < 0.5:
        return [at]
    return [other for other in strided if call["tensors"][other][attribute] == call["tensors"][at][attribute]]


def _resize(call: PlainCall, random: Random) -> None:
    """Changes one dimension: its length, or whether it is there at all."""
    chosen = _chosen(call, random, "size")
    size = list(call["tensors"][chosen[0]]["size"])
    kind = random.randrange(6)
    dim = random.randrange(len(size)) if size else 0
    if kind == 0 or not size:
        size.insert(random.randrange(len(size) + 1), random.choice((1, 2, 3)))
    elif kind == 1:
        del size[dim]
    elif kind == 2:
        size = random.choice(([], [1] * len(size), [0], size[::-1], size[:1] * len(size)))
    else:
        size[dim] = random.choice((0, 1, 1, 2, size[dim] + 1, size[dim] - 1, 2 * size[dim]))
    for at in chosen:
        _place(call, at, size, _contiguous(size))


def _equalize(call: PlainCall, random: Random) -> None:
    """Gives a tensor the size or the dtype of another."""
    strided = _strided(call)
    if len(strided) < 2:
        raise Inapplicable
    at, other = random.sample(strided, 2)
    source = call["tensors"][other]
    if random.random() < 0.5:
        call["tensors"][at]["dtype"] = source["dtype"]
    size = source["size"]
    _place(call, at, size, _contiguous(size))


def _restride(call: PlainCall, random: Random) -> None:
    """Gives tensors another memory format."""
    for at in _chosen(call, random, "size"):
        size = call["tensors"][at]["size"]
        if not size:
            raise Inapplicable
        kind, offset = random.randrange(6), 0
        stride = _contiguous(size)
        if kind == 0:
            stride = _permuted(size, range(len(size)))
        elif kind == 1 and len(size) > 2:  # channels_last, of any rank
            stride = _permuted(size, [1, *range(len(size) - 1, 1, -1), 0])
        elif kind == 2:
            stride, offset = [2 * step for step in stride], 1
        elif kind == 3:
            stride[random.randrange(len(size))] = 0
        elif kind == 4:
            order = list(range(len(size)))
            random.shuffle(order)
            stride = _permuted(size, order)
        _place(call, at, size, stride, offset)


def _permuted(size: Sequence[int], order: Sequence[int]) -> list[int]:
    """Strides of a tensor whose dimensions lie in memory in an order, the innermost first."""
    stride, step = [0] * len(size), 1
    for dim in order:
        stride[dim] = step
        step *= max(size[dim], 1)
    return stride


def _retype(call: PlainCall, random: Random) -> None:
    """Gives tensors another dtype."""
    dtype = random.choice(_DTYPES)
    for at in _chosen(call, random, "dtype"):
        tensor = call["tensors"][at]
        tensor["dtype"] = dtype
        tensor.pop("conj", None)
        tensor.pop("neg", None)
        _place(call, at, tensor["size"], tensor["stride"], tensor["offset"])


def _revalue(call: PlainCall, random: Random) -> None:
    """Gives the integers of a storage other values."""
    integers = [at for at in _strided(call) if is_integer(getattr(torch, call["tensors"][at]["dtype"]))]
    if not integers:
        raise Inapplicable
    storage = call["storages"][call["tensors"][random.choice(integers)]["storage"]]
    storage["values"] = random.choice(([1], [0, 1], [0, 2, 4], [0, 1, 2, 3], [2, 1]))


_OF_TENSORS = (_resize, _resize, _resize, _restride, _restride, _retype, _retype, _equalize, _revalue)
