"""Libraries of custom operators: importing them, and the operators that they register.

A library is named by its module, or by an entry point of the group ``opinfo_adapters`` whose value is the module. Its operators
are those that its own Python files register, whoever imported them first, and those that are registered while it is imported,
but for what other modules of torch register meanwhile. If the module has ``tasks`` and ``run``, as an adapter has (see
``opinfo_adapters``), these make its calls; otherwise its calls are derived from its operators' schemas.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType

import torch

from sweep import files
from sweep.errors import LibraryError, first_line
from sweep.operators import registrations
from sweep.operators.inventory import qualified_name, set_libraries

#: The imported modules, by the names that the user gave.
imported: dict[str, ModuleType] = {}

_GROUP = "opinfo_adapters"


def add(modules: list[str]) -> None:
    """Imports libraries and makes their operators the inventory.

    Args:
        modules: names of modules or entry points, of torch as well.

    Raises:
        LibraryError: one cannot be imported, or they register no operator.
    """
    before = set(torch._C._dispatch_get_all_op_names())
    for name in modules:
        imported[name] = _load(name)
    registered = set(torch._C._dispatch_get_all_op_names())
    added = {name for name in registered - before if not registrations.is_of_torch(name)}
    places = [place for module in imported.values() if (place := _place(module)) is not None]
    earlier = {name for name in registered - added if _is_in(registrations.file_of(name), places)}
    if not added | earlier:
        raise LibraryError(f"--import {', '.join(modules)}: registers no operator")
    set_libraries(map(qualified_name, added | earlier))


def _place(module: ModuleType) -> Path | None:
    """The file of a module, or the folder of a package."""
    if module.__file__ is None:
        return None
    return Path(module.__file__).parent if hasattr(module, "__path__") else Path(module.__file__)


def _is_in(file: Path | None, places: list[Path]) -> bool:
    return file is not None and any(file == place or place in file.parents for place in places)


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
