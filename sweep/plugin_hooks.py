"""pytest's side of the sweep: its options, and the hooks that bring plans to workers and results to the report.

What to run is decided in ``session``, how an overload is run in ``isolation.supervisor``, what is printed in ``report``.
"""

from __future__ import annotations

import dataclasses
import pickle
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sweep import crossref, expect, session, workers
from sweep.errors import UserError
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from sweep.plan import Options, Plan
from sweep.recording import record as recording
from sweep.report.collector import Collector
from sweep.report.watch import Watch
from sweep.sharding import Shard
from sweep.trials import Effort

_PLAN = pytest.StashKey[Plan]()
_SELECTED = pytest.StashKey[list[str]]()

#: In a worker elsewhere: where the run was started.
_ORIGIN = pytest.StashKey[workers.Origin]()

#: Why a worker elsewhere is not fit for the run.
_UNFIT = pytest.StashKey[str]()

#: Modules that a child which makes calls needs, for the fork server.
_PRELOADS = ("sweep.execution.run", *crossref.LATE_IMPORTS)


def pytest_addoption(parser: pytest.Parser) -> None:
    try:
        _add_options(parser)
    except ValueError as error:  # pytest's own for two options of one name
        raise pytest.UsageError(f"the sweep and another plugin have an option in common ({error}): -p no:PLUGIN") from None


def _add_options(parser: pytest.Parser) -> None:
    default = Options()
    group = parser.getgroup("sweep", "operator sweep")
    option = group.addoption
    option("--device", default=default.device, help="device to sweep: cpu, cuda, cuda:1, ... (default: %(default)s)")
    option("--ops", action="append", default=[], metavar="GLOB", help="only overloads that match, as 'aten.add*'; repeatable")
    option("--crossref", action="append", default=[], metavar="NAME", help="only this crossref; repeatable")
    shard = "only the K-th of N parts of the overloads, of about as many calls each; `python -m sweep merge` puts them together"
    option("--shard", metavar="K/N", help=shard)
    library = "sweep the operators that this module registers instead of torch's own; repeatable, needs --results"
    option("--import", action="append", default=[], dest="libraries", metavar="MODULE", help=library)
    option("--corpus", metavar="DIR", help="use these recorded calls as they are, whatever recorded them")
    option("--results", default=default.results, metavar="DIR", help="folder of the expect files (default: %(default)s)")
    work = "folder of recorded calls and of what runs leave behind (default: %(default)s)"
    option("--work-dir", default=default.work, metavar="DIR", help=work)
    native = "use all instruction sets of this CPU, and report what differs from the baseline that expect files are about"
    option("--native-cpu", action="store_true", help=native)
    call = "seconds that one call may take (default: %(default)s)"
    option("--call-timeout", type=float, default=default.timeout, metavar="S", help=call)
    overload = "seconds that the calls of one overload may take together; 0: no limit (default: %(default)s)"
    option("--overload-timeout", type=float, default=default.overload_timeout, metavar="S", help=overload)
    memory = (
        "memory that one child process may use, of the address space or, on an accelerator, of the device; 0: no limit "
        f"(default: {session.MEMORY >> 30} and {recording.DEVICE_MEMORY >> 30})"
    )
    option("--memory", type=float, metavar="GIB", help=memory)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        _configure_worker(config, config.workerinput)
        return
    if config.option.help or config.option.markers:
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            plan = session.prepare(_options(config), out=sys.stderr)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[_PLAN], config.stash[_SELECTED] = plan, plan.selected
    if not config.option.collectonly:
        config.pluginmanager.register(Collector(plan, accept=expect.accepting()), "sweep-report")
        config.pluginmanager.register(Watch(config), "sweep-watch")


def _configure_worker(config: pytest.Config, sent: dict[str, Any]) -> None:
    config.stash[_SELECTED] = sent["sweep_selected"]
    if sent["sweep_origin"] is not None:
        config.stash[_ORIGIN] = workers.Origin(**sent["sweep_origin"])
        try:
            workers.check_sources(config.stash[_ORIGIN])  # else the plan may have another form
        except UserError as error:
            config.stash[_UNFIT] = str(error)
            return
    config.stash[_PLAN] = pickle.loads(sent["sweep_plan"])


