"""A pytest plugin of the process that has the terminal: collects verdicts, and has the run concluded and rendered at its end.

What a verdict is lives in ``expect.verdict``, what becomes of a run in ``conclusion``, text in ``renderers``; worker processes do
not have this plugin.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from sweep.expect.verdict import Verdict
from sweep.plan import Plan
from sweep.report import renderers
from sweep.report.conclusion import Conclusion
from sweep.report.model import RunInfo, ShardInfo, new_id

#: Exit statuses of a run that came to its end.
_FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.TESTS_FAILED)


class Collector:
    """Collects the verdicts of a run.

    Args:
        plan: what is run.
        accept: whether to accept the verdicts.

    Attributes:
        verdicts: overload -> its verdict.
        broken: item -> why it failed without a verdict, in one line.
        conclusion: the end of the run; ``None`` before it, and if nothing was run.
    """

    def __init__(self, plan: Plan, *, accept: bool) -> None:
        self.plan = plan
        self.accept = accept
        self.verdicts: dict[str, Verdict] = {}
        self.broken: dict[str, str] = {}
        self.conclusion: Conclusion | None = None
        self._damaged = False
        self._stopped = False
        self._arguments: Sequence[str] = ()
        self._started = datetime.datetime.now(datetime.UTC)
        self._clock = time.perf_counter()

    # --- hooks ---

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._arguments = [str(argument) for argument in session.config.invocation_params.args]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Notices a run that was stopped. Its exit status may not say so: a second Ctrl-C can come before that is set."""
        self._stopped = True
        result = yield
        self._stopped = False
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = getattr(report, "sweep_verdict", None)
        if data is not None:
            verdict = Verdict.from_bytes(data)
            self.verdicts[verdict.result.overload] = verdict
        elif report.failed:
            self._damaged |= getattr(report, "sweep_damage", None) is not None
            name = report.nodeid.partition("[")[2].removesuffix("]") or report.nodeid
            self.broken[name] = _reason(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self._damaged:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.plan.part is not None:
            session.exitstatus = pytest.ExitCode.OK  # as few overloads as these, or `-k`, can leave a shard without any
        if self.verdicts or self.broken or (self.plan.part is not None and session.exitstatus == pytest.ExitCode.OK):
            self.conclusion = self._conclusion(finished=not self._stopped and exitstatus in _FINISHED)
            session.exitstatus = self.conclusion.conclude(session.exitstatus)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.conclusion is not None:
            terminalreporter.section("operator sweep")
            for line in renderers.render("terminal", self.conclusion.run()).splitlines():
                terminalreporter.write_line(line)

    def _conclusion(self, *, finished: bool) -> Conclusion:
        info = RunInfo(
            id=new_id(self._started),
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - self._clock, 3),
            arguments=tuple(self._arguments),
            shard=self._shard(finished=finished),
        )
        return Conclusion(
            self.plan,
            info,
            self.verdicts,
            self.broken,
            every_overload=set(self.plan.reasons) <= set(self.verdicts),
            accept=self.accept,
            finished=finished,
        )

    def _shard(self, *, finished: bool) -> ShardInfo | None:
        plan = self.plan
        if plan.part is None:
            return None
        return ShardInfo(
            part=plan.part,
            rows=len({*self.verdicts, *self.broken}),
            complete=set(plan.selected) <= set(self.verdicts),
            finished=finished,
            corpus="" if plan.own_corpus else plan.corpus,
        )


def _reason(report: pytest.TestReport) -> str:
    """Why an item failed without a verdict, in one line: the exception's message, or the last line of what there is."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message).strip().partition("\n")[0]
    text = str(report.longrepr or "").strip().splitlines()  # of a worker that is gone, for instance
    return text[-1] if text else "no reason given"
