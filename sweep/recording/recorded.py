"""The calls that earlier stages have recorded, as derivations read them."""

from __future__ import annotations

from pathlib import Path

import torch

from sweep.calls import corpus
from sweep.calls.call import Call, Recorded
from sweep.operators.inventory import inventory, kernels, resolve
from sweep.recording.index import read_index


class RecordedCalls:
    """The calls of a corpus in the making.

    Args:
        folder: the folder of the corpus; its index is read once.
        device: the device under test.

    Attributes:
        device: the device under test.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.device = device
        self._folder = folder
        self._index = read_index(folder)

    def callable_overloads(self) -> list[str]:
        """The overloads with a kernel for the device, sorted."""
        device_type = torch.device(self.device).type
        return [name for name in inventory() if kernels(resolve(name), device_type)]

    def is_called(self, name: str) -> bool:
        """Whether an overload has calls."""
        return name in self._index and self._index[name].calls > 0

    def has_carried(self, name: str) -> bool:
        """Whether an overload has calls that were carried over from another one."""
        return name in self._index and self._index[name].has_carried

    def calls(self, name: str) -> list[Call]:
        """The calls of an overload that returned, in the order of their recording; empty if it has none."""
        calls = corpus.load(self._folder, name) if name in self._index else []
        return [call for call in calls if call.recorded is Recorded.RETURNED]

    def is_guess(self, call: Call) -> bool:
        """Whether a call goes back to a schema guess."""
        guessed = self._index[call.overload].guessed
        return bool(guessed) and call.as_json()["id"] in guessed
