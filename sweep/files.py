"""Replacing text files whole, digests of files, and the lock of the project. Knows nothing of what the files hold; no torch."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def digest(paths: Iterable[Path]) -> str:
    """Digest of the names and contents of some files, in that order."""
    sha256 = hashlib.sha256()
    for path in paths:
        sha256.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sha256.hexdigest()[:16]


def replace(path: Path, text: str) -> None:
    """Replaces the text of a file, as :func:`replace_all` does.

    Raises:
        OSError: it could not be written, with its path as ``filename``; it is as it was.
    """
    replace_all({path: text})


def replace_all(texts: Mapping[Path, str]) -> None:
    """Replaces the texts of several files.

    Every text is on disk, under a temporary name, before the first file is renamed. A reader sees an old text or a new one.

    Args:
        texts: file -> its new text; missing folders are made.

    Raises:
        OSError: one could not be written, with its path as ``filename``; all of them are as they were.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            try:
                _write(path, text, temporary)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
        for path in texts:
            os.replace(temporary[path], path)
            del temporary[path]
    finally:
        for leftover in temporary.values():
            leftover.unlink(missing_ok=True)


def _write(path: Path, text: str, temporary: dict[Path, Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary[path] = Path(name)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Exclusive lock on a folder or file; blocks until free. The system releases it when its process ends.

    Args:
        path: what to lock. If nothing is there, a folder is made; nothing is ever written into it.

    Raises:
        OSError: it cannot be made or opened.
    """
    if not path.exists():
        path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
