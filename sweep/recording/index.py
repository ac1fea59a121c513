"""The index of a corpus in the making: which overloads have calls, and what their derivations have to know about them.

The parent writes it after each stage; the tasks of the next stage read it instead of listing and parsing the files. No torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from sweep.calls.call import Recorded
from sweep.errors import CorpusError
from sweep.recording.stages import OVERLOAD_VARIANTS

#: Name of the file; it is removed before the corpus is put in place.
INDEX = "index.json"


@dataclass
class OverloadEntry:
    """The calls of one overload so far.

    Attributes:
        calls: the number of those that returned.
        refused: the number of those that were refused.
        out_of_bounds: the number of those that use memory outside of their tensors.
        nbytes: size of their file in bytes.
        guessed: ids of those that a schema guess suggested, or that are derived from one.
        has_carried: whether some were carried over from another overload.
    """

    calls: int = 0
    refused: int = 0
    out_of_bounds: int = 0
    nbytes: int = 0
    guessed: list[str] = field(default_factory=list)
    has_carried: bool = False

    def add(self, call_id: str, module: str, recorded: Recorded, *, guessed: bool) -> None:
        """Count a call that a task of an adapter or derivation found."""
        match recorded:
            case Recorded.REFUSED:
                self.refused += 1
                return
            case Recorded.OUT_OF_BOUNDS:
                self.out_of_bounds += 1
                return
        self.calls += 1
        self.has_carried |= module == OVERLOAD_VARIANTS
        if guessed:
            self.guessed.append(call_id)


Index = dict[str, OverloadEntry]


def write_index(folder: Path, index: Index) -> None:
    """Write the index of a folder."""
    (folder / INDEX).write_text(json.dumps({name: vars(entry) for name, entry in index.items()}))


def read_index(folder: Path) -> Index:
    """Read the index of a folder.

    Raises:
        CorpusError: it is missing or damaged.
    """
    try:
        return {name: OverloadEntry(**entry) for name, entry in json.loads((folder / INDEX).read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CorpusError(f"{folder / INDEX} cannot be read ({type(error).__name__}): record again") from error
