"""Libraries of custom operators: importing them, which operators are theirs, and the calls that they offer.

A library is named by its module, or by an entry point of the group ``opinfo_adapters`` whose value is the module. Its operators
are those that the dispatcher knows after the import and not before. If the module has ``tasks`` and ``run``, as an adapter has
(see ``opinfo_adapters``), these make its calls; where it has none, its operators' schemas are all there is to go by.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch._library.custom_ops import OPDEFS

from sweep.operators.inventory import qualified_name, set_inventory

#: The modules that were imported, by the names they were asked for.
imported: dict[str, ModuleType] = {}

_GROUP = "opinfo_adapters"


class LibraryError(Exception):
    """A library cannot be swept; the message is one line that says what to do."""


def add(modules: list[str], heartbeat: Callable[[int, str], None] | None = None) -> None:
    """Imports libraries; from now on their operators are the inventory.

    Args:
        modules: names of modules or entry points.
        heartbeat: not used.

    Raises:
        LibraryError: one cannot be imported, or they register no operator.
    """
    before = set(torch._C._dispatch_get_all_op_names())
    for name in modules:
        imported[name] = _load(name)
    added = set(torch._C._dispatch_get_all_op_names()) - before
    theirs = sorted(qualified_name(name) for name in added if not _of_torch(name))
    if not theirs:
        raise LibraryError(f"--import {', '.join(modules)}: registers no operator that torch did not have before")
    set_inventory(theirs)


def _of_torch(name: str) -> bool:
    """Whether a module of torch registered an operator, as some do only when a library imports them.

    The dispatcher knows the file that defined it; of ``torch.library.custom_op`` that is its own, and the function tells.
    """
    torch_folder = Path(torch.__file__).parent
    found = re.search(r"^debug: registered at (.+):\d+$", torch._C._dispatch_dump(name), re.MULTILINE)
    if found is None:
        return False
    file = Path(found[1])
    if file != torch_folder / "library.py" and torch_folder / "_library" not in file.parents:
        return torch_folder in file.parents
    made = OPDEFS.get(name)
    return made is not None and made._init_fn.__module__.partition(".")[0] == "torch"


def _load(name: str) -> ModuleType:
    for entry in importlib.metadata.entry_points(group=_GROUP, name=name):
        name = entry.value
    try:
        return importlib.import_module(name)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise LibraryError(f"--import {name} fails: {type(error).__name__}: {first}") from error


def digest() -> dict[str, str]:
    """Library -> a digest of its Python files and shared objects, which decide what its recorded calls are."""
    return {name: _digest(module) for name, module in sorted(imported.items())}


def _digest(module: ModuleType) -> str:
    file = Path(module.__file__ or sys.executable)
    files = sorted(file.parent.rglob("*")) if hasattr(module, "__path__") else [file]
    found = hashlib.sha256()
    for path in files:
        if path.suffix in (".py", ".so"):
            found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]
