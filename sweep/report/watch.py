"""Says which overloads are taking long while they do, so that whoever waits knows what for."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

#: Seconds after which an overload is named, and again each time it has taken twice as long.
PATIENCE = 30.0


class Watch:
    """A pytest plugin of the process that has the terminal; xdist tells it what its workers start and finish.

    Args:
        config: pytest's.
        patience: seconds after which an overload is named for the first time.
    """

    def __init__(self, config: pytest.Config, patience: float = PATIENCE) -> None:
        self._config = config
        self._patience = patience
        self._running: dict[str, tuple[float, float]] = {}  # item -> when it started, and after how long it is named next
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sweep-watch", daemon=True)

    def pytest_sessionstart(self) -> None:
        self._thread.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        with self._lock:
            self._running[nodeid] = (time.monotonic(), self._patience)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "teardown":
            with self._lock:
                self._running.pop(report.nodeid, None)

    def overdue(self) -> list[str]:
        """A line for each overload that is to be named now."""
        lines = []
        with self._lock:
            for nodeid, (started, after) in sorted(self._running.items()):
                taken = time.monotonic() - started
                if taken >= after:
                    self._running[nodeid] = (started, 2 * after)
                    lines.append(f"still running after {taken:.0f} s: {nodeid.partition('[')[2].rstrip(']') or nodeid}")
        return lines

    def _look(self) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        while not self._done.wait(min(self._patience / 4, 1.0)):
            for line in self.overdue():
                terminal.ensure_newline()
                terminal.write_line(line)
