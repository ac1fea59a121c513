"""A call without its values: what a searched file holds, and making a call of it with values that are the same every time.

Runs in a child, for the search and for ``opinfo_adapters.derived.stored_calls`` alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, cast

import torch

from sweep.calls.call import ALIGNMENT, Call, Recorded, StorageData
from sweep.calls.storages import LARGEST_BYTES

#: A call as JSON data: ``args``, ``kwargs``, ``tensors`` and ``storages`` as in ``CallData``. A storage may have ``values``, a
#: few integers that its elements repeat; without, integers are zeros, which are valid indices, and others repeat ``_VALUES``.
#: ``recorded`` is there for a call that the kernel refuses.
PlainCall = dict[str, Any]

#: Values of floating-point and complex tensors: different, positive, and exact in every dtype.
_VALUES = (0.5, 1.25, 0.25, 1.0, 0.75, 1.5, 0.125)

#: Number of integers that are kept of a storage.
_KEPT_INTEGERS = 16


def plain(call: Call) -> PlainCall:
    """A call without its values, except for the first integers of each storage of integers.

    Args:
        call: the call.
    """
    storages = [_without_values(call, at) for at in range(len(call.storages))]
    data = {"args": call.args, "kwargs": call.kwargs, "tensors": call.tensors, "storages": storages}
    return data if call.recorded is Recorded.RETURNED else {**data, "recorded": call.recorded.value}


def _without_values(call: Call, at: int) -> dict[str, Any]:
    storage = call.storages[at]
    kept = {name: value for name, value in storage.items() if name in ("nbytes", "device", "argument")}
    dtype = dtype_of(call.tensors, at)
    if "bytes" not in storage or dtype is None or not is_integer(dtype):
        return kept
    first, position, length = storage["bytes"]
    count = min(length // dtype.itemsize, _KEPT_INTEGERS)
    if first or not count:
        return kept
    raw = bytearray(call.data[position : position + count * dtype.itemsize])
    values = torch.frombuffer(raw, dtype=dtype).tolist()
    return {**kept, "values": list(map(int, values))} if any(values) else kept


def dtype_of(tensors: list[Any], storage: int) -> torch.dtype | None:
    """The dtype of the first tensor on a storage; ``None`` if there is none."""
    names = [tensor["dtype"] for tensor in tensors if tensor.get("storage") == storage]
    return getattr(torch, names[0]) if names else None


def is_integer(dtype: torch.dtype) -> bool:
    """Whether a dtype is one of integers, or of bools."""
    return not (dtype.is_floating_point or dtype.is_complex)


def call_of(overload: str, data: Mapping[str, Any], source: str) -> Call:
    """The call of a plain form.

    Args:
        overload: qualified name of the overload.
        data: the plain form.
        source: where the call comes from, for people.

    Raises:
        ValueError: its storages are too large.
    """
    if sum(storage["nbytes"] for storage in data["storages"]) > LARGEST_BYTES:
        raise ValueError("too many values")
    block = bytearray()
    storages = []
    for at, storage in enumerate(data["storages"]):
        dtype = dtype_of(data["tensors"], at)
        described = {name: value for name, value in storage.items() if name != "values"}
        if dtype is not None and storage["nbytes"]:
            values = _bytes(dtype, storage["nbytes"], tuple(storage.get("values", ())))
            block.extend(bytes(-len(block) % ALIGNMENT))
            described["bytes"] = [0, len(block), len(values)]
            block += values
        storages.append(cast(StorageData, described))
    recorded = Recorded(data.get("recorded", Recorded.RETURNED.value))
    return Call(overload, source, data["args"], data["kwargs"], data["tensors"], storages, block, recorded=recorded)


@functools.lru_cache(maxsize=1000)
def _bytes(dtype: torch.dtype, nbytes: int, values: tuple[int, ...]) -> bytes:
    """The values of a storage."""
    count = nbytes // dtype.itemsize
    numbers: tuple[float, ...] = (values or (0,)) if is_integer(dtype) else _VALUES
    repeated = torch.tensor(numbers, dtype=torch.float64 if numbers is _VALUES else torch.int64)
    repeated = repeated.repeat(math.ceil(count / len(numbers)))[:count]
    return bytes(repeated.to(dtype).view(torch.uint8).numpy().tobytes()) + bytes(nbytes - count * dtype.itemsize)


def pruned(data: PlainCall) -> PlainCall:
    """A plain call without the tensors and storages that no argument needs, the others numbered in the order of the arguments."""
    positions: dict[str, dict[int, int]] = {"tensor": {}, "storage": {}}
    tensors: list[Any] = []
    storages: list[Any] = []

    def storage(at: int) -> int:
        if at not in positions["storage"]:
            positions["storage"][at] = len(storages)
            storages.append(data["storages"][at])
        return positions["storage"][at]

    def tensor(at: int) -> int:
        if at not in positions["tensor"]:
            described = dict(data["tensors"][at])
            if "parts" in described:
                described["parts"] = {name: tensor(part) for name, part in described["parts"].items()}
            if "storage" in described:
                described["storage"] = storage(described["storage"])
            positions["tensor"][at] = len(tensors)
            tensors.append(described)
        return positions["tensor"][at]

    def value(old: Any) -> Any:
        if isinstance(old, list):
            return [value(item) for item in old]
        if not isinstance(old, dict):
            return old
        if old.keys() == {"tensor"}:
            return {"tensor": tensor(old["tensor"])}
        if old.keys() == {"storage"}:
            return {"storage": storage(old["storage"])}
        return {name: value(item) for name, item in old.items()}

    args, kwargs = value(data["args"]), value(data["kwargs"])
    return {**data, "args": args, "kwargs": kwargs, "tensors": tensors, "storages": storages}