def _options(config: pytest.Config) -> Options:
    option = config.option
    return Options(
        device=option.device,
        ops=tuple(option.ops),
        crossrefs=tuple(option.crossref),
        corpus=option.corpus,
        results=option.results,
        work=option.work_dir,
        timeout=option.call_timeout,
        overload_timeout=option.overload_timeout,
        memory=None if option.memory is None else int(option.memory * 2**30),
        libraries=tuple(option.libraries),
        workers=getattr(option, "numprocesses", None) or Options().workers,
        native_cpu=option.native_cpu,
        accept=expect.accepting(),
        shard=None if option.shard is None else Shard.parse(option.shard),
        keyword=option.keyword,
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    plan = config.stash.get(_PLAN, None)
    if plan is None:
        return []
    environment = plan.environment
    shard = "" if plan.part is None else f"shard {plan.part.shard}, "
    return [
        f"sweep: torch {environment.build} git {environment.git}, {environment.device}, {environment.features}",
        f"sweep: {len(plan.selected)} of {len(plan.reasons)} overloads, {shard}crossrefs {' '.join(plan.crossrefs)}",
        f"sweep: expect files {plan.results}",
    ]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Sends the plan to a worker of xdist, wherever that runs."""
    elsewhere = workers.is_elsewhere(node.gateway.spec)
    node.workerinput["sweep_origin"] = dataclasses.asdict(workers.Origin.here()) if elsewhere else None
    node.workerinput["sweep_selected"] = node.config.stash[_SELECTED]
    node.workerinput["sweep_plan"] = pickle.dumps(node.config.stash[_PLAN])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Lets idle workers of xdist take items from busy ones: overloads take between microseconds and many seconds."""
    if config.getvalue("dist") == "load":
        from xdist.scheduler import WorkStealingScheduling

        return WorkStealingScheduling(config, log)
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "overload" in metafunc.fixturenames:
        names = metafunc.config.stash[_SELECTED]
        metafunc.parametrize("overload", names, ids=names)


@pytest.fixture(scope="session")
def plan(request: pytest.FixtureRequest) -> Plan:
    """The plan of this run."""
    if _UNFIT in request.config.stash:
        _give_up(request.session, request.config.stash[_UNFIT])
    return request.config.stash[_PLAN]


@pytest.fixture(scope="session")
def supervisor(request: pytest.FixtureRequest, plan: Plan) -> Iterator[Supervisor]:
    """Runs overloads in this worker's own child process, which starts at the first overload that has calls."""
    corpus, scratch = Path(plan.corpus), Path(plan.scratch)
    origin = request.config.stash.get(_ORIGIN, None)
    may_be_accepted = plan.expected or expect.accepting() or plan.part is not None
    try:
        if origin is not None:
            corpus, scratch = workers.corpus_of(plan, origin, request.config.rootpath), workers.scratch()
        with _sandbox(plan, scratch) as sandbox, _sandbox(plan, scratch) as fresh:
            if origin is not None:
                workers.check_environment(plan, sandbox)
            yield Supervisor(
                sandbox,
                corpus,
                plan.environment.device,
                plan.crossrefs,
                plan.timeout,
                overload_timeout=plan.overload_timeout,
                memory=plan.memory,
                effort=Effort.SHRUNK if may_be_accepted else Effort.TRIED,
                fresh=fresh,
            )
    except UserError as error:
        _give_up(request.session, str(error))


def _sandbox(plan: Plan, scratch: Path) -> Sandbox:
    return Sandbox(
        scratch,
        session.address_space(plan.environment, plan.memory),
        list(plan.environment.libraries),
        preloads=_PRELOADS,
        native_cpu=plan.native_cpu,
    )


def _give_up(session: pytest.Session, why: str) -> NoReturn:
    """Fails an item of a worker that is not fit for the run, and with it the run."""
    session.config.stash[_UNFIT] = session.shouldfail = why
    raise pytest.fail.Exception(why, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Carries an item's result on its report, which xdist brings to the controller."""
    report = yield
    if call.when == "call":
        carried = dict(item.user_properties)
        report.sweep_verdict, report.sweep_damage = carried.get("sweep_verdict"), carried.get("sweep_damage")
        item.user_properties[:] = [p for p in item.user_properties if not p[0].startswith("sweep_")]
        report.user_properties = list(item.user_properties)
    elif report.failed:
        report.sweep_damage = item.config.stash.get(_UNFIT, None)
    return report
