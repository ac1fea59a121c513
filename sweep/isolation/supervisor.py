"""The supervisor: checks one overload in a sandbox and turns the deaths of child processes into findings.

Which calls there are and how they are compared lives in ``execution``, on the other side of the sandbox. Runs in the parent; no
torch.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.errors import ChildDiedError, ProcessUnusableError, SweepError
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import CALL, WHOLE, Finding, Key, Result, ordered
from sweep.findings.kind import StateChange
from sweep.isolation.sandbox import Sandbox
from sweep.progress import Activity
from sweep.trials import Effort, Trials

#: After this many deaths in real calls, the rest of an overload's calls is given up; after this many in the predictions of one
#: form of a crossref, the rest of those.
_MAX_DEATHS = 3

#: After this many deaths in printed calls, or the first that hangs, less is done for the examples of an overload's findings.
_MAX_DEATHS_IN_EXAMPLES = 8

#: Seconds that a run gets when the time of its overload is over; 0 would be no limit.
_NO_TIME = 1e-6


@dataclass(frozen=True)
class Death:
    """A call that ended its process, or left it unusable.

    Attributes:
        kind: how it ended, or the state that it changed.
        call: position of the call.
        crossref: the crossref in whose prediction it happened; empty for the real call.
        form: the form of the crossref.
    """

    kind: Ending | StateChange
    call: int
    crossref: str = ""
    form: str = ""

    @property
    def author(self) -> tuple[str, str]:
        """What the finding is filed under: the crossref and its form, or ``CALL``."""
        return self.crossref or CALL, self.form


class Supervisor:
    """Checks overloads one after the other in one sandbox.

    Attributes:
        sandbox: where the calls are made.
        corpus: folder of the recorded calls.
        device: device of the tensors.
        crossrefs: names of the crossrefs to run.
        timeout: seconds that one call may take.
        overload_timeout: seconds that the calls of one overload may take together; 0 is no limit.
        memory: bytes of an accelerator's memory that a child may use; 0 is no limit.
        effort: how much is done for the example of a finding that has none yet.
        fresh: a second sandbox, for reruns; it has no process between them.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        corpus: Path,
        device: str,
        crossrefs: Sequence[str],
        timeout: float,
        *,
        overload_timeout: float = 0.0,
        memory: int = 0,
        effort: Effort = Effort.TRIED,
        fresh: Sandbox | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.corpus = corpus
        self.device = device
        self.crossrefs = list(crossrefs)
        self.timeout = timeout
        self.overload_timeout = overload_timeout
        self.memory = memory
        self.effort = effort
        self.fresh = fresh or sandbox

    def run(self, overload: str, examples: Mapping[str, str] | None = None) -> Result:
        """Checks all recorded calls of one overload.

        Args:
            overload: qualified name.
            examples: title of a finding -> the example that it has already, which is kept if it still shows the finding.

        Raises:
            ChildFailedError: the harness itself failed in the child.
            ChildDiedError: a child died twice while it was making no call.
            UserError: for instance on a damaged corpus file.
        """
        return _Run(self, self.sandbox, overload, examples or {}).result()

    def rerun_in_fresh_process(self, overload: str, examples: Mapping[str, str] | None = None) -> Result:
        """Does the same in a new child of another fork server: other addresses, no call made before.

        Arguments and errors are those of :meth:`run`.
        """
        try:
            self.fresh.end_child()
            return _Run(self, self.fresh, overload, examples or {}).result()
        finally:
            self.fresh.end_child()  # the next rerun needs a new one, and an idle child holds memory of the device


