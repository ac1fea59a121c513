"""The table of all branches and functions of some source files, by number, and which of them were reached. No torch.

A branch is a pair of lines: one that more than one line may follow, and one of those; a negative one stands for leaving the
function. How calls are measured lives in ``measuring``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: The places of torch that answer for predictions: globs of files, from the folder that holds the package ``torch``.
PLACES = (
    "torch/_meta_registrations.py",
    "torch/_refs/**/*.py",
    "torch/_decomp/**/*.py",
    "torch/_prims/**/*.py",
    "torch/_subclasses/fake_impls.py",
    "torch/_inductor/decomposition.py",
)


@dataclass(frozen=True, order=True)
class Branch:
    """One branch.

    Attributes:
        file: name of its file, from the folder that holds the packages.
        line: the line that decides.
        target: the line that follows; negative if the function is left.
        function: number of its function.
    """

    file: str
    line: int
    target: int
    function: int


@dataclass(frozen=True, order=True)
class Function:
    """One function, with the lambdas and comprehensions in it but without the functions in it.

    Attributes:
        file: name of its file.
        first: first line of its body.
        last: last line of its body.
        name: its name, with those of the classes and functions around it.
        literals: the constants that it compares something with: strings and small integers.
    """

    file: str
    first: int
    last: int
    name: str
    literals: tuple[str | int, ...] = ()


def owners_of(functions: Sequence[Function]) -> dict[str, dict[int, int]]:
    """File -> line -> number of the innermost function around it.

    Args:
        functions: the functions, sorted, so that inner ones follow outer ones.
    """
    owners: dict[str, dict[int, int]] = {}
    for number, function in enumerate(functions):
        owners.setdefault(function.file, {}).update(dict.fromkeys(range(function.first, function.last + 1), number))
    return owners


@dataclass(frozen=True)
class Table:
    """The branches and functions of some files; their position is their number.

    Attributes:
        branches: the branches, sorted.
        functions: the functions, sorted.
        lines: the first lines of all statements in functions, by file.
    """

    branches: tuple[Branch, ...]
    functions: tuple[Function, ...]
    lines: dict[str, list[int]]

    def save(self, path: Path, signature: str = "") -> None:
        """Writes the table to a file, from which children read it.

        Args:
            path: the file.
            signature: what the table was made from (see :func:`signature_of`).
        """
        branches = [[b.file, b.line, b.target, b.function] for b in self.branches]
        functions = [[f.file, f.first, f.last, f.name, list(f.literals)] for f in self.functions]
        path.write_text(json.dumps({"branches": branches, "functions": functions, "lines": self.lines, "signature": signature}))

    @classmethod
    def load(cls, path: Path) -> Table:
        """The table of a file that :meth:`save` has written."""
        data = json.loads(path.read_text())
        functions = tuple(
            Function(file, first, last, name, tuple(literals)) for file, first, last, name, literals in data["functions"]
        )
        return cls(tuple(Branch(*branch) for branch in data["branches"]), functions, data["lines"])

    def digest(self) -> str:
        """Digest of the table: of another one, numbers mean something else."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def owners(self) -> dict[str, dict[int, int]]:
        """File -> line -> number of the innermost function around it."""
        return owners_of(self.functions)

    def within(self, functions: Iterable[int]) -> set[int]:
        """The numbers of the branches of some functions."""
        wanted = set(functions)
        return {number for number, branch in enumerate(self.branches) if branch.function in wanted}


def signature_of(path: Path) -> str:
    """The signature of a table that was saved; empty if there is none that can be read."""
    try:
        return str(json.loads(path.read_text())["signature"])
    except (OSError, ValueError, KeyError):
        return ""


@dataclass
class Reached:
    """What some calls have reached, by number.

    Attributes:
        branches: the branches.
        functions: the functions that were entered.
        lines: the lines that were executed, by file.
    """

    branches: set[int] = field(default_factory=set)
    functions: set[int] = field(default_factory=set)
    lines: dict[str, set[int]] = field(default_factory=dict)

    def add(self, other: Reached) -> None:
        """Adds what other calls have reached."""
        self.branches |= other.branches
        self.functions |= other.functions
        for file, lines in other.lines.items():
            self.lines.setdefault(file, set()).update(lines)

    def as_json(self) -> dict[str, object]:
        """The same as JSON data."""
        lines = {file: sorted(lines) for file, lines in sorted(self.lines.items())}
        return {"branches": sorted(self.branches), "functions": sorted(self.functions), "lines": lines}

    @classmethod
    def from_json(cls, data: dict[str, object]) -> Reached:
        """What :meth:`as_json` has returned."""
        branches, functions, lines = data["branches"], data["functions"], data["lines"]
        assert isinstance(branches, list)
        assert isinstance(functions, list)
        assert isinstance(lines, dict)
        return cls(set(branches), set(functions), {file: set(of_file) for file, of_file in lines.items()})


@dataclass(frozen=True)
class Found:
    """A call that reaches branches which no call has reached before, and that the kernel accepts.

    Attributes:
        call: its plain form.
        branches: the numbers of those branches.
    """

    call: dict[str, Any]
    branches: tuple[int, ...]


@dataclass(frozen=True)
class SearchResult:
    """What one search of an overload came to.

    Attributes:
        found: the calls that it found.
        tried: how many mutated calls it tried.
    """

    found: tuple[Found, ...]
    tried: int
