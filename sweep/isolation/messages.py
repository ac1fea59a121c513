"""Messages between a parent and its child process, as pickles, and the rules by which the parent reads them.

How they travel lives in ``sandbox`` and ``child``. No torch.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import io
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.errors import ChildFailedError, SweepError
from sweep.progress import Phase


@dataclass(frozen=True)
class Request:
    """A function that the child is to call.

    Attributes:
        function: ``module:function``.
        arguments: its keyword arguments.
    """

    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """Data that a function saved while it runs; any number of them precede the reply."""

    data: Any


@dataclass(frozen=True)
class Returned:
    """The reply to a request whose function returned."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """The reply to a request whose function raised; other exceptions than a :class:`SweepError` come as ``ChildFailedError``."""

    error: SweepError


Message = Checkpoint | Returned | Raised

#: What a message may hold from outside of ``sweep`` in addition to what pickle has opcodes for.
_BUILTINS = frozenset(
    {"bytearray", "complex", "dict", "float", "frozenset", "int", "list", "range", "set", "slice", "str", "tuple"}
)
_COLLECTIONS = frozenset({"Counter", "OrderedDict", "defaultdict", "deque"})


def encode(message: Request | Message) -> bytes:
    """Returns a message as bytes."""
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def decode_in_parent(message: bytes) -> Message:
    """Reads a message from a child, which a call may have damaged: it runs no code and imports no torch.

    Raises:
        ChildFailedError: the message is no pickle, or holds something other than plain data and the data classes, enums and
            errors of ``sweep``.
    """
    try:
        decoded: Message = _Unpickler(io.BytesIO(message)).load()
    except Exception as error:  # damaged bytes can raise almost any class
        raise ChildFailedError(
            type(error).__name__, f"unreadable message of a child process: {error}", "", -1, Phase()
        ) from error
    return decoded


class _Unpickler(pickle.Unpickler):
    """An unpickler that finds plain data, and the data classes, enums and errors of modules of ``sweep`` without torch."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the class of an object in the message.

        Raises:
            pickle.UnpicklingError: a message must not hold objects of that class.
        """
        if (module == "builtins" and name in _BUILTINS) or (module == "collections" and name in _COLLECTIONS):
            return super().find_class(module, name)
        if module.startswith("sweep."):
            value = getattr(_import_without_torch(module), name, None)
            if (module, name) == ("sweep.errors", "_restore") or _is_data_class(value, module):
                return value
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which the parent does not accept")


def _is_data_class(value: Any, module: str) -> bool:
    """Whether an attribute of a module is a data class, an enum or an error that the module defines."""
    if not isinstance(value, type) or value.__module__ != module:
        return False
    return dataclasses.is_dataclass(value) or issubclass(value, (enum.Enum, SweepError))


def _import_without_torch(name: str) -> Any:
    """Imports a module of ``sweep``.

    Raises:
        pickle.UnpicklingError: there is no such module, or it imports torch, which the parent never does.
    """
    if name in sys.modules:
        return sys.modules[name]
    is_blocked = "torch" not in sys.modules
    if is_blocked:
        sys.modules["torch"] = None  # type: ignore[assignment]  # Python's own way to make an import fail
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise pickle.UnpicklingError(f"it holds a class of {name}, which the parent cannot import: {error}") from error
    finally:
        if is_blocked:
            del sys.modules["torch"]
