"""Merging: one corpus file per overload out of one shard per task, each call once, in the order of the tasks.

The result does not depend on which process ran which task, nor on the number of processes. Costs grow with the number of bytes:
calls are never parsed, and what an overload already has is copied as it is when a later stage adds to it. No torch.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from sweep.calls import corpus
from sweep.calls.call import ALIGNMENT
from sweep.errors import CorpusError
from sweep.recording.index import Index, OverloadEntry, write_index
from sweep.recording.shards import ShardCall, read_shard
from sweep.recording.stages import INCIDENTAL

#: Name pattern of the shards in a stage's folder; sorted names are in the order of the tasks.
SHARD_NAME = "{:06}.shard"


class Merger:
    """Collects the calls of all stages in a folder.

    Every process wrote the first ``INCIDENTAL`` incidental calls of an overload and dtype that it observed, including those that
    a sample made itself elsewhere and those that do not repeat. So the first ``INCIDENTAL`` of all are among them, whichever
    process ran which task.

    Args:
        folder: where the files of the overloads go.

    Attributes:
        index: what is there so far.
    """

    def __init__(self, folder: Path) -> None:
        self.index: Index = {}
        self._folder = folder
        self._ids: set[str] = set()
        self._incidental: dict[tuple[str, str], set[str]] = defaultdict(set)

    def add(self, shards: Path, module: str) -> None:
        """Add the calls of one stage.

        Args:
            shards: the folder of its shards.
            module: name of the derivation; anything else for the adapters.

        Raises:
            CorpusError: a file cannot be read or written.
        """
        new_calls: dict[str, list[ShardCall]] = defaultdict(list)
        for shard in sorted(shards.iterdir()):
            for call in read_shard(shard):
                if self._is_new(call):
                    new_calls[call.overload].append(call)
        for name in sorted(new_calls):
            entry = self.index.setdefault(name, OverloadEntry())
            for call in new_calls[name]:
                entry.add(call.id, module, call.recorded, guessed=call.guessed)
            entry.nbytes = extend_file(self._folder / f"{name}.npz", new_calls[name])
        write_index(self._folder, self.index)

    def overloads(self) -> dict[str, dict[str, int]]:
        """What the manifest says about each overload that has calls which returned."""
        return {
            name: {
                "calls": entry.calls,
                "refused": entry.refused,
                "out_of_bounds": entry.out_of_bounds,
                "guessed": len(entry.guessed),
                "bytes": entry.nbytes,
            }
            for name, entry in self.index.items()
            if entry.calls
        }

    def _is_new(self, call: ShardCall) -> bool:
        if call.incidental is not None:
            first = self._incidental[call.overload, call.incidental]
            if call.id in first or len(first) >= INCIDENTAL:
                return False
            first.add(call.id)
        if call.id in self._ids or not call.repeats:
            return False
        self._ids.add(call.id)
        return True


def extend_file(path: Path, calls: list[ShardCall]) -> int:
    """Append calls to the corpus file of an overload, which is created if missing, and return its size in bytes.

    The content is that of ``corpus.write_file`` on all of the calls.

    Raises:
        CorpusError: the file cannot be read or written.
    """
    texts: list[bytes] = []
    block = bytearray()
    if path.exists():
        text, data = _read(path)
        texts.append(text[1:-1])
        block += data
    for call in calls:
        block.extend(bytes(-len(block) % ALIGNMENT))
        storages = [_moved(s, len(block)) for s in call.storages]
        placed = json.dumps({"storages": storages, "chunk": [len(block), len(call.values)]}, separators=(",", ":"))
        texts.append(b"%b,%b" % (bytes(call.text[:-1]), placed[1:].encode()))
        block += call.values
    return corpus.write_arrays(path, b"[%b]" % b",".join(texts), block)


def _read(path: Path) -> tuple[bytes, bytes]:
    """The JSON and the values of a file that an earlier stage wrote."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["calls"].tobytes(), arrays["data"].tobytes()
    except (OSError, ValueError, KeyError) as error:
        raise CorpusError(f"{path} cannot be read ({type(error).__name__}): record again") from error


def _moved(storage: dict[str, Any], by: int) -> dict[str, Any]:
    """A storage whose values begin so many bytes further on."""
    if "bytes" not in storage:
        return storage
    first, position, length = storage["bytes"]
    return {**storage, "bytes": [first, position + by, length]}
