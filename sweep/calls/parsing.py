"""A call that somebody typed, as a corpus of its own, so that it is checked as recorded ones are. Runs in the child."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from sweep.calls import corpus
from sweep.operators import process_group
from sweep.calls.call import Unrecordable
from sweep.calls.codec import encode
from sweep.calls.recipes import remember
from sweep.operators.inventory import inventory
from sweep.calls.printing import arguments

_CALL = re.compile(r"\s*torch\.ops\.(\w+\.\w+\.\w+)\(.*\)\s*(#.*)?", re.DOTALL)


class _Makers(TorchDispatchMode):
    """Remembers how packed weights and the like are made: that is all there is to write down of them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        remember(result, str(func), args, kwargs or {})
        return result


class NotACall(Exception):
    """A text is no call that can be checked; the message says why."""


def write_down(text: str, folder: str, device: str, heartbeat: Callable[[int, str], None] | None = None) -> str:
    """Writes the one call into a corpus and returns the name of its overload.

    Args:
        text: the call as Python, such as ``torch.ops.aten.abs.default(torch.zeros(2))``.
        folder: where the corpus is made.
        device: the device under test.
        heartbeat: not used.

    Raises:
        NotACall: it calls no overload that is known, or its arguments cannot be made or written down.
    """
    found = _CALL.fullmatch(text)
    if found is None or found[1] not in inventory():
        raise NotACall(f"{text!r} is no call of an overload, such as torch.ops.aten.add.Tensor(torch.zeros(2), 1)")
    process_group.ensure_for(found[1])

    try:
        with _Makers():
            args, kwargs = arguments(text)
        call = encode(found[1], tuple(args), kwargs, device=device, source="typed")
    except Unrecordable as reason:
        raise NotACall(f"an argument cannot be written down: {reason}") from reason
    except Exception as error:  # whatever a mistake in somebody's Python raises
        raise NotACall(f"its arguments cannot be made: {type(error).__name__}: {error}") from error
    corpus.write_file(Path(folder) / f"{found[1]}.npz", [call.as_json()], [bytes(call.data)])
    return found[1]
