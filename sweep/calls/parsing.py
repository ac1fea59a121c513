"""The call of one overload from a user's text, written as a corpus of its own so that it is checked as recorded calls are.

Only the overload's name is parsed; the arguments are evaluated as Python. Runs in the child.
"""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sweep.calls import corpus
from sweep.calls.call import Call, Unrecordable
from sweep.calls.codec import encode
from sweep.calls.printing import arguments
from sweep.calls.recipes import remember
from sweep.calls.storages import TEXT_LIMITS
from sweep.errors import NotACallError, first_line
from sweep.operators.inventory import inventory, is_swept
from sweep.operators.required_state import required_state

#: How the source of a call begins that a user has typed; the text follows.
TYPED = "typed: "

#: The names that a user's text may use without importing them.
NAMES = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "math": math, "np": np}

_PREFIX = "torch.ops."

#: What a message proposes to write.
EXAMPLE = "torch.ops.aten.add.Tensor(torch.zeros(2), 1)"


class _RecipeRecorder(TorchDispatchMode):
    """Stores construction recipes: packed weights and the like have no other plain form."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        remember(result, str(func), args, kwargs or {})
        return result


def record_call(name: str, text: str, folder: str, device: str) -> None:
    """Write one call into a corpus; its source is the text behind ``TYPED``.

    Args:
        name: what :func:`overload_in` says of the text.
        text: the call as Python, such as ``torch.ops.aten.abs.default(torch.zeros(2))``.
        folder: folder of the corpus.
        device: the device under test.

    Raises:
        NotACallError: it does not call a known overload, or its arguments cannot be constructed or recorded.
    """
    call = call_in(name, text, device)
    corpus.write_file(Path(folder) / f"{name}.npz", [call.as_json()], [bytes(call.data)])


def call_in(name: str, text: str, device: str) -> Call:
    """The call in a text; its source is the text behind ``TYPED``.

    Args:
        name: as in :func:`record_call`.
        text: the call as Python.
        device: the device under test.

    Raises:
        NotACallError: as :func:`record_call`.
    """
    if not is_swept(name):
        raise NotACallError(_hint(name, inventory()))
    try:
        with required_state(name, device):
            with _RecipeRecorder():
                args, kwargs = arguments(text, NAMES)
            return encode(name, args, kwargs, device=device, source=TYPED + text, limits=TEXT_LIMITS)
    except Unrecordable as reason:
        raise NotACallError(f"an argument cannot be recorded: {reason}") from reason
    except Exception as error:  # whatever a mistake in a user's Python raises
        raise NotACallError(f"its arguments cannot be constructed: {type(error).__name__}: {first_line(error)}") from error


def typed_text(source: str) -> str | None:
    """The text that a user has typed for the call with a source; ``None`` for any other call."""
    return source.removeprefix(TYPED) if source.startswith(TYPED) else None


def overload_in(text: str) -> str | None:
    """Qualified name of the overload that a text calls, whether or not there is one of this name.

    Args:
        text: Python statements.

    Returns:
        The name; ``None`` if the text is anything else than a single call of a name in ``torch.ops``.

    Raises:
        NotACallError: it is not Python.

    >>> overload_in("torch.ops.aten.abs.default(x)")
    'aten.abs.default'
    >>> overload_in("torch.ops.aten.abs.default(x).sum()")
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise NotACallError(f"not Python: {first_line(error)}; write a call such as {EXAMPLE}") from None
    match statements:
        case [ast.Expr(ast.Call(func=callee))]:
            name = ast.unparse(callee)
            return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) and name.replace(".", "").isidentifier() else None
    return None


def _hint(name: str, names: Sequence[str]) -> str:
    """What to write instead of an unknown or incomplete name of an overload."""
    packet = ".".join(name.split(".")[:2])
    overloads = [other.rpartition(".")[2] for other in names if other.rpartition(".")[0] == packet]
    if overloads:
        proposal = next((preferred for preferred in ("default", "Tensor") if preferred in overloads), overloads[0])
        return f"{packet} has the overloads {', '.join(overloads)}: write {_PREFIX}{packet}.{proposal}(...)"
    packets = sorted({other.rpartition(".")[0] for other in names})
    close = difflib.get_close_matches(packet, packets, n=5)
    return f"there is no operator {packet}" + (f"; similar ones are {', '.join(close)}" if close else "")
