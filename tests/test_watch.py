"""What takes long is named while it runs, less and less often, and not once it is done."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sweep.report import watch


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(watch.time, "monotonic", lambda: now.time)
    return now


def test_an_item_is_named_after_its_time_and_again_after_twice_that(clock):
    seen = watch.Watch(None, patience=30.0)
    seen.pytest_runtest_logstart("sweep/test_overloads.py::test_overload[aten.abs.default]")
    named = []
    for clock.time in range(0, 200, 10):
        named += seen.overdue()
    assert named == [f"still running after {t} s: aten.abs.default" for t in (30, 60, 120)]


def test_what_is_done_is_not_named(clock):
    seen = watch.Watch(None, patience=30.0)
    seen.pytest_runtest_logstart("item")
    seen.pytest_runtest_logreport(SimpleNamespace(when="teardown", nodeid="item"))
    clock.time = 100.0
    assert seen.overdue() == []


def test_a_run_that_never_started_ends_all_the_same():
    watch.Watch(None).pytest_sessionfinish()
