"""Where calls come from: each adapter module turns one kind of samples into torch calls, which the recorder writes down.

An adapter is one file in this folder, or in ``handwritten/`` where there are tools for it, with two functions. It is found by its
name; nothing else has to change when one is added:

``tasks(device) -> Iterable[str]``
    The pieces of work, in a fixed order and with names that do not depend on the run. Each becomes one unit of parallel work, and
    one that crashes costs only itself.
``run(task, device, recorder) -> None``
    Makes the calls of one task. Everything called inside ``with recorder.observe(source):`` is written down; what fails is passed
    to ``recorder.failed(...)``, never swallowed.

Nothing here knows of pytest, expect files or crossrefs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from sweep.recording.recorder import Recorder

#: How many incidental calls (see ``recorder``) are kept of one overload and dtype.
INCIDENTAL = 48

#: The modules of ``derived`` in the order of their turns. Siblings come twice: what schemas have found has siblings too.
STAGES = ("siblings", "schemas", "siblings", "layouts")

#: The source of a call that only its overload's schema suggested.
GUESSED = "schemas"

#: Modules of this package that are not adapters.
_SHARED = {"derived", "handwritten", "recorder", "session"}


class Adapter(Protocol):
    """What an adapter module offers."""

    def tasks(self, device: str) -> Iterable[str]: ...

    def run(self, task: str, device: str, recorder: Recorder) -> None: ...


def names() -> list[str]:
    """The adapters there are, sorted; with imported libraries (see ``sweep.libraries``), those of them that make calls."""
    from sweep.operators.libraries import imported  # of the child's torch, which this package must not import

    if imported:
        return sorted(name for name, module in imported.items() if hasattr(module, "tasks") and hasattr(module, "run"))
    here = [m.name for m in pkgutil.iter_modules(__path__) if m.name not in _SHARED]
    families = [f"handwritten.{m.name}" for m in pkgutil.iter_modules([f"{p}/handwritten" for p in __path__])]
    return sorted(here + families)


def load(name: str) -> Adapter:
    """The adapter module of a name."""
    from sweep.operators.libraries import imported

    if name in imported:
        return cast(Adapter, imported[name])
    return cast(Adapter, importlib.import_module(f"{__name__}.{name}"))
