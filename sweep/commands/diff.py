"""``diff``: compares the checked-in results of two torches or devices."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from tabulate import tabulate

from sweep import expect
from sweep.commands import options
from sweep.expect.difference import Difference, Kind, differences


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.results(), options.device()]
    parser = commands.add_parser("diff", parents=parents, help="compare the checked-in results of two torches or devices")
    name = "a torch, as 2.13, a torch and a device, as 2.13/cuda, a device, or a folder of expect files"
    parser.add_argument("old", metavar="OLD", help=name)
    parser.add_argument("new", metavar="NEW", help="likewise")
    parser.add_argument("--json", action="store_true", help="one JSON object per overload and line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints what differs."""
    folders = [expect.named(name, Path(arguments.results), arguments.device) for name in (arguments.old, arguments.new)]
    old, new = (expect.load(folder) for folder in folders)
    found = differences(old, new)
    if arguments.json:
        for difference in found:
            print(json.dumps(difference.as_json()))
        return 0
    print(f"from {expect.shown(folders[0])} to {expect.shown(folders[1])}")
    if found:
        rows = [row for difference in found for row in _rows(difference)]
        print(tabulate(rows, headers=("change", "overload", "from what to what"), tablefmt="plain", disable_numparse=True))
    counts = Counter(difference.kind for difference in found)
    print(", ".join(f"{counts[kind]} {kind}" for kind in Kind if counts[kind]) or "no overload differs")
    return 0


def _rows(difference: Difference) -> list[tuple[str, str, str]]:
    """The rows of a table about one overload."""
    heads = [(str(difference.kind), difference.overload)] + [("", "")] * (len(difference.texts) - 1)
    return [(*head, text) for head, text in zip(heads, difference.texts, strict=True)]
