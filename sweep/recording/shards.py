"""Shards: the calls that one task found, on the way from the child to the merging parent. No torch.

A shard is laid out so that the parent only moves bytes. It holds the length of the index (8 bytes, little-endian), the index
(JSON), and a body. Per call, the index has what merging decides by; the body has the call's JSON without its storages, and the
values of its storages. Storages are in the index because their positions change when calls are put into one file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.calls.call import Call, Recorded
from sweep.errors import CorpusError

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class ShardCall:
    """One call in a shard.

    Attributes:
        overload: qualified name.
        id: as in ``Call.as_json``.
        incidental: the dtype that an incidental call counts for; ``None`` for a call that a sample makes itself.
        repeats: whether the call works when it is made again from its plain form; only then is it kept.
        guessed: whether it goes back to a schema guess.
        recorded: how the call ended.
        text: JSON of the call without ``storages``; empty if it does not repeat.
        storages: JSON data of its storages, whose positions count from the start of ``values``.
        values: the values of its storages; empty if it does not repeat.
    """

    overload: str
    id: str
    incidental: str | None
    repeats: bool
    guessed: bool
    recorded: Recorded
    text: bytes | memoryview
    storages: list[Any]
    values: bytes | memoryview | bytearray

    @classmethod
    def of(cls, call: Call, *, incidental: str | None = None, repeats: bool = True, guessed: bool = False) -> ShardCall:
        """The shard form of a call."""
        data: dict[str, Any] = dict(call.as_json())
        storages = data.pop("storages")
        if not repeats:
            return cls(call.overload, data["id"], incidental, False, guessed, call.recorded, b"", [], b"")
        text = json.dumps(data, separators=(",", ":")).encode()
        return cls(call.overload, data["id"], incidental, True, guessed, call.recorded, text, storages, call.data)


def write_shard(path: Path, calls: Sequence[ShardCall]) -> None:
    """Write the calls of one task.

    Raises:
        CorpusError: there is no room, or the file cannot be written for another reason.
    """
    index = [
        (
            *(c.overload, c.id, c.incidental, c.repeats, c.guessed, c.recorded.value),
            *(len(c.text), c.storages, memoryview(c.values).nbytes),
        )
        for c in calls
    ]
    head = json.dumps(index, separators=(",", ":")).encode()
    try:
        with path.open("wb") as file:
            file.write(_LENGTH.pack(len(head)) + head)
            file.writelines(part for c in calls for part in (c.text, c.values))
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror}): make room, and record again") from error


def read_shard(path: Path) -> Iterator[ShardCall]:
    """Read what :func:`write_shard` wrote. Texts and values are views on the file's content.

    Raises:
        CorpusError: the file cannot be read, or is damaged.
    """
    try:
        content = memoryview(path.read_bytes())
        (length,) = _LENGTH.unpack_from(content)
        index = json.loads(bytes(content[_LENGTH.size : _LENGTH.size + length]))
    except (OSError, ValueError, struct.error) as error:
        raise CorpusError(
            f"{path} cannot be read ({type(error).__name__}): remove {path.parent.parent}, and record again"
        ) from error
    at = _LENGTH.size + length
    for *head, recorded, text_length, storages, values_length in index:
        values_at = at + text_length
        text, values = content[at:values_at], content[values_at : values_at + values_length]
        at = values_at + values_length
        overload, call_id, incidental, repeats, guessed = head
        yield ShardCall(overload, call_id, incidental, repeats, guessed, Recorded(recorded), text, storages, values)
