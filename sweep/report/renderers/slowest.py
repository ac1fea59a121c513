"""Renders the overloads that took longest, slowest first."""

from __future__ import annotations

from tabulate import tabulate

from sweep.report.model import Run

#: How many overloads the table has.
_ROWS = 50


def render(run: Run) -> str:
    """A table of the slowest overloads: seconds, calls and seconds per call."""
    rows = [
        (result.overload, f"{result.seconds:.2f}", result.calls, f"{result.seconds / result.calls:.4f}" if result.calls else "")
        for result in run.slowest(_ROWS)
    ]
    headers = ("overload", "seconds", "calls", "seconds per call")
    return tabulate(rows, headers=headers, disable_numparse=True, colalign=("left", "right", "right", "right")) + "\n"
