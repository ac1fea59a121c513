"""Auto-functionalization: an operator that writes to its arguments, functionalized as ``torch.compile`` does it.

An operator without a kernel for Functionalize goes to a fallback, which refuses every schema with an alias annotation
(``FunctionalizeFallback.cpp``, ``hasAnyAliasInfo``). ``torch.compile`` functionalizes with ``FunctionalTensorMode`` instead, and
most such operators do not get to the fallback there: they run on clones of the arguments that they write to, and each argument
gets the value of its clone (``torch._higher_order_ops.auto_functionalize``). The mode hands all others to the same fallback.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch._C import DispatchKey
from torch._dispatch.python import suspend_functionalization
from torch._higher_order_ops.auto_functionalize import can_auto_functionalize
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from sweep.operators.schema import by_name, written_names


@functools.cache
def fallback_refuses(op: torch._ops.OpOverload) -> bool:
    """Whether the fallback of Functionalize would have to serve an overload, and refuses its schema."""
    if torch._C._dispatch_has_kernel_for_dispatch_key(op._name, "Functionalize"):
        return False
    return any(a.alias_info is not None for a in (*op._schema.arguments, *op._schema.returns))


@functools.cache
def is_refused(op: torch._ops.OpOverload) -> bool:
    """Whether functionalization refuses an overload by design: its fallback does, and so does auto-functionalization."""
    return fallback_refuses(op) and not can_auto_functionalize(op)


def auto_functionalized(op: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Any:
    """Calls an overload by way of ``FunctionalTensorMode``.

    Args:
        op: the overload.
        args: positional arguments, with functional tensors of C++; those that the call writes to have their new value afterwards.
        kwargs: keyword arguments; likewise.

    Returns:
        What the overload returns, with a new functional tensor of C++ for every tensor, even one that is an argument.
    """
    inner: dict[int, FunctionalTensor] = {}  # those of the mode, by the identity of those of C++

    def to_mode(tensor: torch.Tensor) -> FunctionalTensor:
        if id(tensor) not in inner:
            inner[id(tensor)] = FunctionalTensor.to_functional(_value(tensor))
        return inner[id(tensor)]

    with _functional_mode():
        mode_args, mode_kwargs = tree_map_only(torch.Tensor, to_mode, (list(args), kwargs))
        result = tree_map_only(FunctionalTensor, FunctionalTensor.from_functional, op(*mode_args, **mode_kwargs))
        written = [(tensor, inner[id(tensor)].from_functional()) for tensor in _written(op, args, kwargs)]
    for tensor, value in written:
        torch._functionalize_replace(tensor, value)
        torch._functionalize_commit_update(tensor)
        torch._functionalize_sync(tensor)
    return tree_map_only(torch.Tensor, torch._to_functional_tensor, result)


@contextmanager
def _functional_mode() -> Iterator[None]:
    """Context in which a mode stands where Functionalize was: below autograd, and with no other mode around it."""
    with ExitStack() as stack:
        if torch._C._len_torch_dispatch_stack():
            stack.enter_context(_disable_current_modes())
        stack.enter_context(suspend_functionalization())
        stack.enter_context(torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(DispatchKey.Functionalize)))
        stack.enter_context(torch._C._AutoDispatchBelowAutograd())
        stack.enter_context(FunctionalTensorMode())
        yield


def _value(tensor: torch.Tensor) -> torch.Tensor:
    """The current value of a functional tensor of C++; any other tensor is its own."""
    if not torch._is_functional_tensor(tensor):
        return tensor
    torch._functionalize_sync(tensor)
    return torch._from_functional_tensor(tensor)


def _written(op: torch._ops.OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The functional tensors among the arguments that the schema declares as written to."""
    arguments = by_name(op, args, kwargs)
    leaves = tree_leaves([arguments.get(name) for name in written_names(op)])
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and torch._is_functional_tensor(leaf)]
