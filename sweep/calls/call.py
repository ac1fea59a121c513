"""One call of one overload as plain data: the form in which the corpus stores it and every room passes it on.

How live arguments become this form and come back lives in ``codec``. No torch.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

#: Every storage begins at a multiple of this many bytes in a block of values, as in memory of torch's own CPU allocator
#: (``c10/core/alignment.h``): vectorized kernels rely on it.
ALIGNMENT = 64

#: Name of the variant of calls that are varied in several ways at once.
COMBINED = "combined"


class Unrecordable(Exception):
    """An argument has no plain-data form. The message is a short reason without anything that differs from call to call."""


class Recorded(enum.Enum):
    """How a call ended when it was recorded, which decides what a sweep does with it; the value is its form in JSON."""

    RETURNED = "returned"
    #: The operator raised, as it does every time. Made only to see who accepts what it refuses.
    REFUSED = "refused"
    #: The operator used memory outside of its tensors. Made only between redzones.
    OUT_OF_BOUNDS = "out of bounds"


class StorageData(TypedDict):
    """One storage as JSON.

    A storage with neither ``bytes`` nor ``fill`` holds zeros.
    """

    #: Size in bytes.
    nbytes: int
    #: ``self`` for the device under test, or ``cpu``.
    device: str
    #: Whether the storage is itself an argument, whose size therefore counts for the identity of the call.
    argument: NotRequired[bool]
    #: First byte that is kept, its position in the block of values, and the number of bytes that are kept; the others are 0.
    bytes: NotRequired[list[int]]
    #: Dtype, lowest and highest value, as text, of a floating-point storage that is too large to keep.
    fill: NotRequired[list[str]]


class TensorData(TypedDict):
    """One tensor as JSON.

    A strided tensor has ``size``, ``stride``, ``offset`` and ``storage``. Every other one has a ``layout`` and the ``parts`` that
    it is assembled from.
    """

    #: Name without ``torch.``.
    dtype: str
    #: ``self`` for the device under test, or ``cpu``.
    device: str
    #: Absent for a nested tensor.
    size: NotRequired[list[int]]
    #: In elements; only for strided and quantized tensors.
    stride: NotRequired[list[int]]
    #: Storage offset in elements.
    offset: NotRequired[int]
    #: Position in the call's storages.
    storage: NotRequired[int]
    #: The conjugate bit; absent if it is not set.
    conj: NotRequired[bool]
    #: The negative bit; absent if it is not set.
    neg: NotRequired[bool]
    #: ``sparse_coo``, ``sparse_csr``, ..., ``_mkldnn``, ``nested`` or ``quantized``; absent for strided tensors.
    layout: NotRequired[str]
    #: Parameter of the constructor -> position of the part in the call's tensors.
    parts: NotRequired[dict[str, int]]
    #: Only for ``sparse_coo``.
    is_coalesced: NotRequired[bool]
    #: Sizes, strides and offsets of the tensors in a nested one.
    nested: NotRequired[list[Any]]
    #: Of a tensor that is quantized as a whole.
    scale: NotRequired[float]
    #: Of a tensor that is quantized as a whole.
    zero_point: NotRequired[int]
    #: The channel dimension of a tensor that is quantized per channel.
    axis: NotRequired[int]


class CallData(TypedDict):
    """One call as JSON, without the bytes of its storages."""

    overload: str
    id: str
    source: str
    variant: str
    args: list[Any]
    kwargs: dict[str, Any]
    tensors: list[TensorData]
    storages: list[StorageData]
    #: Value of :class:`Recorded`; absent for a call that returned.
    recorded: NotRequired[str]


@dataclass(frozen=True)
class Call:
    """One call as plain data.

    Attributes:
        overload: qualified name, as in ``aten.add.Tensor``.
        source: the adapter and the sample that it comes from, for people.
        args: JSON form of the positional arguments (see ``values``).
        kwargs: JSON form of the keyword arguments.
        tensors: one description per tensor; arguments refer to them by position.
        storages: one description per storage; tensors refer to them by position, so aliasing is kept.
        data: the values of the storages.
        variant: name of the variant that the call is of a recorded one; empty for a call as it was recorded.
        recorded: how the call ended when it was recorded.

    >>> int_abs = Call("aten.abs.default", "example", [-1], {}, [], [], bytearray())
    >>> int_abs.key()
    '[[-1],{},[]]'
    >>> int_abs.as_json()["id"]
    '6f80df42d2b1aa368f8deb5a'
    """

    overload: str
    source: str
    args: list[Any]
    kwargs: dict[str, Any]
    tensors: list[TensorData]
    storages: list[StorageData]
    data: memoryview | bytearray = field(repr=False)
    variant: str = ""
    recorded: Recorded = Recorded.RETURNED

    def key(self) -> str:
        """The identity of the call among those of its overload, as text.

        Argument structure, scalars, and the metadata of all tensors count; values in tensors do not. The size of a storage counts
        only if the storage is itself an argument: behind a tensor it is an accident of how the tensor came about. Two calls have
        equal keys exactly if ``codec.signature`` of their arguments is equal.
        """
        identity: list[Any] = [self.args, self.kwargs, self.tensors]
        sizes = [storage["nbytes"] for storage in self.storages if storage.get("argument")]
        if sizes:
            identity.append(sizes)
        return json.dumps(identity, sort_keys=True, separators=(",", ":"))

    def as_json(self) -> CallData:
        """The call without its values.

        Its ``id`` is equal for two calls exactly if overload, key and how they ended are: one that is refused for its values has
        the key of one that returned.
        """
        ended = "" if self.recorded is Recorded.RETURNED else f" {self.recorded.value}"
        digest = hashlib.sha256(f"{self.overload} {self.key()}{ended}".encode()).hexdigest()[:24]
        data: CallData = {
            "overload": self.overload,
            "id": digest,
            "source": self.source,
            "variant": self.variant,
            "args": self.args,
            "kwargs": self.kwargs,
            "tensors": self.tensors,
            "storages": self.storages,
        }
        if ended:
            data["recorded"] = self.recorded.value
        return data

    def seed(self) -> int:
        """Seed that depends on the key alone, so that neither the order of calls nor a selection changes random results."""
        return int.from_bytes(hashlib.sha256(self.key().encode()).digest()[:4], "little")

    def number_of_elements(self) -> int:
        """Total number of elements of all tensors: the size by which the smallest call is chosen."""
        return sum(math.prod(tensor["size"]) for tensor in self.tensors if "size" in tensor)

    def dtypes(self) -> tuple[str, ...]:
        """Names of the dtypes of the tensor arguments, each once, in the order of the arguments."""
        parts = {position for tensor in self.tensors for position in tensor.get("parts", {}).values()}
        return tuple(dict.fromkeys(tensor["dtype"] for at, tensor in enumerate(self.tensors) if at not in parts))
