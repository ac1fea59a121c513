"""Which branches known calls reach, as text: a table of files and functions, and the source lines that none reaches. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from sweep.search.table import Reached, Table


def table_of(table: Table, reached: Reached) -> str:
    """A table with a row per file, then one per function with branches that are not reached; both of entered functions only."""
    by_file: dict[str, Counter[str]] = {}
    by_function: dict[int, Counter[str]] = {}
    for number in sorted(table.within(reached.functions)):
        branch = table.branches[number]
        for counts in (by_file.setdefault(branch.file, Counter()), by_function.setdefault(branch.function, Counter())):
            counts["total"] += 1
            counts["covered"] += number in reached.branches
    files = [(file, c["covered"], c["total"], _share(c)) for file, c in sorted(by_file.items())]
    every = sum(by_file.values(), Counter())
    files.append(("all", every["covered"], every["total"], _share(every)))
    functions = [
        (f"{table.functions[number].file}:{table.functions[number].name}", c["covered"], c["total"], _share(c))
        for number, c in sorted(by_function.items())
        if c["covered"] < c["total"]
    ]
    head = ("covered", "branches", "share")
    return "\n\n".join(
        tabulate(rows, headers=(title, *head), disable_numparse=True, colalign=("left", "right", "right", "right"))
        for title, rows in (("file", files), ("function", functions))
        if rows
    )


def _share(counts: Counter[str]) -> str:
    return f"{counts['covered'] / counts['total']:.1%}"


def missing(table: Table, reached: Reached, root: Path) -> Iterator[str]:
    """The source lines of entered functions that no call reaches, and those that were not left in every possible way.

    Args:
        table: the table.
        reached: what calls reach.
        root: the folder from which the names of files count.
    """
    targets: dict[tuple[str, int], list[int]] = {}
    for number in sorted(table.within(reached.functions) - reached.branches):
        branch = table.branches[number]
        targets.setdefault((branch.file, branch.line), []).append(branch.target)
    for file, owners in table.owners().items():
        text = (root / file).read_text().splitlines()
        executed, shown = reached.lines.get(file, set()), -1
        for line in table.lines.get(file, []):
            function = owners[line]
            is_partial = line in executed and (file, line) in targets
            if function not in reached.functions or (line in executed and not is_partial):
                continue
            if function != shown:
                shown = function
                yield f"{file}:{table.functions[function].name}"
            note = f"  # never goes on to {', '.join(map(_place, targets[file, line]))}" if is_partial else ""
            yield f"{line:6} {text[line - 1]}{note}"


def _place(target: int) -> str:
    return str(target) if target > 0 else "the end"
