"""The progress of a stage as text: a line that is redrawn on a terminal, and one line per tenth elsewhere."""

from __future__ import annotations

import time
from typing import TextIO

#: Seconds between two redraws.
_REDRAW = 0.1

_WIDTH = 30


class ProgressBar:
    """The progress of one stage.

    Args:
        title: shown first.
        total: number of tasks.
        done: number of tasks that an earlier recording has done.
        out: where it is shown.
    """

    def __init__(self, title: str, total: int, done: int, out: TextIO) -> None:
        self._title, self._total, self._done, self._out = title, total, done, out
        self._started = time.monotonic()
        self._drawn = 0.0

    def advance(self, note: str) -> None:
        """Count one more task as done.

        Args:
            note: shown behind the percentage.
        """
        self._done += 1
        now = time.monotonic()
        share = self._done / max(self._total, 1)
        note = f"{note}  {now - self._started:.0f} s"
        if self._out.isatty():
            if now - self._drawn > _REDRAW or self._done == self._total:
                self._drawn = now
                bar = "█" * int(_WIDTH * share)
                print(f"\r{self._title} {bar:░<{_WIDTH}} {share:4.0%}  {note}", end="", file=self._out, flush=True)
        elif int(10 * share) != int(10 * (self._done - 1) / max(self._total, 1)):
            print(f"{self._title} {share:.0%}  {note}", file=self._out, flush=True)

    def close(self) -> None:
        """End the redrawn line."""
        if self._out.isatty():
            print(file=self._out)
