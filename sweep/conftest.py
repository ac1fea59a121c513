"""pytest's side of the sweep: its options, and the hooks that hand plans to workers and results to the report.

What to run is decided in ``session``, what becomes of an overload in ``supervisor``, what is printed in ``report``.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep import crossref, session
from sweep.expect import expect_file as expect
from sweep.recording import record as recording
from sweep.report.report import Report
from sweep.isolation.sandbox import Sandbox
from sweep.session import Options, Plan, UsageError
from sweep.isolation.supervisor import Supervisor
from sweep.report.watch import Watch

_PLAN = pytest.StashKey[Plan]()
_REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    default = Options()
    group = parser.getgroup("sweep", "operator sweep")
    group.addoption("--device", default=default.device, help="device to sweep: cpu, cuda, cuda:1, ... (default: %(default)s)")
    group.addoption(
        "--ops", action="append", default=[], metavar="GLOB", help="only overloads that match, as 'aten.add*'; repeatable"
    )
    group.addoption("--crossref", action="append", default=[], metavar="NAME", help="only this crossref; repeatable")
    group.addoption(
        "--import",
        action="append",
        default=[],
        dest="libraries",
        metavar="MODULE",
        help="sweep the operators that this module registers instead of torch's own; repeatable, needs --results",
    )
    group.addoption("--corpus", default=None, metavar="DIR", help="use these recorded calls as they are, whatever made them")
    group.addoption("--results", default=default.results, metavar="DIR", help="where expect files lie (default: results/)")
    group.addoption(
        "--call-timeout",
        type=float,
        default=default.timeout,
        metavar="S",
        help="seconds one call may take (default: %(default)s)",
    )
    group.addoption(
        "--overload-timeout",
        type=float,
        default=default.overload_timeout,
        metavar="S",
        help="seconds the calls of one overload may take together; 0: no limit (default: %(default)s)",
    )
    group.addoption(
        "--memory",
        type=float,
        default=None,
        metavar="GIB",
        help="memory that one child process may use, of the address space or, on an accelerator, of the device; 0: no limit "
        f"(default: {session.MEMORY >> 30} and {recording.DEVICE_MEMORY >> 30})",
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[_PLAN] = Plan(**config.workerinput["sweep_plan"])
        return
    if config.option.help or config.option.markers:
        return
    options = Options(
        device=config.option.device,
        ops=tuple(config.option.ops),
        crossrefs=tuple(config.option.crossref),
        corpus=config.option.corpus,
        results=config.option.results,
        timeout=config.option.call_timeout,
        overload_timeout=config.option.overload_timeout,
        memory=None if config.option.memory is None else int(config.option.memory * 2**30),
        libraries=tuple(config.option.libraries),
        workers=_workers(config),
    )
    capture = config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            plan = session.prepare(options, out=sys.stderr)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_PLAN] = plan
    config.stash[_REPORT] = Report(plan, accept=expect.accepting())
    if not config.option.collectonly:
        config.pluginmanager.register(config.stash[_REPORT], "sweep-report")
        config.pluginmanager.register(Watch(config), "sweep-watch")


def _workers(config: pytest.Config) -> int:
    wanted = getattr(config.option, "numprocesses", None)
    return wanted or Options().workers


def pytest_report_header(config: pytest.Config) -> list[str]:
    plan = config.stash.get(_PLAN, None)
    if plan is None:
        return []
    identity = plan.identity
    return [
        f"sweep: torch {identity['build']} git {identity['git']}, {identity['device']}, {identity['capability']}",
        f"sweep: {len(plan.selected)} of {len(plan.reasons)} overloads, crossrefs {' '.join(plan.crossrefs)}",
        f"sweep: expect files {plan.results}",
    ]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: what the controller found out travels to the worker, wherever that runs."""
    node.workerinput["sweep_plan"] = node.config.stash[_PLAN].as_json()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """xdist: overloads take between microseconds and many seconds, so idle workers take items from busy ones."""
    if config.getvalue("dist") == "load":
        from xdist.scheduler import WorkStealingScheduling

        return WorkStealingScheduling(config, log)
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "overload" in metafunc.fixturenames:
        names = metafunc.config.stash[_PLAN].selected
        metafunc.parametrize("overload", names, ids=names)


@pytest.fixture(scope="session")
def plan(request: pytest.FixtureRequest) -> Plan:
    """What this run does."""
    return request.config.stash[_PLAN]


@pytest.fixture(scope="session")
def supervisor(plan: Plan) -> Iterator[Supervisor]:
    """Runs overloads in this worker's own child process, which starts at the first overload that has calls."""
    memory = session.address_space(plan.identity, plan.memory)
    libraries, modules = list(plan.identity["libraries"]), ("sweep.execution.run", *crossref.LATE_IMPORTS)
    with (
        Sandbox(session.SCRATCH, memory, libraries, modules=modules) as sandbox,
        Sandbox(session.SCRATCH, memory, libraries, modules=modules) as other,
    ):
        yield Supervisor(
            sandbox,
            Path(plan.corpus),
            plan.identity["device"],
            plan.crossrefs,
            plan.timeout,
            overload_timeout=plan.overload_timeout,
            memory=plan.memory,
            other=other,
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Carries an item's result on its report, which xdist brings to the controller."""
    report = yield
    if call.when == "call":
        carried = dict(item.user_properties)
        report.sweep, report.damage = carried.get("sweep_result"), carried.get("sweep_damage")
        item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("sweep_")]
        report.user_properties = list(item.user_properties)
    return report
