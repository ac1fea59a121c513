"""A call that is being made smaller: its live arguments, and edits that return another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from sweep.calls.call import Call
from sweep.calls.codec import build, encode
from sweep.calls.printing import FILLS, expression
from sweep.operators.schema import by_name
from sweep.shrinking.layout import is_simple

#: The dtype that examples have if it shows the same.
SIMPLEST_DTYPE = torch.float32


@dataclass(frozen=True)
class Draft:
    """A call as live arguments.

    Attributes:
        op: the overload.
        args: positional arguments.
        kwargs: keyword arguments.
        fill: what its tensors hold when it is printed (see ``printing.FILLS``).
    """

    op: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    fill: str

    @classmethod
    def of(cls, op: torch._ops.OpOverload, call: Call, device: str, fill: str) -> Draft:
        """The draft of a recorded call."""
        args, kwargs = build(call, device)
        return cls(op, tuple(args), kwargs, fill)

    def tensors(self) -> list[torch.Tensor]:
        """Its tensors in the order of the arguments, each once."""
        leaves = [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]
        return list({id(leaf): leaf for leaf in leaves}.values())

    def shared_storages(self) -> set[int]:
        """The identities of storages that several of its tensors are on."""
        storages = [identity for tensor in self.tensors() if (identity := storage_of(tensor)) is not None]
        return {identity for identity in storages if storages.count(identity) > 1}

    def with_tensors(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Draft:
        """The draft with each tensor changed; one that is passed twice stays the same in both places."""
        changed = {id(tensor): change(tensor) for tensor in self.tensors()}

        def other(leaf: Any) -> Any:
            return changed[id(leaf)] if isinstance(leaf, torch.Tensor) else leaf

        args, kwargs = tree_map(other, (self.args, dict(self.kwargs)))
        return replace(self, args=args, kwargs=kwargs)

    def with_arguments(self, change: Callable[[str, Any], Any]) -> Draft:
        """The draft with each argument changed by a function of its name in the schema and its value."""
        args = tuple(change(schema.name, value) for schema, value in zip(self.op._schema.arguments, self.args, strict=False))
        return replace(self, args=args, kwargs={name: change(name, value) for name, value in self.kwargs.items()})

    def options(self) -> Iterator[str]:
        """The names of the arguments that are passed other values than their defaults."""
        passed = by_name(self.op, self.args, self.kwargs)
        for schema in self.op._schema.arguments:
            if schema.name in passed and schema.has_default_value() and not is_default(schema, passed[schema.name]):
                yield schema.name


@dataclass(frozen=True)
class Text:
    """A draft as Python.

    Attributes:
        text: the expression.
        size: what it is compared by; the smaller one of two examples has the smaller size.
    """

    text: str
    size: tuple[int, ...]


def printed(draft: Draft, overload: str, device: str) -> Text | None:
    """The text of a draft; ``None`` if it cannot be printed with its fill.

    Its size consists of, in the order of preference: the number of elements of all tensors, their number of dimensions, the
    number of tensors that are not contiguous or share memory, of options other than the defaults, of tensors of another dtype
    than the simplest, and the fill and the length of the text.

    Args:
        draft: the draft.
        overload: qualified name of its overload.
        device: the device under test.

    Raises:
        Unrecordable: an argument has no plain form.
    """
    call = encode(overload, draft.args, draft.kwargs, device=device, source="")
    text = expression(call, device, draft.fill)
    if text is None:
        return None
    tensors = draft.tensors()
    shared = draft.shared_storages()
    size = (
        call.number_of_elements(),
        sum(len(tensor.get("size", ())) for tensor in call.tensors),
        sum(not is_simple(tensor) or storage_of(tensor) in shared for tensor in tensors),
        sum(1 for _ in draft.options()),
        sum(tensor.dtype is not SIMPLEST_DTYPE for tensor in tensors),
        FILLS.index(draft.fill),
        len(text),
    )
    return Text(text, size)


def is_default(schema: Any, value: Any) -> bool:
    """Whether a value is that which an argument of a schema has by default."""
    default = schema.default_value
    if isinstance(value, torch.Tensor) or type(value) is not type(default):
        return False
    return bool(value == default)


def storage_of(tensor: torch.Tensor) -> int | None:
    """The identity of a tensor's storage; ``None`` if it has none."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # sparse, mkldnn, ...
        return None
