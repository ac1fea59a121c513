"""Adapters: where calls come from. Each module turns one kind of samples into torch calls, which the recorder writes down.

An adapter is one file in this folder, or in ``handwritten/``, which has helpers for it. It is found by its name; adding one
changes nothing else. It has two functions (see ``sweep.recording.adapters.Adapter``):

``tasks(device) -> Iterable[str]``
    The units of parallel work, in a fixed order and with names that do not depend on the run. One that crashes costs only itself.
``run(task, device, recorder) -> None``
    Makes the calls of one task. Everything called inside ``with recorder.observe(source):`` is recorded; exceptions go to
    ``recorder.failed(...)``.

Modules of ``derived`` derive further calls from the recorded ones, or attempt those that ``searched`` and ``adopted`` hold as
data. Nothing here knows pytest, expect files or crossrefs. Runs in the child; ``sweep`` reaches it by name only.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

from sweep.operators.libraries import imported

if TYPE_CHECKING:
    from sweep.recording.adapters import Adapter

#: Modules of this package that are not adapters.
_NOT_ADAPTERS = {"derived", "handwritten"}


def names() -> list[str]:
    """The names of all adapters, sorted; if libraries are imported, of those libraries that are adapters instead."""
    if imported:
        return sorted(name for name, module in imported.items() if hasattr(module, "tasks") and hasattr(module, "run"))
    here = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_ADAPTERS]
    families = [f"handwritten.{module.name}" for module in pkgutil.iter_modules([f"{path}/handwritten" for path in __path__])]
    return sorted(here + families)


def load(name: str) -> Adapter:
    """The adapter of a name."""
    module = imported[name] if name in imported else importlib.import_module(f"{__name__}.{name}")
    return cast("Adapter", module)
