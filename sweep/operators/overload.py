"""One overload as plain data, and how to find names that resemble one. The parent uses it too: no torch."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: How many similar names a hint lists.
_SIMILAR = 5


class OverloadKind(enum.Enum):
    """How an overload relates to its arguments."""

    FUNCTIONAL = "functional"
    IN_PLACE = "in-place"
    OUT = "out"
    VIEW = "view"
    FACTORY = "factory"


@dataclass(frozen=True)
class Overload:
    """What the dispatcher says about one overload.

    Attributes:
        name: qualified name with an explicit overload name, as in ``aten.add.Tensor`` or ``aten.abs.default``.
        kind: how it relates to its arguments.
        tags: names of its ``torch.Tag``s, sorted.
        kernels: device type -> dispatch keys under which a kernel for it is registered, or ``fallback`` (empty: none).
        schema: its schema as text.
    """

    name: str
    kind: OverloadKind
    tags: tuple[str, ...]
    kernels: Mapping[str, tuple[str, ...]]
    schema: str

    @property
    def namespace(self) -> str:
        """The namespace.

        >>> Overload("aten.abs.default", OverloadKind.FUNCTIONAL, (), {}, "").namespace
        'aten'
        """
        return self.name.partition(".")[0]

    def as_json(self) -> dict[str, Any]:
        """The overload as JSON data."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "tags": list(self.tags),
            "kernels": {device: list(keys) for device, keys in self.kernels.items()},
            "schema": self.schema,
            "namespace": self.namespace,
        }


def similar(name: str, names: Iterable[str]) -> list[str]:
    """Overloads whose names resemble a name: of the same operator, else names that contain it, else names spelled alike.

    >>> similar("aten.abs.nowhere", ["aten.abs.default", "aten.abs.out", "aten.absolute.default"])
    ['aten.abs.default', 'aten.abs.out']
    >>> similar("max_unpool2d", ["aten.abs.default", "aten.max_unpool2d.default"])
    ['aten.max_unpool2d.default']
    >>> similar("aten.asb.default", ["aten.abs.default", "aten.sort.stable"])
    ['aten.abs.default']
    """
    known = sorted(names)
    operator = ".".join(name.split(".")[:2]) + "."
    alike = [n for n in known if n.startswith(operator)] or [n for n in known if name in n]
    return alike[:_SIMILAR] or difflib.get_close_matches(name, known, _SIMILAR)
