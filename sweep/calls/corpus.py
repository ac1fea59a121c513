"""The corpus on disk: one ``.npz`` of recorded calls per overload, and a manifest of what they were recorded from.

A file holds two arrays of bytes: ``calls`` (JSON) and ``data`` (values of storages). It is read with ``allow_pickle=False``:
nothing in a corpus is executed. Making a corpus lives in ``recording``. No torch.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from sweep.calls.call import ALIGNMENT, Call, Recorded, StorageData
from sweep.errors import CorpusError

MANIFEST = "manifest.json"

#: Version of the files' format; a corpus of another one is not read.
FORMAT = 4

_RECORD_AGAIN = "run `make record` to record again, or `python -m sweep record --corpus DIR` if the corpus lies elsewhere"


def write_file(path: Path, calls: Sequence[Mapping[str, Any]], chunks: Sequence[bytes | memoryview]) -> int:
    """Write calls and the values of their storages.

    Args:
        path: the file.
        calls: calls as JSON (see ``Call.as_json``); positions of values count from the start of the call's chunk.
        chunks: the values of each call, in the same order.

    Returns:
        Size of the file in bytes.

    Raises:
        CorpusError: the file cannot be written, for example because the disk is full; what is there then is not a corpus file.
    """
    block = bytearray()
    placed = []
    for call, chunk in zip(calls, chunks, strict=True):
        block.extend(bytes(-len(block) % ALIGNMENT))
        storages = [_moved(storage, len(block)) for storage in call["storages"]]
        placed.append({**call, "storages": storages, "chunk": [len(block), len(chunk)]})
        block += chunk
    return write_arrays(path, json.dumps(placed, separators=(",", ":")).encode(), block)


def write_arrays(path: Path, text: bytes, block: bytes | bytearray) -> int:
    """Writes the two arrays of a corpus file, and returns its size in bytes.

    Args:
        path: the file.
        text: the JSON of its calls.
        block: the values of their storages.

    Raises:
        CorpusError: the file cannot be written.
    """
    try:
        with path.open("wb") as file:
            np.savez(file, calls=np.frombuffer(text, np.uint8), data=np.frombuffer(block, np.uint8))
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror}): make room, and record again") from error
    return path.stat().st_size


def _moved(storage: StorageData, by: int) -> StorageData:
    """A storage whose values are at another position."""
    if "bytes" not in storage:
        return storage
    first, position, length = storage["bytes"]
    return cast(StorageData, {**storage, "bytes": [first, position + by, length]})


def read_file(path: Path) -> Iterator[tuple[dict[str, Any], memoryview]]:
    """Iterate over the calls of a file, each with its chunk, as they were passed to :func:`write_file`.

    Raises:
        CorpusError: as :func:`read_arrays`.
    """
    calls, data = read_arrays(path)
    view = memoryview(data.tobytes())
    for call in calls:
        start, length = call.pop("chunk")
        yield {**call, "storages": [_moved(storage, -start) for storage in call["storages"]]}, view[start : start + length]


def read_arrays(path: Path) -> tuple[Any, Any]:
    """Read the calls as JSON, and the values as an array of bytes.

    Raises:
        CorpusError: the file is missing, truncated, corrupt, or not a corpus file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return json.loads(arrays["calls"].tobytes()), arrays["data"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        raise CorpusError(
            f"corpus file {path} is damaged or not a corpus file ({type(error).__name__}): {_RECORD_AGAIN}"
        ) from error


def load(folder: Path, name: str) -> list[Call]:
    """The calls of one overload, in the order of their recording.

    Args:
        folder: folder of the corpus.
        name: qualified name of the overload.

    Raises:
        CorpusError: the file cannot be read.
    """
    path = folder / f"{name}.npz"
    described, data = read_arrays(path)
    view = memoryview(aligned(data))
    try:
        return [_call(name, c, view) for c in described]
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"corpus file {path} is of another format: {_RECORD_AGAIN}") from error


def _call(name: str, described: Mapping[str, Any], values: memoryview) -> Call:
    args, kwargs, tensors, storages = (described[part] for part in ("args", "kwargs", "tensors", "storages"))
    recorded = Recorded(described.get("recorded", Recorded.RETURNED.value))
    return Call(name, described["source"], args, kwargs, tensors, storages, values, described["variant"], recorded)


def aligned(data: Any) -> Any:
    """Copy of an array of bytes at an address that is a multiple of ``ALIGNMENT``: some kernels crash without."""
    block = np.empty(len(data) + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    copy = block[start : start + len(data)]
    copy[:] = data
    return copy


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a corpus and check it against the sizes of the files.

    Raises:
        CorpusError: there is no manifest, it is of another format, or a file is missing or of another size.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        files: dict[str, dict[str, int]] = manifest["overloads"]
        if manifest["format"] != FORMAT:
            raise ValueError(manifest["format"])
        sizes = {name: entry["bytes"] for name, entry in files.items()}
    except FileNotFoundError:
        raise CorpusError(f"no corpus in {folder}: {_RECORD_AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path} is not the manifest of a corpus: {_RECORD_AGAIN}") from error
    for name, recorded in sizes.items():
        try:
            size = os.stat(folder / f"{name}.npz").st_size
        except FileNotFoundError:
            raise CorpusError(f"corpus file {folder / name}.npz is missing: {_RECORD_AGAIN}") from None
        if size != recorded:
            raise CorpusError(
                f"corpus file {folder / name}.npz has {size} bytes, the manifest says {recorded}: it is damaged, {_RECORD_AGAIN}"
            )
    return manifest
