"""The file of causes beside the expect files of a torch and device: reading it, writing it, and what it lacks. No torch.

A line per cause and one per overload under it, sorted, so that a diff shows what has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.causes.answer import Function, Role
from sweep.causes.cause import Cause, Causes
from sweep.errors import CausesError
from sweep.expect.expect_file import ExpectFile
from sweep.expect.folder import shown
from sweep.files import replace

NAME = "causes.json"


def load(folder: Path) -> Causes:
    """The causes in the file of a folder of expect files; none if there is no file.

    Raises:
        CausesError: it cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return Causes()
    try:
        data = json.loads(path.read_text())
        return Causes(tuple(_cause(entry) for entry in data["causes"]), data["unknown"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "restore the file with git, or remove it and run: python -m sweep causes --update"
        raise CausesError(f"{path}: {type(error).__name__}: {error}; {remedy}") from error


def _cause(entry: Mapping[str, Any]) -> Cause:
    function = Function(entry["place"], entry["line"], entry["name"], Role[entry["role"]])
    return Cause(function, {name: dict(titles) for name, titles in entry["findings"].items()})


def save(folder: Path, causes: Causes) -> None:
    """Replaces the file of a folder of expect files.

    Raises:
        OSError: it could not be written; it is as it was.
    """
    replace(folder / NAME, render(causes))


def render(causes: Causes) -> str:
    """The text of the file.

    >>> cause = Cause(Function("a.py", 1, "f", Role.PYTHON), {"aten.abs.out": {"fake: x": ""}})
    >>> print(render(Causes((cause,))), end="")
    {"causes": [
    {"place": "a.py", "line": 1, "name": "f", "role": "PYTHON", "findings": {
      "aten.abs.out": {"fake: x": ""}}}
    ],
    "unknown": {}
    }
    """
    blocks = []
    for cause in causes.known:
        function = cause.function
        head = {
            "place": function.place,
            "line": function.line,
            "name": function.name,
            "role": function.role.name,
        }
        blocks.append(f'{json.dumps(head)[:-1]}, "findings": {_lines(cause.findings)}}}')
    text = ",\n".join(blocks)  # an f-string of Python 3.11 has no backslash in its braces
    return f'{{"causes": [\n{text}\n],\n"unknown": {_lines(causes.unknown)}\n}}\n'


def _lines(findings: Mapping[str, Mapping[str, str]]) -> str:
    ordered = ((overload, dict(sorted(titles.items()))) for overload, titles in sorted(findings.items()))
    lines = [f"  {json.dumps(overload)}: {json.dumps(titles)}" for overload, titles in ordered]
    return "{\n" + ",\n".join(lines) + "}" if lines else "{}"


def titles_of(files: Mapping[str, ExpectFile]) -> dict[str, set[str]]:
    """Overload -> the titles of its findings in expect files."""
    return {name: {finding.title for finding in file.known(name).findings} for file in files.values() for name in file.sections}


def missing(causes: Causes, files: Mapping[str, ExpectFile]) -> dict[str, set[str]]:
    """Overload -> the titles of the findings of expect files of which nothing is known, since they are newer than the causes."""
    asked = causes.titles()
    lacking = {name: titles - asked.get(name, set()) for name, titles in titles_of(files).items()}
    return {name: titles for name, titles in sorted(lacking.items()) if titles}


def lacking(causes: Causes, files: Mapping[str, ExpectFile], folder: Path) -> str:
    """The line that says how many findings of the expect files are newer than the causes; empty if none is.

    Args:
        causes: the causes.
        files: the expect files by namespace.
        folder: the folder of both.
    """
    stale = missing(causes, files)
    if not stale:
        return ""
    count, path = sum(map(len, stale.values())), shown(folder / NAME)
    return (
        f"{path} lacks {count} findings of {len(stale)} overloads; to find their causes: python -m sweep causes --update --stale"
    )