class _Run:
    """One run over the calls of an overload, in as many children as it takes."""

    def __init__(self, supervisor: Supervisor, sandbox: Sandbox, overload: str, examples: Mapping[str, str]) -> None:
        self._supervisor = supervisor
        self._sandbox = sandbox
        self._overload = overload
        self._deaths: list[Death] = []
        self._checkpoints: list[Any] = []
        self._trials = Trials(supervisor.effort, examples)
        self._has_died_at_start = False
        self._started = time.perf_counter()

    def result(self) -> Result:
        """Checks all calls, and goes on after each death."""
        while True:
            spent = time.perf_counter() - self._started
            try:
                result = self._check_overload(self._skip(), self._trials, spent=spent)
            except (ChildDiedError, ProcessUnusableError) as error:
                self._take_up(error)
            else:
                return dataclasses.replace(self._with_deaths(result), seconds=spent + result.seconds)
            if len(self._real_deaths()) >= _MAX_DEATHS:
                result = self._given_up()
                return dataclasses.replace(result, seconds=time.perf_counter() - self._started)

    def _take_up(self, error: ChildDiedError | ProcessUnusableError) -> None:
        """Notes the loss of a child, so that the next one goes on where it was.

        Raises:
            ChildDiedError: no call did it, and not for the first time.
            ProcessUnusableError: likewise.
        """
        activity = error.phase.activity
        if activity in (Activity.REAL, Activity.PREDICTION):
            self._deaths.append(self._attributed(_death(error)))
        elif activity is Activity.EXAMPLE and self._trials.effort is not Effort.UNTRIED:
            self._trials = _after_death(self._trials, error)
        elif activity is Activity.START and not self._has_died_at_start:
            self._has_died_at_start = True  # the calls of the overload before this one may have ruined the child's heap
        else:
            raise error
        self._checkpoints += error.checkpoints

    def _attributed(self, death: Death) -> Death:
        """A death in a prediction, as one of the real call if that dies by itself in a fresh process as well.

        Fake tensors fall back on the real kernel where there is no other, and if a kernel reads uninitialized memory, it is
        chance which of several real calls crashes. A functionalized call runs the real kernel too, and loses the device that the
        real call would lose.
        """
        if not death.crossref or death.kind == Ending(EndingKind.TIMEOUT):
            return death
        try:
            self._ask("make_real_call", call=death.call)
        except ChildDiedError as error:
            return Death(error.ending, death.call)
        except ProcessUnusableError as error:
            if not error.by_prediction and _raised_on_real_side(error.cause):
                return Death(error.cause, death.call)
        finally:
            self._sandbox.end_child()  # even a call that returns may have ruined the heap
        return death

    def _check_overload(self, skip: Sequence[tuple[int, str, str]], trials: Trials, *, spent: float = 0.0) -> Result:
        """Checks the calls in the present child, which is not used again if that fails."""
        overload_timeout = self._supervisor.overload_timeout
        try:
            result: Result = self._ask(
                "check_overload",
                crossrefs=self._supervisor.crossrefs,
                skip=list(skip),
                examples=trials,
                limit=max(overload_timeout - spent, _NO_TIME) if overload_timeout else 0.0,
                checkpoints=self._checkpoints,
            )
        except SweepError:
            self._sandbox.end_child()
            raise
        return result

    def _ask(self, function: str, **arguments: Any) -> Any:
        """Has the child make calls of the overload, under the limits."""
        return self._sandbox.request(
            f"sweep.execution.run:{function}",
            timeout=self._supervisor.timeout,
            name=self._overload,
            folder=str(self._supervisor.corpus),
            device=self._supervisor.device,
            memory=self._supervisor.memory,
            **arguments,
        )

    def _read(self, function: str, **arguments: Any) -> Any:
        """Reads recorded calls in the child; in another one, if a call that was made before has ruined the heap of this one."""
        function = f"sweep.execution.run:{function}"
        arguments |= {"name": self._overload, "folder": str(self._supervisor.corpus)}
        try:
            return self._sandbox.request(function, **arguments)
        except ChildDiedError:
            return self._sandbox.request(function, **arguments)

    def _skip(self) -> list[tuple[int, str, str]]:
        """The calls that are not to be made again, each with the crossref and form under which not; empty for the whole call."""
        skip = [(death.call, death.crossref, death.form) for death in self._deaths]
        for author in self._given_up_forms():
            last = max(death.call for death in self._deaths if death.author == author)
            recorded, _ = self._recorded()
            skip += [(at, *author) for at in range(last + 1, recorded)]
        return skip

    def _given_up_forms(self) -> list[tuple[str, str]]:
        """The crossrefs, each with its form, that have too many deaths and are asked about no later call."""
        deaths = Counter(death.author for death in self._deaths if death.crossref)
        return [author for author, count in deaths.items() if count >= _MAX_DEATHS]

    def _with_deaths(self, result: Result) -> Result:
        """The result of the calls that returned, completed by those that did not."""
        if not self._deaths:
            return result
        findings = ordered([*result.findings, *self._findings()])
        _, returning = self._recorded()
        calls = result.calls + len(self._real_deaths() & returning)
        return dataclasses.replace(result, calls=calls, findings=findings)

    def _given_up(self) -> Result:
        """The result after too many deaths: the calls before the last death count, those after it are not made."""
        last = max(death.call for death in self._deaths)
        recorded, returning = self._recorded()
        skip = sorted({*self._skip(), *((at, "", "") for at in range(last, recorded))})
        try:
            result = self._check_overload(skip, Trials(Effort.UNTRIED))
        except (ChildDiedError, ProcessUnusableError):
            result = Result(self._overload)
        findings = ordered([*result.findings, *self._findings()])
        calls = result.calls + len(({last} | self._real_deaths()) & returning)
        return dataclasses.replace(result, calls=calls, given_up=len(returning) - calls, findings=findings)

    def _recorded(self) -> tuple[int, set[int]]:
        """The number of recorded calls, and the positions of those that a sweep counts."""
        recorded: tuple[int, set[int]] = self._read("count")
        return recorded

    def _real_deaths(self) -> set[int]:
        return {death.call for death in self._deaths if not death.crossref}

    def _findings(self) -> list[Finding]:
        """One finding for each author and kind of death."""
        given_up = self._given_up_forms()
        calls_of: dict[tuple[tuple[str, str], Ending | StateChange], set[int]] = defaultdict(set)
        for death in self._deaths:
            calls_of[death.author, death.kind].add(death.call)
        return [
            dataclasses.replace(self._finding(*author, kind, sorted(calls)), given_up=author in given_up)
            for (author, kind), calls in calls_of.items()
        ]

    def _finding(self, crossref: str, form: str, kind: Ending | StateChange, positions: list[int]) -> Finding:
        finding: Finding = self._read(
            "describe_death",
            positions=positions,
            device=self._supervisor.device,
            key=Key(crossref, WHOLE, kind, form=form),
        )
        return finding


def _after_death(trials: Trials, error: ChildDiedError | ProcessUnusableError) -> Trials:
    """The trials after the evaluation of a printed call has ended its process: all but that one, and fewer after too many.

    Fewer means other ones, with numbers of their own.
    """
    deadly = trials.deadly | {error.call}
    hung = isinstance(error, ChildDiedError) and error.ending == Ending(EndingKind.TIMEOUT)
    if len(deadly) < _MAX_DEATHS_IN_EXAMPLES and not hung:
        return dataclasses.replace(trials, deadly=deadly)
    return dataclasses.replace(trials, effort=Effort(trials.effort - 1), deadly=frozenset())


def _death(error: ChildDiedError | ProcessUnusableError) -> Death:
    if isinstance(error, ChildDiedError):
        in_prediction = error.phase.activity is Activity.PREDICTION
        return Death(error.ending, error.call, *((error.phase.crossref, error.phase.form) if in_prediction else ()))
    return Death(error.cause, error.call, *((error.phase.crossref, error.phase.form) if error.by_prediction else ()))


def _raised_on_real_side(cause: Ending | StateChange) -> bool:
    return isinstance(cause, Ending) and cause.kind is EndingKind.RAISED and cause.side == "real"
