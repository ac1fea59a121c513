"""Access to the adapters and derivations in ``opinfo_adapters``, which are imported by name: that package imports this one."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from sweep.recording.attempts import Attempts
    from sweep.recording.recorded import RecordedCalls
    from sweep.recording.recorder import Recorder

_PACKAGE = "opinfo_adapters"


class Adapter(Protocol):
    """A module that makes calls under the recorder."""

    def tasks(self, device: str) -> Iterable[str]:
        """The names of its tasks, in an order that does not depend on the run."""
        ...

    def run(self, task: str, device: str, recorder: Recorder) -> None:
        """Make the calls of one task inside ``recorder.observe``; exceptions go to ``recorder.failed``."""
        ...


class Derivation(Protocol):
    """A module that derives calls from recorded ones."""

    def tasks(self, recorded: RecordedCalls) -> Iterable[str]:
        """The qualified names of the overloads for which it has something to attempt."""
        ...

    def run(self, task: str, recorded: RecordedCalls, attempts: Attempts) -> None:
        """Attempt calls of one overload."""
        ...


def adapter_names() -> list[str]:
    """The names of all adapters, sorted."""
    names: list[str] = importlib.import_module(_PACKAGE).names()
    return names


def load_adapter(name: str) -> Adapter:
    """The adapter of a name."""
    return cast(Adapter, importlib.import_module(_PACKAGE).load(name))


def load_derivation(name: str) -> Derivation:
    """The derivation of a name, one of ``stages.STAGES``."""
    return cast(Derivation, importlib.import_module(f"{_PACKAGE}.derived.{name}"))
