"""The check loop: every call of one overload is made once and checked under every crossref that applies to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch

from sweep.calls.call import Call
from sweep.crossref.common import protocol
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.protocol import CrossRef, DoesNotApply, PreparedCall, Shared
from sweep.execution.accelerator import prediction, waiter
from sweep.execution.checkpoints import Checkpoint, Observations
from sweep.execution.examples import Examples
from sweep.execution.process_state import StateGuard
from sweep.execution.real_call import RealCallEndedError, arguments_of, own_randomness, prepare
from sweep.findings.ending import Ending, EndingKind, ending_of
from sweep.findings.finding import CALL, WHOLE, Finding, Mismatch, Result, ordered
from sweep.findings.kind import StateChange
from sweep.findings.reason import Reason, ReasonKind
from sweep.operators import process_group
from sweep.operators.schema import is_random
from sweep.progress import NO_PROGRESS, Activity, Phase, Progress

_REAL = Phase(Activity.REAL)
_EXAMPLE = Phase(Activity.EXAMPLE)


@dataclass(frozen=True)
class Skipped:
    """Calls that are not made again because they ended a process.

    Attributes:
        calls: positions of calls that are not made at all.
        predictions: position, crossref and form of predictions that are not made.
    """

    calls: frozenset[int] = frozenset()
    predictions: frozenset[tuple[int, str, str]] = frozenset()

    @classmethod
    def of(cls, skipped: Collection[tuple[int, str, str]]) -> Skipped:
        """Skips positions, each with a crossref, which is empty for the whole call, and its form."""
        return cls(
            frozenset(at for at, name, _ in skipped if not name),
            frozenset((at, name, form) for at, name, form in skipped if name),
        )


@dataclass(frozen=True)
class Limits:
    """Limits of one overload.

    Attributes:
        seconds: time after which the remaining calls are given up; 0 is no limit.
        examples: whether printed calls are tried until one shows its finding; otherwise the simplest text is taken untried.
    """

    seconds: float = 0.0
    examples: bool = True


@dataclass
class Checker:
    """Checks the calls of one overload.

    Attributes:
        op: the overload.
        calls: its recorded calls.
        device: where to make them.
        crossrefs: names of the crossrefs.
        skipped: what not to do again.
        limits: when to stop.
        checkpoints: what other processes, which did not come to the end, had saved about this overload.
        progress: takes heartbeats and checkpoints.
    """

    op: torch._ops.OpOverload
    calls: Sequence[Call]
    device: str
    crossrefs: Sequence[str]
    skipped: Skipped = Skipped()
    limits: Limits = Limits()
    checkpoints: Sequence[Checkpoint] = ()
    progress: Progress = NO_PROGRESS

    def run(self) -> Result:
        """Checks every call and returns the result; without one that a crossref applies to, its reason."""
        started = time.perf_counter()
        name = self.calls[0].overload if self.calls else ""
        process_group.ensure_for(name)
        applying, reasons = self._applying()
        if not applying:
            return Result(name, reason=Reason(ReasonKind.EXEMPT, next(iter(reasons.values()), "no crossref was asked for")))
        wait = waiter(self.device)
        predicting = partial(prediction, wait=wait)
        shared = Shared(FakeModes(self.op, predicting), predicting, self.device)
        observations = Observations(self.checkpoints, self.progress.checkpoint)
        with ExitStack() as stack:
            stack.enter_context(own_randomness(self.device))
            for crossref in applying.values():
                stack.enter_context(crossref.opened(self.op, shared))
            loop = _Loop(self, applying, shared, wait, observations, started)
            given_up = loop.run()
            findings = self._findings(observations, applying, shared, wait)
        if loop.not_compared and not findings and not observations.compared:
            return Result(name, reason=Reason(ReasonKind.EXEMPT, loop.not_compared))
        return Result(
            name,
            calls=len(self.calls) - len(self.skipped.calls) - given_up,
            given_up=given_up,
            seconds=time.perf_counter() - started,
            findings=ordered(findings),
            compared=dict(observations.compared),
            seconds_of=dict(observations.seconds),
        )

    def _applying(self) -> tuple[dict[str, CrossRef], dict[str, str]]:
        """The crossrefs that apply to the overload, and the reasons of those that do not, both by name."""
        applying, reasons = {}, {}
        for name in self.crossrefs:
            crossref = protocol.load(name)
            reason = protocol.why_not(crossref, self.op)
            if reason is None:
                applying[name] = crossref
            else:
                reasons[name] = reason
        return applying, reasons

    def _findings(
        self, observations: Observations, applying: Mapping[str, CrossRef], shared: Shared, wait: Callable[[], None]
    ) -> list[Finding]:
        """The findings of all observations, with examples."""
        self.progress.beat(len(self.calls), _EXAMPLE)
        guard = StateGuard()
        examples = Examples(self.op, self.calls, self.device, wait, shared.fakes.next_call)
        findings = []
        for key, by_position in observations.mismatches.items():
            crossref = applying.get(key.crossref)
            findings.append(examples.finding(key, by_position, crossref, tried=self.limits.examples))
        guard.restore()  # trying examples makes calls too
        return findings


class _Loop:
    """One pass over the calls of an overload.

    Attributes:
        not_compared: why a crossref did not apply to some call; empty if each applied to all.
    """

    def __init__(
        self,
        checker: Checker,
        applying: Mapping[str, CrossRef],
        shared: Shared,
        wait: Callable[[], None],
        observations: Observations,
        started: float,
    ) -> None:
        self._checker, self._shared, self._wait = checker, shared, wait
        self._observations, self._started = observations, started
        self._crossrefs = [
            (name, crossref, [Phase(Activity.PREDICTION, name, form) for form in crossref.forms(checker.op)])
            for name, crossref in applying.items()
        ]
        self.not_compared = ""
        self._guard = StateGuard()

    def run(self) -> int:
        """Checks the calls that are not done or skipped, and returns how many were given up for time."""
        checker, observations = self._checker, self._observations
        for at in range(observations.start, len(checker.calls)):
            if at in checker.skipped.calls:
                continue
            observations.checkpoint(at)
            if checker.limits.seconds and time.perf_counter() - self._started > checker.limits.seconds:
                observations.add(at, CALL, Mismatch(WHOLE, Ending(EndingKind.OVERLOAD_TIMEOUT)))
                return sum(later not in checker.skipped.calls for later in range(at, len(checker.calls)))
            self._shared.fakes.next_call()
            self._check(at, checker.calls[at])
        observations.checkpoint(len(checker.calls), now=True)
        return 0

    def _check(self, at: int, call: Call) -> None:
        """Makes one call and checks it under every crossref."""
        checker = self._checker
        checker.progress.beat(at, _REAL)
        arguments = arguments_of(checker.op, call, checker.device, self._wait)
        try:
            prepared = prepare(checker.op, arguments, self._wait, call.seed() if is_random(checker.op) else None)
        except RealCallEndedError as error:
            self._observations.add(at, CALL, error.mismatch())
            return
        finally:
            changes_state = self._restore(at)  # before the predictions, which must not run under what the real call has changed
        if changes_state:
            prepared = replace(prepared, changes_state=True)
        for name, crossref, phases in self._crossrefs:
            started, compared = time.perf_counter(), False
            for phase in phases:
                if (at, name, phase.form) not in checker.skipped.predictions:
                    checker.progress.beat(at, phase)
                    compared |= self._predict(at, phase, crossref, prepared)
            self._observations.count(name, compared=compared, seconds=time.perf_counter() - started)
        self._restore(at)

    def _predict(self, at: int, phase: Phase, crossref: CrossRef, prepared: PreparedCall) -> bool:
        """Checks one form of a crossref on a call, and returns whether it applies."""
        prepared.reseed()
        try:
            mismatches = crossref.check(prepared, phase.form)
        except DoesNotApply as reason:
            self.not_compared = str(reason)
            return False
        except RealCallEndedError as error:  # there is no memory for another copy of the arguments
            self._observations.add(at, CALL, error.mismatch())
            return False
        except Exception as error:
            if ending_of(crossref.labels[0], error).kind is not EndingKind.OUT_OF_MEMORY:
                raise
            self.not_compared = "there is no memory for comparing values"
            return False
        for mismatch in mismatches:
            self._observations.add(at, phase.crossref, mismatch, phase.form)
        return True

    def _restore(self, at: int) -> bool:
        """Restores what the call has changed of the process's state, if anything; each change is a finding."""
        changed = self._guard.restore()
        for switch in changed:
            self._observations.add(at, CALL, Mismatch(WHOLE, StateChange((switch,)), None, "", switch))
        return bool(changed)
