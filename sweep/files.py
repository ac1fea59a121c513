"""Text files are replaced whole: whoever looks sees the old text or the new one, whatever happens in between."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Gives a file a new text. Raises as :func:`replace_all`."""
    replace_all({path: text})


def replace_all(texts: Mapping[Path, str]) -> None:
    """Gives several files new texts: all are written beside their places before the first one is renamed there.

    Args:
        texts: file -> its new text; folders that are missing are made.

    Raises:
        OSError: one could not be written, with its path as ``filename``; all of them are as they were.
    """
    beside: dict[Path, Path] = {}
    try:
        for path, text in texts.items():
            try:
                _write(path, text, beside)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
        for path in texts:
            os.replace(beside[path], path)
            del beside[path]
    finally:
        for written in beside.values():
            written.unlink(missing_ok=True)


def _write(path: Path, text: str, beside: dict[Path, Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    beside[path] = Path(name)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the one right to change a folder's files; who comes second waits. It leaves nothing there."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
