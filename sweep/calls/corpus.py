"""The corpus: recorded calls on disk, one ``.npz`` per overload and a manifest that says what they were made from.

A file holds two arrays of bytes, ``calls`` (JSON) and ``data`` (the tensors' storages). It is read with ``allow_pickle=False``:
nothing in a corpus can run.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST = "manifest.json"
FORMAT = 2

#: Every storage starts on such a boundary inside a file's block of bytes, as the allocator would have it.
ALIGNMENT = 64


#: What is to be done about a corpus that cannot be used.
_ANEW = "run `make record` to make it anew, or `python -m sweep record --corpus DIR` if it lies elsewhere"


class CorpusError(Exception):
    """A corpus cannot be used; the message is one line that says what to do."""


def sources_digest(roots: Iterable[Path]) -> str:
    """One digest of every Python file under some folders: what decides the recorded calls, beside torch."""
    digest = hashlib.sha256()
    for root in roots:
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def write_file(path: Path, calls: list[dict[str, Any]], chunks: list[bytes | memoryview]) -> int:
    """Writes calls and the bytes of their storages, and returns the size of the file in bytes.

    Args:
        path: the file.
        calls: plain-data calls whose storages' offsets count from the start of their own chunk.
        chunks: the bytes of each call's storages, in the same order.

    Raises:
        CorpusError: there is no room, or it cannot be written for another reason; what is there then is no corpus file.
    """
    block = bytearray()
    placed = []
    for call, chunk in zip(calls, chunks, strict=True):
        block.extend(bytes(-len(block) % ALIGNMENT))
        placed.append({**call, "storages": [_moved(s, len(block)) for s in call["storages"]], "chunk": [len(block), len(chunk)]})
        block += chunk
    text = json.dumps(placed, separators=(",", ":")).encode()
    try:
        with path.open("wb") as file:
            np.savez(file, calls=np.frombuffer(text, np.uint8), data=np.frombuffer(block, np.uint8))
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror}): make room, and record again") from error
    return path.stat().st_size


def _moved(storage: dict[str, Any], by: int) -> dict[str, Any]:
    if "bytes" not in storage:
        return storage
    first, at, length = storage["bytes"]
    return {**storage, "bytes": [first, at + by, length]}


def read_file(path: Path) -> Iterator[tuple[dict[str, Any], memoryview]]:
    """What ``write_file`` wrote: each call with its chunk.

    Raises:
        CorpusError: as ``read_arrays``.
    """
    calls, data = read_arrays(path)
    view = memoryview(data.tobytes())
    for call in calls:
        start, length = call.pop("chunk")
        yield {**call, "storages": [_moved(s, -start) for s in call["storages"]]}, view[start : start + length]


def read_arrays(path: Path) -> tuple[Any, Any]:
    """The JSON and the bytes of one file.

    Raises:
        CorpusError: the file is missing, cut short, changed, or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return json.loads(arrays["calls"].tobytes()), arrays["data"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        raise CorpusError(f"corpus file {path} is damaged or not a corpus file ({type(error).__name__}): {_ANEW}") from error


def load(folder: Path, name: str) -> list[Any]:
    """The calls of one overload, in the order of their recording.

    Raises:
        CorpusError: the file cannot be read.
    """
    from sweep.calls.call import Call

    described, data = read_arrays(folder / f"{name}.npz")
    view = memoryview(aligned(data))
    try:
        return [
            Call(name, c["source"], c["args"], c["kwargs"], c["tensors"], c["storages"], view, c["layout"]) for c in described
        ]
    except (KeyError, TypeError) as error:
        raise CorpusError(f"corpus file {folder / name}.npz is of another format: {_ANEW}") from error


def aligned(data: Any) -> Any:
    """A copy of an array of bytes that begins where torch's own allocator would have it: kernels rely on that, and some crash."""
    block = np.empty(len(data) + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    copy = block[start : start + len(data)]
    copy[:] = data
    return copy


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a corpus, checked against the files beside it.

    Raises:
        CorpusError: there is none, it is of another format, or a file is missing or of another size.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        files: dict[str, dict[str, int]] = manifest["overloads"]
        if manifest["format"] != FORMAT:
            raise ValueError(manifest["format"])
        sizes = {name: entry["bytes"] for name, entry in files.items()}
    except FileNotFoundError:
        raise CorpusError(f"no corpus in {folder}: {_ANEW}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path} is not the manifest of a corpus: {_ANEW}") from error
    for name, recorded in sizes.items():
        try:
            size = os.stat(folder / f"{name}.npz").st_size
        except FileNotFoundError:
            raise CorpusError(f"corpus file {folder / name}.npz is missing: {_ANEW}") from None
        if size != recorded:
            raise CorpusError(
                f"corpus file {folder / name}.npz has {size} bytes, the manifest says {recorded}: it is damaged, {_ANEW}"
            )
    return manifest
