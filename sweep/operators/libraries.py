"""Libraries of custom operators: importing them, and the operators that they register.

A library is named by its module, or by an entry point of the group ``opinfo_adapters`` whose value is the module. Its operators
are those that the dispatcher knows after the import and not before. If the module has ``tasks`` and ``run``, as an adapter has
(see ``opinfo_adapters``), these make its calls; otherwise its calls are derived from its operators' schemas.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch._library.custom_ops import OPDEFS

from sweep import files
from sweep.errors import LibraryError, first_line
from sweep.operators.inventory import qualified_name, set_inventory

#: The imported modules, by the names that the user gave.
imported: dict[str, ModuleType] = {}

_GROUP = "opinfo_adapters"


def add(modules: list[str]) -> None:
    """Imports libraries and makes their operators the inventory.

    Args:
        modules: names of modules or entry points.

    Raises:
        LibraryError: one cannot be imported, or they register no operator.
    """
    before = set(torch._C._dispatch_get_all_op_names())
    for name in modules:
        imported[name] = _load(name)
    added = set(torch._C._dispatch_get_all_op_names()) - before
    operators = sorted(qualified_name(name) for name in added if not _of_torch(name))
    if not operators:
        raise LibraryError(f"--import {', '.join(modules)}: registers no operator that torch did not have before")
    set_inventory(operators)


def _of_torch(name: str) -> bool:
    """Whether a module of torch registered an operator, as some do only when a library imports them.

    The dispatcher keeps the file that defined it. For ``torch.library.custom_op`` that is torch's own file whoever calls it, so
    the module of the decorated function decides.
    """
    torch_folder = Path(torch.__file__).parent
    registration = re.search(r"^debug: registered at (.+):\d+$", torch._C._dispatch_dump(name), re.MULTILINE)
    if registration is None:
        return False
    file = Path(registration[1])
    if file != torch_folder / "library.py" and torch_folder / "_library" not in file.parents:
        return torch_folder in file.parents
    definition = OPDEFS.get(name)
    return definition is not None and definition._init_fn.__module__.partition(".")[0] == "torch"


def _load(name: str) -> ModuleType:
    for entry in importlib.metadata.entry_points(group=_GROUP, name=name):
        name = entry.value
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module can raise anything when it is imported
        raise LibraryError(f"--import {name} fails: {type(error).__name__}: {first_line(error)}") from error


def digest() -> dict[str, str]:
    """Library -> digest of its Python files and shared objects, on which its recorded calls depend."""
    return {name: _digest(module) for name, module in sorted(imported.items())}


def _digest(module: ModuleType) -> str:
    file = Path(module.__file__ or sys.executable)
    paths = sorted(file.parent.rglob("*")) if hasattr(module, "__path__") else [file]
    return files.digest(path for path in paths if path.suffix in (".py", ".so"))
