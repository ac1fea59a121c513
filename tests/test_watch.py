"""An overload that takes long is named while it runs, at longer and longer intervals, and not once it is done."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from sweep.report import watch

ITEM = "sweep/test_overloads.py::test_overload[aten.abs.default]"


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(watch.time, "monotonic", lambda: now.time)
    return now


def test_an_overload_is_named_after_its_time_and_again_each_time_that_it_has_doubled(clock):
    watching = watch.Watch(None, patience=30.0)
    watching.pytest_runtest_logstart(ITEM)
    lines = []
    for clock.time in range(0, 250, 10):
        lines += watching.overdue()
    assert lines == [f"still running after {seconds} s: aten.abs.default" for seconds in (30, 60, 120, 240)]


def test_only_an_overload_that_is_done_is_no_longer_named(clock):
    watching = watch.Watch(None, patience=30.0)
    watching.pytest_runtest_logstart("one")
    watching.pytest_runtest_logstart("two")
    watching.pytest_runtest_logreport(SimpleNamespace(when="teardown", nodeid="one"))
    watching.pytest_runtest_logreport(SimpleNamespace(when="call", nodeid="two"))
    clock.time = 100.0
    assert watching.overdue() == ["still running after 100 s: two"]


def test_the_terminal_gets_the_lines_until_the_run_is_over():
    written = threading.Event()
    lines = []

    def write_line(line):
        lines.append(line)
        written.set()

    terminal = SimpleNamespace(ensure_newline=lambda: None, write_line=write_line)
    config = SimpleNamespace(pluginmanager=SimpleNamespace(getplugin={"terminalreporter": terminal}.get))
    watching = watch.Watch(config, patience=0.01)
    before = set(threading.enumerate())
    watching.pytest_sessionstart()
    [thread] = set(threading.enumerate()) - before
    watching.pytest_runtest_logstart(ITEM)
    assert written.wait(timeout=30)
    watching.pytest_sessionfinish()
    assert not thread.is_alive()
    assert lines[0] == "still running after 0 s: aten.abs.default"


def test_a_run_that_never_started_can_finish():
    before = set(threading.enumerate())
    watch.Watch(None).pytest_sessionfinish()
    assert set(threading.enumerate()) == before
