"""Calls made out of calls: what recording found is carried over to overloads, arguments and memory layouts that it did not reach.

Each module here has two functions, as an adapter has, which are also given the calls that are known when its turn comes:

``tasks(known) -> Iterable[str]``
    The overloads for which it will try something, by qualified name; each is one unit of parallel work.
``run(task, known, attempt) -> None``
    Tries calls of that overload through ``attempt`` (see ``attempts``), which keeps what the kernel accepts.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import torch

from sweep.calls import corpus
from sweep.calls.call import Call
from sweep.operators.inventory import inventory, kernels, resolve

if TYPE_CHECKING:
    from sweep.recording.attempts import Attempts


class Derivation(Protocol):
    """What a module of this package offers."""

    def tasks(self, known: Known) -> Iterable[str]: ...

    def run(self, task: str, known: Known, attempt: Attempts) -> None: ...


def load(name: str) -> Derivation:
    """The module of a name."""
    return cast(Derivation, importlib.import_module(f"{__name__}.{name}"))


class Known:
    """The calls that are known so far.

    Attributes:
        device: the device under test.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.device = device
        self._folder = folder
        self._called = frozenset(p.stem for p in folder.glob("*.npz"))

    def callable_overloads(self) -> list[str]:
        """Every overload that has a kernel for the device, sorted."""
        device_type = torch.device(self.device).type
        return [n for n in inventory() if kernels(resolve(n), device_type)]

    def is_called(self, name: str) -> bool:
        """Whether there is a call of an overload."""
        return name in self._called

    def calls(self, name: str) -> list[Call]:
        """The calls of an overload; none if there is none."""
        return corpus.load(self._folder, name) if name in self._called else []
