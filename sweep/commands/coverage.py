"""``coverage``: prints which branches of torch's own Python the predictions of known calls reach."""

from __future__ import annotations

import argparse
from typing import Any

from sweep.commands import options
from sweep.commands.search import measured, measuring
from sweep.search import report


def add(commands: Any) -> None:
    """Adds the command's parser."""
    text = "print which branches of torch's Python the predictions of known calls reach"
    parser = commands.add_parser("coverage", parents=[options.work(), measuring()], help=text)
    parser.add_argument("--missing", action="store_true", help="also print the source lines that no call reaches")
    parser.set_defaults(run=run, libraries=[])


def run(arguments: argparse.Namespace) -> int:
    """Prints a row per file and function."""
    with measured(arguments) as (measurement, _):
        together = measurement.everything()
        print(report.table_of(measurement.table, together))
        if arguments.missing:
            print()
            for line in report.missing(measurement.table, together, measurement.root):
                print(line)
    return 0
