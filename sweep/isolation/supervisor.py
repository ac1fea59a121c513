"""Runs one overload in a sandbox and turns whatever happens to it, its death included, into a result."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from sweep.findings.finding import CALL, Finding, Result, ordered
from sweep.isolation.sandbox import ChildError, Died, Sandbox

#: After so many deaths on one overload the rest of its calls are given up.
DEATHS = 3

#: The errors after which the process goes, as in a death, and whether it was a prediction that cost it.
_UNUSABLE = {"Unusable": False, "UnusableByPrediction": True}

#: Seconds that are left of an overload's time once it is over; 0 would be no limit.
_NO_TIME = 1e-6


class Supervisor:
    """Runs overloads one after the other in one sandbox.

    Attributes:
        sandbox: where the calls are made.
        corpus: the folder of recorded calls.
        device: where the tensors live.
        crossrefs: names of the crossrefs to run.
        timeout: seconds that one call may take.
        overload_timeout: seconds that the calls of one overload may take together; 0 is no limit.
        memory: bytes of an accelerator's memory that the child may use; 0 is no limit.
        other: a second sandbox, for second opinions; it is idle, and has no process, until one is asked for.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        corpus: Path,
        device: str,
        crossrefs: list[str],
        timeout: float,
        *,
        overload_timeout: float = 0.0,
        memory: int = 0,
        other: Sandbox | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.corpus = corpus
        self.device = device
        self.crossrefs = crossrefs
        self.timeout = timeout
        self.overload_timeout = overload_timeout
        self.memory = memory
        self.other = other or sandbox

    def run(self, overload: str) -> Result:
        """What the sweep says about one overload with recorded calls.

        Raises:
            sweep.sandbox.ChildError: the harness itself failed in the child, for instance on a damaged corpus file.
        """
        deaths: list[Died] = []
        told: list[Any] = []
        examples = True
        started = time.perf_counter()
        while True:
            spent = time.perf_counter() - started
            try:
                plain = self._request(overload, [_skipped(d) for d in deaths], examples, told, spent)
            except Died as death:
                told += death.told
                if death.phase.partition(" ")[0] in self.crossrefs:
                    deaths.append(self._attributed(overload, death))
                elif examples:
                    examples = False  # a printed call, tried with other values than were recorded, took the child along
                    continue
                else:
                    raise
            else:
                return dataclasses.replace(self._result(plain, deaths), seconds=spent + plain["seconds"])
            if max(Counter(map(_author, deaths)).values()) == DEATHS:
                result = self._given_up(overload, deaths, told)
                return dataclasses.replace(result, seconds=time.perf_counter() - started)

    def rerun_in_fresh_process(self, overload: str) -> Result:
        """The same in a new child of another fork_server: other addresses, and nothing that ran before can have touched it."""
        self.sandbox, self.other = self.other, self.sandbox
        try:
            self.sandbox.end_child()
            return self.run(overload)
        finally:
            self.sandbox.end_child()  # the next one is another anyhow, and until then it holds a device's memory
            self.sandbox, self.other = self.other, self.sandbox

    def _attributed(self, overload: str, death: Died) -> Died:
        """A death on a predicted path, as one of the real call if that dies by itself as well.

        Fake tensors fall back on the real kernel where there is no other, and where a kernel returns what was never made, it is
        luck which of two real calls it crashes in: that of the fake path or the one after it. A functionalized call runs the real
        kernel too, and loses the device that the real one would.
        """
        crossref, _, side = death.phase.partition(" ")
        if side or death.ending == "timeout":
            return death
        try:
            self._ask("make_real", overload, call=death.call)
        except Died as real:
            return Died(real.ending, death.call, f"{crossref} real")
        except ChildError as error:
            self.sandbox.end_child()
            if error.name != "Unusable":
                raise
            if error.message.startswith("real raises"):
                return Died(error.message, death.call, f"{crossref} real")
        return death

    def _ask(self, function: str, overload: str, **arguments: Any) -> Any:
        """Has the child make calls of an overload, under the limits."""
        return self.sandbox.request(
            f"sweep.runner:{function}",
            timeout=self.timeout,
            name=overload,
            folder=str(self.corpus),
            device=self.device,
            memory=self.memory,
            **arguments,
        )

    def _request(
        self, overload: str, skip: list[tuple[int, str]], examples: bool, told: list[Any], spent: float = 0.0
    ) -> dict[str, Any]:
        try:
            plain: dict[str, Any] = self._ask(
                "run_overload",
                overload,
                tells=True,
                crossrefs=self.crossrefs,
                skip=skip,
                examples=examples,
                limit=max(self.overload_timeout - spent, _NO_TIME) if self.overload_timeout else 0.0,
                told=told,
            )
            return plain
        except ChildError as error:
            self.sandbox.end_child()  # whatever it was in the middle of; no other call may be made there
            if error.name not in _UNUSABLE:
                raise
            phase = error.phase.partition(" ")[0]
            raise Died(error.message, error.call, phase if _UNUSABLE[error.name] else f"{phase} real", error.told) from None

    def _result(self, plain: dict[str, Any], deaths: list[Died]) -> Result:
        result = Result.from_json(plain)
        if not deaths:
            return result
        findings = ordered([*result.findings, *self._findings(result.overload, deaths)])
        real = {d.call for d in deaths if _author(d) == CALL}
        return dataclasses.replace(result, calls=result.calls + len(real), findings=findings)

    def _given_up(self, overload: str, deaths: list[Died], told: list[Any]) -> Result:
        """Too many deaths: the findings of the calls before the last one are kept, the calls after it are not made."""
        last = max(d.call for d in deaths)
        recorded = self.sandbox.request("sweep.execution.run:count", folder=str(self.corpus), name=overload)
        skip = [*map(_skipped, deaths), *((at, "") for at in range(last, recorded))]
        try:
            result = Result.from_json(self._request(overload, sorted(set(skip)), examples=False, told=told))
        except Died:
            result = Result(overload)
        findings = ordered([*result.findings, *self._findings(overload, deaths)])
        made = result.calls + len({last, *(d.call for d in deaths if _author(d) == CALL)})
        return Result(overload, calls=made, given_up=recorded - made, findings=findings)

    def _findings(self, overload: str, deaths: list[Died]) -> list[Finding]:
        """Deaths as findings: one per crossref and ending, with the smallest call that ended so."""
        grouped: dict[tuple[str, str], list[int]] = defaultdict(list)
        for death in deaths:
            grouped[_author(death), death.ending].append(death.call)
        found = []
        for (crossref, ending), calls in sorted(grouped.items()):
            shown = self.sandbox.request(
                "sweep.execution.run:summary", folder=str(self.corpus), name=overload, positions=sorted(calls), device=self.device
            )
            plain = {"crossref": crossref, "output": "", "kind": ending, "index": None, **_answers(ending), **shown}
            found.append(Finding.from_json(plain))
        return found


def _answers(ending: str) -> dict[str, Any]:
    """What a death has instead of two answers: how it ended, or what raised the error that cost the process its device."""
    side, _, error = ending.partition(" raises ")
    if side == "fake" and error:
        return {"fake": error, "real": "", "sides": ("fake", "real")}
    return {"fake": "", "real": error or ending, "sides": ("fake", side if error else "real")}


def _author(death: Died) -> str:
    """Whose finding a death is: a crossref's, or, if it was in the real call, as everything that real calls do, ``every``."""
    crossref, _, side = death.phase.partition(" ")
    return CALL if side else crossref


def _skipped(death: Died) -> tuple[int, str]:
    """What is not to be done again: the call, or the call under one crossref."""
    author = _author(death)
    return death.call, "" if author == CALL else author
