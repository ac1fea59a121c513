"""Measures which branches of some source files Python executes, with the library ``coverage``.

What is executed there lives in ``predictions``. Runs in a child.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coverage
import torch
from coverage.parser import PythonParser

from sweep.search.table import Branch, Function, Reached, Table, owners_of

#: Larger integers that a function compares something with are not tried as options.
_LARGEST_LITERAL = 64

#: Lines that are not counted, nor is a branch to them: torch says there that no call can come to them.
IMPOSSIBLE = r"^\s*raise AssertionError"

_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def root_of(places: Sequence[str]) -> Path:
    """The folder from which names of files count: that of the first place if that is absolute, else the one that holds torch."""
    first = Path(places[0])
    return first.parent if first.is_absolute() else Path(torch.__file__).resolve().parent.parent


def _files(places: Sequence[str]) -> list[Path]:
    root = root_of(places)
    return sorted({path for place in places for path in ([Path(place)] if Path(place).is_absolute() else root.glob(place))})


def _new(places: Sequence[str]) -> coverage.Coverage:
    """A measurement that neither reads nor writes files of its own.

    Its core is the library's choice: the C tracer, or ``sys.monitoring`` on a Python where that tells branches apart.
    """
    files = list(map(str, _files(places)))
    measurement = coverage.Coverage(branch=True, include=files, data_file=None, config_file=False, messages=False)
    measurement.exclude(IMPOSSIBLE)
    return measurement


def signature(places: Sequence[str]) -> str:
    """Digest of all that decides what the table of some places has: their files, Python, and the library."""
    described = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(places)]
    known = (sys.version, coverage.__version__, IMPOSSIBLE, _LARGEST_LITERAL, described)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:24]


def table_of(places: Sequence[str]) -> Table:
    """The table of all branches and functions of some places.

    Args:
        places: globs of files, from the folder that holds ``torch``, or absolute paths.
    """
    root = root_of(places)
    functions = sorted(function for path in _files(places) for function in _functions(path, path.relative_to(root).as_posix()))
    owners = owners_of(functions)
    branches: list[Branch] = []
    lines: dict[str, list[int]] = {}
    for file, report in _reports(places).items():
        of_file = owners.get(file, {})
        lines[file] = [line for line in report["missing_lines"] if line in of_file]
        missing = report["missing_branches"]
        branches += [Branch(file, line, target, of_file[line]) for line, target in missing if line in of_file]
    return Table(tuple(sorted(branches)), tuple(functions), lines)


def _reports(places: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the library knows about each file when nothing was executed."""
    root, measurement = root_of(places), _new(places)
    paths = list(map(str, _files(places)))
    measurement.get_data().add_arcs({path: [] for path in paths})
    with tempfile.TemporaryDirectory(dir=".") as folder:
        report = Path(folder) / "report.json"
        measurement.json_report(morfs=paths, outfile=str(report))
        files = json.loads(report.read_text())["files"]
    return {Path(name).resolve().relative_to(root).as_posix(): described for name, described in files.items()}


def _functions(path: Path, file: str) -> Iterator[Function]:
    """The functions of a file."""

    def visit(node: ast.AST, around: tuple[str, ...]) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            name = (*around, child.name) if isinstance(child, _FUNCTION | ast.ClassDef) else around
            if isinstance(child, _FUNCTION):
                last = child.end_lineno or child.lineno
                yield Function(file, child.body[0].lineno, last, ".".join(name), tuple(_literals(child)))
            yield from visit(child, name)

    yield from visit(ast.parse(path.read_text()), ())


def _literals(function: ast.AST) -> list[str | int]:
    """The strings that a function compares something with, and the small integers together with their neighbors."""
    compared = [node for node in ast.walk(function) if isinstance(node, ast.Compare)]
    values = [node.value for compare in compared for node in ast.walk(compare) if isinstance(node, ast.Constant)]
    numbers = {value for value in values if type(value) is int and value <= _LARGEST_LITERAL}
    near = {number + step for number in numbers for step in (-1, 0, 1)}
    return [*sorted({value for value in values if isinstance(value, str)}), *sorted(near)]


class Meter:
    """Measures what is executed inside :meth:`measured`, in this process.

    Args:
        places: the files, as in :func:`table_of`.
        table: their table.
    """

    def __init__(self, places: Sequence[str], table: Table) -> None:
        self._measurement = _new(places)
        self._root = root_of(places)
        self._numbers = {(branch.file, branch.line, branch.target): at for at, branch in enumerate(table.branches)}
        self._owners = table.owners()
        self._table = table
        self._seen: dict[str, set[tuple[int, int]]] = {}
        self._parsers: dict[str, PythonParser] = {}

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Context in which what is executed counts."""
        self._measurement.start()
        try:
            yield
        finally:
            self._measurement.stop()

    def literals(self, functions: Iterable[int]) -> list[str | int]:
        """The constants that some functions compare something with, each once."""
        return list(dict.fromkeys(value for number in functions for value in self._table.functions[number].literals))

    def reset(self) -> None:
        """Forgets what was executed."""
        self._measurement.get_data().erase()
        self._seen.clear()

    def new(self) -> Reached:
        """What was executed for the first time since the last question."""
        reached = Reached()
        data = self._measurement.get_data()
        for path in data.measured_files():
            file = Path(path).relative_to(self._root).as_posix()
            arcs = set(data.arcs(path) or ())
            seen = self._seen.get(file, set())
            if len(arcs) > len(seen):
                self._seen[file] = arcs
                self._add(reached, file, self._translated(path, arcs), {line for arc in arcs - seen for line in arc})
        return reached

    def _translated(self, path: str, arcs: set[tuple[int, int]]) -> set[tuple[int, int]]:
        """Pairs of lines as the table has them: of statements on several lines, the first line."""
        if path not in self._parsers:
            self._parsers[path] = PythonParser(filename=path)
            self._parsers[path].parse_source()
        translated: set[tuple[int, int]] = self._parsers[path].translate_arcs(arcs)
        return translated

    def _add(self, reached: Reached, file: str, arcs: set[tuple[int, int]], lines: set[int]) -> None:
        owners, numbers = self._owners.get(file, {}), self._numbers
        reached.lines[file] = {line for arc in arcs for line in arc if line > 0}
        reached.functions |= {owners[line] for line in lines if line in owners}
        reached.branches |= {numbers[file, *arc] for arc in arcs if (file, *arc) in numbers}
