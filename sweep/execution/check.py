"""The check loop: every call of one overload is made once and checked under every crossref that applies to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch

from sweep.calls.call import Call, Recorded
from sweep.calls.parsing import typed_text
from sweep.crossref.common import protocol
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.protocol import Arguments, CrossRef, DoesNotApply, PreparedCall, Shared
from sweep.execution.accelerator import prediction, waiter
from sweep.execution.checkpoints import Checkpoint, Observations
from sweep.execution.evaluation import Evaluator
from sweep.execution.examples import Examples
from sweep.execution.process_state import StateGuard
from sweep.execution.real_call import RealCallEndedError, arguments_of, own_randomness, prepare
from sweep.findings.ending import Ending, EndingKind, ending_of
from sweep.findings.finding import CALL, WHOLE, Claim, Finding, Mismatch, Result, ordered
from sweep.findings.kind import StateChange
from sweep.findings.reason import Reason, ReasonKind
from sweep.operators.required_state import required_state
from sweep.operators.schema import is_random
from sweep.progress import NO_PROGRESS, Activity, Phase, Progress
from sweep.trials import TRIED, Trials

#: Why an overload is exempt under crossrefs that look at other calls than it has.
_NOT_LOOKED_AT = "no recorded call is of the kind that is looked at"

_REAL = Phase(Activity.REAL)


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


@dataclass
class Checker:
    """Checks the calls of one overload.

    Attributes:
        op: the overload.
        calls: its recorded calls.
        device: where to make them.
        crossrefs: names of the crossrefs.
        skipped: what not to do again.
        seconds: time after which the remaining calls are given up; 0 is no limit.
        trials: which printed calls to evaluate for the examples of findings.
        checkpoints: what other processes, which did not come to the end, had saved about this overload.
        progress: takes heartbeats and checkpoints.
    """

    op: torch._ops.OpOverload
    calls: Sequence[Call]
    device: str
    crossrefs: Sequence[str]
    skipped: Skipped = Skipped()
    seconds: float = 0.0
    trials: Trials = TRIED
    checkpoints: Sequence[Checkpoint] = ()
    progress: Progress = NO_PROGRESS

    def run(self) -> Result:
        """Checks every call and returns the result; without one that a crossref applies to, its reason."""
        started = time.perf_counter()
        name = self.calls[0].overload if self.calls else ""
        applying, reasons = self._applying()
        if not applying:
            return Result(name, reason=Reason(ReasonKind.EXEMPT, next(iter(reasons.values()), "no crossref was asked for")))
        wait = waiter(self.device)
        predicting = partial(prediction, wait=wait)
        shared = Shared(FakeModes(self.op, predicting), predicting, self.device)
        observations = Observations(self.checkpoints, self.progress.checkpoint)
        with ExitStack() as stack:
            stack.enter_context(required_state(name, self.device))
            stack.enter_context(own_randomness(self.device))
            for crossref in applying.values():
                stack.enter_context(crossref.opened(self.op, shared))
            loop = _Loop(self, applying, shared, wait, observations, started)
            given_up = loop.run()
            findings = self._findings(observations, applying, shared, wait)
        if self.calls and self.skipped == Skipped() and not findings and not observations.compared:
            return Result(name, reason=Reason(ReasonKind.EXEMPT, loop.not_compared or _NOT_LOOKED_AT))
        return Result(
            name,
            calls=sum(at not in self.skipped.calls for at in returning(self.calls)) - given_up,
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
            reason = protocol.why_not(crossref, self.op, self.device)
            if reason is None:
                applying[name] = crossref
            else:
                reasons[name] = reason
        return applying, reasons

    def _findings(
        self, observations: Observations, applying: Mapping[str, CrossRef], shared: Shared, wait: Callable[[], None]
    ) -> list[Finding]:
        """The findings of all observations, with examples."""
        if not observations.mismatches:
            return []
        guard = StateGuard()

        def clean() -> None:
            shared.fakes.next_call()
            guard.restore()

        evaluator = Evaluator(self.op, self.device, wait, self.progress.beat, clean, self.trials.deadly)
        examples = Examples(self.op, self.calls, self.device, evaluator, self.trials)
        is_typed = any(typed_text(call.source) is not None for call in self.calls)  # one call says nothing about all calls
        findings = []
        for key, by_position in observations.mismatches.items():
            if all(m.claim is Claim.UNLESS_REFUTED for m in by_position.values()) and (is_typed or key in observations.refuted):
                continue
            crossref = applying.get(key.crossref)
            findings.append(examples.finding(key, by_position, crossref))
        return findings


def returning(calls: Sequence[Call]) -> list[int]:
    """The positions of the calls that returned when they were recorded: those that a sweep counts."""
    return [at for at, call in enumerate(calls) if call.recorded is Recorded.RETURNED]


@dataclass(frozen=True)
class _Asked:
    """A crossref that applies to the overload.

    Attributes:
        name: its name.
        crossref: the crossref, open.
        phases: one for each of its forms.
        selected: positions of the calls that it may be asked about.
    """

    name: str
    crossref: CrossRef
    phases: Sequence[Phase]
    selected: Collection[int]


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
            _Asked(
                name,
                crossref,
                [Phase(Activity.PREDICTION, name, form) for form in crossref.forms(checker.op)],
                crossref.selected(checker.calls),
            )
            for name, crossref in applying.items()
        ]
        self._changes = any(crossref.needs_changes for crossref in applying.values())
        self.not_compared = ""
        self._guard = StateGuard()

    def run(self) -> int:
        """Checks the calls that are not done or skipped, and returns how many were given up for time."""
        checker, observations = self._checker, self._observations
        for at in range(observations.start, len(checker.calls)):
            if at in checker.skipped.calls:
                continue
            observations.checkpoint(at)
            if checker.seconds and time.perf_counter() - self._started > checker.seconds:
                observations.add(at, CALL, Mismatch(WHOLE, Ending(EndingKind.OVERLOAD_TIMEOUT)))
                return sum(later >= at and later not in checker.skipped.calls for later in returning(checker.calls))
            self._shared.fakes.next_call()
            self._check(at, checker.calls[at])
        observations.checkpoint(len(checker.calls), now=True)
        return 0

    def _check(self, at: int, call: Call) -> None:
        """Checks one call under every crossref that looks at it, and makes it as far as they need it."""
        op, seed = self._checker.op, call.seed() if is_random(self._checker.op) else None
        arguments = arguments_of(op, call, self._checker.device, self._wait)
        unmade = PreparedCall(op, arguments, None, seed=seed)
        apart: list[_Asked] = []
        if call.recorded is Recorded.OUT_OF_BOUNDS or typed_text(call.source) is not None:
            apart = [asked for asked in self._crossrefs if asked.crossref.precedes]
            self._ask(at, unmade, call.recorded, apart)
        if call.recorded is not Recorded.OUT_OF_BOUNDS:
            prepared, ended = self._made(at, call, arguments, seed)
            if prepared is not None:
                self._ask(at, prepared, ended, [asked for asked in self._crossrefs if asked not in apart])
        self._restore(at)

    def _made(
        self, at: int, call: Call, arguments: Callable[[], Arguments], seed: int | None
    ) -> tuple[PreparedCall | None, Recorded]:
        """Makes the real call, and returns it with how it ended; nothing if it must not be made again."""
        checker = self._checker
        checker.progress.beat(at, _REAL)
        ended = call.recorded
        prepared: PreparedCall | None = None
        try:
            prepared = prepare(checker.op, arguments, self._wait, seed, changes=self._changes)
        except RealCallEndedError as error:
            ended = Recorded.REFUSED
            if error.is_refusal:
                prepared = PreparedCall(checker.op, arguments, None, refusal=error.error, seed=seed)
            if prepared is None or call.recorded is Recorded.RETURNED:
                self._observations.add(at, CALL, error.mismatch())
        finally:
            changes_state = self._restore(at)  # before the predictions, which must not run under what the real call has changed
        return None if prepared is None else replace(prepared, changes_state=changes_state), ended

    def _ask(self, at: int, prepared: PreparedCall, ended: Recorded, crossrefs: Sequence[_Asked]) -> None:
        """Asks some crossrefs, as far as they look at calls that ended so."""
        for asked in crossrefs:
            name, crossref = asked.name, asked.crossref
            if ended not in crossref.looks_at or at not in asked.selected:
                continue
            started, compared = time.perf_counter(), False
            skipped = self._checker.skipped.predictions
            for phase in asked.phases:
                if not skipped or skipped.isdisjoint({(at, name, phase.form), (at, name, crossref.basis_of(phase.form))}):
                    self._checker.progress.beat(at, phase)
                    mismatches = self._predict(at, phase, crossref, prepared)
                    compared |= mismatches is not None
                    if mismatches and prepared.is_unmade:  # what it does to memory may end the process once it is really made
                        self._observations.checkpoint(at, now=True)
            self._observations.count(name, compared=compared, seconds=time.perf_counter() - started)

    def _predict(self, at: int, phase: Phase, crossref: CrossRef, prepared: PreparedCall) -> list[Mismatch] | None:
        """Checks one form of a crossref on a call, and returns its mismatches; ``None`` if it does not apply."""
        prepared.reseed()
        try:
            mismatches = crossref.check(prepared, phase.form)
        except DoesNotApply as reason:
            self.not_compared = str(reason)
            return None
        except RealCallEndedError as error:  # there is no memory for another copy of the arguments
            self._observations.add(at, CALL, error.mismatch())
            return None
        except Exception as error:
            if ending_of(crossref.labels[0], error).kind is not EndingKind.OUT_OF_MEMORY:
                raise
            self.not_compared = "there is no memory for comparing values"
            return None
        finally:
            self._guard.restore_dispatch_keys()  # the next prediction needs them
        for mismatch in mismatches:
            self._observations.add(at, phase.crossref, mismatch, phase.form)
        return mismatches

    def _restore(self, at: int) -> bool:
        """Restores what the call has changed of the process's state, if anything; each change is a finding."""
        changed = self._guard.restore()
        for switch in changed:
            self._observations.add(at, CALL, Mismatch(WHOLE, StateChange((switch,)), None, "", switch))
        return bool(changed)
