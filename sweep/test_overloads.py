"""One item per overload: its result must be exactly what its expect file says. How an overload is run is in ``isolation``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import expecttest
import pytest

from sweep import expect
from sweep.errors import CorpusError
from sweep.expect import Verdict, notes
from sweep.findings.finding import Result, Status
from sweep.findings.reason import Reason, ReasonKind
from sweep.isolation.supervisor import Supervisor
from sweep.plan import Plan


def test_overload(
    overload: str,
    plan: Plan,
    supervisor: Supervisor,
    record_property: Callable[[str, object], None],
) -> None:
    """Runs an overload's calls under every crossref and compares the result with its section."""
    expected = expect.UNKNOWN_TEXT
    file = plan.baseline.get(overload.partition(".")[0])
    if file is not None:
        expected = file.text_of(overload, None if plan.all_crossrefs else plan.crossrefs)
    try:
        verdict = judge(overload, plan, supervisor, expected)
    except CorpusError as error:
        record_property("sweep_damage", str(error))
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    result = verdict.result
    record_property("status", result.status.value)
    record_property("sweep_verdict", verdict.to_bytes())
    remarks = [str(note) for note in notes.of_overload(plan.notes, overload)]
    if result.rerun is not None:
        texts = f"first:\n{verdict.actual}second:\n{expect.text_of_result(result.rerun)}"
        found = f"flaky: a second run in a fresh process found something else\n{texts}"
        pytest.fail("\n".join([found.rstrip("\n"), *remarks]), pytrace=False)
    if plan.expected and verdict.change is not None and not expect.accepting():
        header = f"[{overload}]\n"
        command = f"To accept what was found: {plan.accept_command(overload)}"
        try:
            expecttest.assert_eq(header + expected, header + verdict.actual, msg="\n".join([*remarks, command]))
        except AssertionError as difference:  # without the frames of this file and of expecttest
            raise pytest.fail.Exception(str(difference), pytrace=False) from None
    if result.status is Status.NOT_CALLED:
        pytest.skip(f"not called: {result.reason}")


def judge(overload: str, plan: Plan, supervisor: Supervisor, expected: str) -> Verdict:
    """Runs an overload and compares the result with its baseline.

    A finding keeps the example of the baseline as long as that shows it. A result that is unexpected, or that is to be accepted
    and is not simple agreement, is checked by a second run in a fresh process, with the examples of the first: if that finds
    something else, the overload is flaky. That of a shard may be accepted later.

    Raises:
        CorpusError: the file of the overload's recorded calls cannot be read.
    """
    partial = not plan.all_crossrefs
    reason = plan.reasons.get(overload, Reason(ReasonKind.ABSENT))
    if reason is not None:
        result = Result(overload, reason=reason)
        return Verdict(result, expected, expect.text_of_result(result), partial)
    result = supervisor.run(overload, expect.examples(expected))
    verdict = Verdict(result, expected, expect.text_of_result(result), partial)
    unexpected = verdict.change is not None if plan.expected else verdict.actual != expect.AGREE_TEXT
    if unexpected and (plan.expected or expect.accepting() or plan.part is not None):
        examples = {finding.title: finding.example for finding in result.findings}
        rerun = supervisor.rerun_in_fresh_process(overload, examples)
        if expect.text_of_result(rerun) != verdict.actual:
            return dataclasses.replace(verdict, result=dataclasses.replace(result, rerun=rerun))
    return verdict
