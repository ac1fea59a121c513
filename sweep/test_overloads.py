"""One item per overload: what the sweep finds must be exactly what the expect file says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import expecttest
import pytest

from sweep.expect import expect_file as expect
from sweep.findings.finding import NOT_CALLED, Result
from sweep.report.report import Verdict
from sweep.isolation.sandbox import ChildError
from sweep.session import Plan
from sweep.isolation.supervisor import Supervisor

_files = functools.cache(expect.load)


def test_overload(
    overload: str,
    plan: Plan,
    supervisor: Supervisor,
    record_property: Callable[[str, object], None],
) -> None:
    """Runs an overload's calls under every crossref and compares the outcome with its section."""
    expected = expect.UNKNOWN_TEXT
    file = _files(Path(plan.results)).get(overload.partition(".")[0])
    if file is not None:
        expected = file.text_of(overload, None if plan.all_crossrefs else plan.crossrefs)
    try:
        result, found = _find(overload, plan, supervisor, expected)
    except ChildError as error:
        if error.name != "CorpusError":
            raise
        record_property("sweep_damage", error.message)
        raise pytest.fail.Exception(error.message, pytrace=False) from None
    record_property("status", result.status)
    record_property("sweep_result", Verdict(result, expected, found).as_json())
    if result.again:
        pytest.fail(
            f"flaky: a second run in a fresh process found something else\nfirst:\n{found}second:\n{result.again}", pytrace=False
        )
    if plan.expected and expected != found and not expect.accepting():
        name = f"[{overload}]\n"
        try:
            expecttest.assert_eq(name + expected, name + found, msg=f"To accept what was found: {plan.accept_command(overload)}")
        except AssertionError as difference:  # the lines of this file and of expecttest that lead to it tell nobody anything
            raise pytest.fail.Exception(str(difference), pytrace=False) from None
    if result.status == NOT_CALLED:
        pytest.skip(f"not called: {result.reason}")


def _find(overload: str, plan: Plan, supervisor: Supervisor, expected: str) -> tuple[Result, str]:
    """What the sweep says about an overload, and as an expect file has it.

    What the expect files do not say is asked for twice, the second time in a fresh process, wherever that counts: if the answers
    differ it is neither a regression nor to be accepted.
    """
    reason = plan.reasons.get(overload)
    if reason is None:
        return Result(overload, reason="no such overload in this torch"), expect.ABSENT_TEXT
    if reason:
        result = Result(overload, reason=reason)
        return result, expect.text_of_result(result)
    result = supervisor.run(overload)
    found = expect.text_of_result(result)
    counts = plan.expected or expect.accepting()
    if counts and found != (expected if plan.expected else expect.AGREE_TEXT):
        again = expect.text_of_result(supervisor.rerun_in_fresh_process(overload))
        if again != found:
            result = dataclasses.replace(result, again=again)
    return result, found
