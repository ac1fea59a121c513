"""The searched files: one JSON file per namespace, with the calls that a search has kept. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep import files
from sweep.errors import SearchedFileError

#: The folder of the files that are checked in.
SEARCHED = Path(__file__).resolve().parents[2] / "opinfo_adapters" / "searched"

#: The calls of each overload, by its qualified name.
Stored = dict[str, list[dict[str, Any]]]


def load(folder: Path) -> Stored:
    """The calls of all files in a folder.

    Raises:
        SearchedFileError: a file cannot be read or is none.
    """
    stored: Stored = {}
    for path in sorted(folder.glob("*.json")):
        try:
            of_file = json.loads(path.read_text())
            stored.update({name: [dict(call) for call in calls] for name, calls in of_file.items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SearchedFileError(f"{path} holds no searched calls: restore it, or delete it and search again") from error
    return stored


def save(folder: Path, stored: Mapping[str, list[dict[str, Any]]]) -> None:
    """Writes the calls of all overloads, sorted, one call on a line, and removes the files of namespaces that have none.

    Raises:
        SearchedFileError: a file cannot be written; all of them are as they were.
    """
    by_namespace: dict[str, dict[str, list[str]]] = {}
    for name, calls in sorted(stored.items()):
        lines = sorted({json.dumps(call, sort_keys=True, separators=(",", ":")) for call in calls}, key=lambda s: (len(s), s))
        if lines:
            by_namespace.setdefault(name.partition(".")[0], {})[name] = lines
    texts = {folder / f"{namespace}.json": _text(by_name) for namespace, by_name in by_namespace.items()}
    try:
        files.replace_all(texts)
        for path in folder.glob("*.json"):
            if path not in texts:
                path.unlink()
    except OSError as error:
        raise SearchedFileError(f"cannot write {error.filename} ({error.strerror})") from error


def _text(by_name: Mapping[str, list[str]]) -> str:
    overloads = [f"{json.dumps(name)}: [\n" + ",\n".join(lines) + "\n]" for name, lines in by_name.items()]
    return "{\n" + ",\n".join(overloads) + "\n}\n"
