"""Renderers, one file each: a run as text. Adding one is adding a module with a function ``render(run: Run) -> str``.

``python -m sweep report --format NAME`` takes its name from the module. Runs in the parent; no torch.
"""

from __future__ import annotations

import importlib
import pkgutil

from sweep.errors import UsageError
from sweep.report.model import Run


def names() -> list[str]:
    """The names of all renderers, sorted: every module of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def check_name(name: str) -> str:
    """The name of a renderer, unchanged.

    Raises:
        UsageError: there is no renderer of that name.
    """
    if name not in names():
        raise UsageError(f"unknown format {name!r}; there are: {', '.join(names())}")
    return name


def render(name: str, run: Run) -> str:
    """A run as text, which ends with a newline unless it is empty. Raises as :func:`check_name`."""
    text: str = importlib.import_module(f"{__name__}.{check_name(name)}").render(run)
    return text
