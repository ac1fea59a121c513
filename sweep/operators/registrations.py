"""Where operators are registered: the modules of torch that do so when they are imported, and the module of one operator.

``import torch`` registers most operators. Other modules of torch register about a hundred more, so the modules that have a
registration in their source are imported before the inventory is taken. That takes some seconds; importing every module of torch
would take forty, and finds no other operator.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch._library.custom_ops import OPDEFS

from sweep.errors import first_line
from sweep.operators.module import Module

#: Calls that register operators: those of ``torch.library``, and the helpers through which torch makes them.
_REGISTRATIONS = re.compile(rb"\b(?:Library|custom_op|triton_op|load_library|library\.define|_?make_prim)\(")

_REGISTERED_AT = re.compile(r"^debug: registered at (.+):\d+$", re.MULTILINE)

_FOLDER = Path(torch.__file__).parent


@functools.cache
def import_all() -> Sequence[Module]:
    """Imports the modules that have a registration in their source, once per process, and returns them sorted by name."""
    modules = []
    registered = set(torch._C._dispatch_get_all_op_names())
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in _sources():
                failure = _failure_of_import(name)
                added = set(torch._C._dispatch_get_all_op_names()) - registered
                registered |= added
                modules.append(Module(name, tuple(sorted(added)), failure))
    finally:
        logging.disable(disabled)
    return modules


@functools.cache
def _sources() -> Mapping[str, Path]:
    """Name -> file of every module of torch that has a registration in its source, sorted by name."""
    files = [file for file in _FOLDER.rglob("*.py") if _REGISTRATIONS.search(file.read_bytes())]
    parts = {file: file.relative_to(_FOLDER.parent).with_suffix("").parts for file in files}
    return dict(sorted((".".join(parts[file]).removesuffix(".__init__"), file) for file in files))


def _failure_of_import(module: str) -> str:
    try:
        importlib.import_module(module)
    except Exception as error:  # a module can raise anything, and most that do miss an optional package
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def file_of(name: str) -> Path | None:
    """The Python file that registered an operator; ``None`` if C++ did, or if the dispatcher does not know the file.

    It keeps the file that defined the operator. That is torch's own file, whoever calls it, for ``torch.library.define`` and for
    ``torch.library.custom_op``; of the latter, the module of the decorated function is known.

    Args:
        name: as the dispatcher writes it.
    """
    registration = _REGISTERED_AT.search(torch._C._dispatch_dump(name))
    if registration is None:
        return None
    file = Path(registration[1])
    if file != _FOLDER / "library.py" and _FOLDER / "_library" not in file.parents:
        return file if file.suffix == ".py" else None
    definition = OPDEFS.get(name)
    module = sys.modules.get(definition._init_fn.__module__) if definition is not None else None
    return Path(module.__file__) if module is not None and module.__file__ else None


def is_of_torch(name: str) -> bool:
    """Whether a Python file of torch registered an operator, or names it if the dispatcher does not know the file."""
    file = file_of(name)
    if file is not None:
        return _FOLDER in file.parents
    return any(name.encode() in source.read_bytes() for source in _sources().values())
