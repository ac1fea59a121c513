"""One call of one overload as plain data, without torch: what the corpus stores and every room passes on."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any


class Unrecordable(Exception):
    """An argument has no plain-data form; the message is a short reason that a log can count."""


@dataclass(frozen=True)
class Call:
    """One call as plain data.

    Attributes:
        overload: qualified name, as in ``aten.add.Tensor``.
        source: which adapter and sample it came from, for people.
        args: JSON form of the positional arguments (see ``_Encoder.value``).
        kwargs: JSON form of the keyword arguments.
        tensors: one description per tensor argument; arguments refer to them by position.
        storages: one description per storage; tensors refer to them by position, so aliasing is kept.
        data: the bytes of the storages that are kept.
        layout: the name of the memory layout that the call was put in; empty for one as it was recorded.
    """

    overload: str
    source: str
    args: list[Any]
    kwargs: dict[str, Any]
    tensors: list[dict[str, Any]]
    storages: list[dict[str, Any]]
    data: memoryview | bytearray = field(repr=False)
    layout: str = ""

    def key(self) -> str:
        """What makes two calls the same, as text: structure, scalars and tensor metadata, without values."""
        return json.dumps([self.args, self.kwargs, self.tensors], sort_keys=True, separators=(",", ":"))

    def as_json(self) -> dict[str, Any]:
        """The call without its bytes, and a digest that is equal for two calls exactly when they are the same."""
        digest = hashlib.sha256(f"{self.overload} {self.key()}".encode()).hexdigest()[:24]
        return {
            "overload": self.overload,
            "id": digest,
            "source": self.source,
            "layout": self.layout,
            "args": self.args,
            "kwargs": self.kwargs,
            "tensors": self.tensors,
            "storages": self.storages,
        }

    def seed(self) -> int:
        """A seed that depends on the call alone, so that order and company change nothing."""
        return int.from_bytes(hashlib.sha256(self.key().encode()).digest()[:4], "little")

    def number_of_elements(self) -> int:
        """Total number of tensor elements in the arguments: what "smallest call" means."""
        return sum(math.prod(t["size"]) for t in self.tensors if "size" in t)

    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the tensor arguments by name, each once, in the order of the arguments."""
        parts = {at for t in self.tensors for at in t.get("parts", {}).values()}
        return tuple(dict.fromkeys(t["dtype"] for at, t in enumerate(self.tensors) if at not in parts))
