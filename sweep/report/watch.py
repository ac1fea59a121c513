"""Names overloads that are taking long while they run. What they did is the business of ``collector``."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

#: Seconds after which an overload is named, and again each time that it has taken twice as long.
PATIENCE = 30.0


class Watch:
    """A pytest plugin of the process that has the terminal; under xdist it learns there what workers start and finish.

    Args:
        config: pytest's configuration.
        patience: seconds after which an overload is named for the first time.
    """

    def __init__(self, config: pytest.Config, patience: float = PATIENCE) -> None:
        self._config = config
        self._patience = patience
        self._running: dict[str, tuple[float, float]] = {}  # node id -> when it started, and after how long to name it next
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sweep-watch", daemon=True)

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
                seconds = time.monotonic() - started
                if seconds >= after:
                    self._running[nodeid] = (started, 2 * after)
                    overload = nodeid.partition("[")[2].removesuffix("]") or nodeid
                    lines.append(f"still running after {seconds:.0f} s: {overload}")
        return lines

    def _watch(self) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        while not self._done.wait(min(self._patience / 4, 1.0)):
            for line in self.overdue():
                terminal.ensure_newline()
                terminal.write_line(line)
