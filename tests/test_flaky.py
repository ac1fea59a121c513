"""Different results of two runs are neither a regression nor accepted, and the exit status says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sweep import expect, test_overloads
from sweep.expect import Change, Verdict
from sweep.findings.finding import Result, Status
from sweep.report import run_jsonl
from sweep.report.conclusion import ONLY_FLAKY
from sweep.sharding import Part, Shard
from tests.test_report import BAD, GOOD, NAME, finish, plan_of, verdict_of

BAD_TEXT = expect.text_of_result(BAD)


class Runs:
    """A supervisor with a result for the first run and one for the second; ``made`` lists the runs that were asked for."""

    def __init__(self, first, second):
        self.first, self.second, self.made = first, second, []

    def run(self, overload, examples):
        self.made.append("run")
        return self.first

    def rerun_in_fresh_process(self, overload, examples):
        assert examples == {finding.title: finding.example for finding in self.first.findings}
        self.made.append("rerun")
        return self.second


@pytest.fixture(autouse=True)
def _not_accepting(monkeypatch):
    monkeypatch.delenv("EXPECTTEST_ACCEPT", raising=False)


@pytest.mark.parametrize(
    ("first", "second", "expected", "made", "status"),
    [
        (GOOD, BAD, expect.AGREE_TEXT, ["run"], Status.AGREES),
        (BAD, BAD, expect.AGREE_TEXT, ["run", "rerun"], Status.KNOWN_BAD),
        (BAD, GOOD, expect.AGREE_TEXT, ["run", "rerun"], Status.FLAKY),
        (GOOD, BAD, BAD_TEXT, ["run", "rerun"], Status.FLAKY),
        (GOOD, GOOD, BAD_TEXT, ["run", "rerun"], Status.AGREES),
        (BAD, GOOD, BAD_TEXT, ["run"], Status.KNOWN_BAD),
    ],
)
def test_only_an_unexpected_result_is_run_again(tmp_path, first, second, expected, made, status):
    runs = Runs(first, second)
    verdict = test_overloads.judge(NAME, plan_of(tmp_path), runs, expected)
    assert (runs.made, verdict.result.status) == (made, status)
    assert verdict.actual == expect.text_of_result(first)
    assert verdict.result.rerun == (second if status is Status.FLAKY else None)


def test_a_second_run_that_only_took_longer_is_the_same(tmp_path):
    runs = Runs(BAD, dataclasses.replace(BAD, seconds=9.0))
    assert test_overloads.judge(NAME, plan_of(tmp_path), runs, expect.AGREE_TEXT).change is Change.NEW


@pytest.mark.parametrize(
    ("accepting", "part", "made"),
    [
        (False, None, ["run"]),
        (True, None, ["run", "rerun"]),
        (False, Part(Shard(1, 2), sweep=None), ["run", "rerun"]),  # it is accepted when it has been merged
    ],
)
def test_without_expect_files_a_result_is_run_again_only_to_be_accepted(tmp_path, monkeypatch, accepting, part, made):
    if accepting:
        monkeypatch.setenv("EXPECTTEST_ACCEPT", "1")
    runs = Runs(BAD, BAD)
    test_overloads.judge(NAME, plan_of(tmp_path, expected=False, part=part), runs, expect.UNKNOWN_TEXT)
    assert runs.made == made


FLAKY = Verdict(dataclasses.replace(BAD, rerun=GOOD), expect.AGREE_TEXT, BAD_TEXT)


def test_a_run_in_which_only_flaky_overloads_are_wrong_has_its_own_exit_status_and_keeps_both_results(tmp_path):
    status, _, plan = finish(tmp_path, [FLAKY])
    assert status == ONLY_FLAKY
    [row] = run_jsonl.read(plan.run_folder() / "run.jsonl").rows
    assert row.verdict == FLAKY
    assert row.verdict.transition == "agrees -> fake: output 0 dtype, then agrees"


def test_a_regression_beside_a_flaky_overload_is_a_regression(tmp_path):
    status, _, _ = finish(tmp_path, [FLAKY, verdict_of(BAD, expect.AGREE_TEXT, "aten.acos.default")])
    assert status == pytest.ExitCode.TESTS_FAILED


def test_the_result_of_a_flaky_overload_is_not_accepted_and_others_are(tmp_path):
    flaky = Verdict(Result(NAME, calls=2, rerun=BAD), BAD_TEXT, expect.AGREE_TEXT)
    status, conclusion, plan = finish(tmp_path, [flaky, verdict_of(GOOD, BAD_TEXT, "aten.acos.default")], accept=True)
    assert status == ONLY_FLAKY
    file = expect.load(Path(plan.results))["aten"]
    assert file.text_of(NAME) == BAD_TEXT
    assert file.text_of("aten.acos.default") == expect.AGREE_TEXT
    assert f"not accepted, since it is flaky: {NAME}" in conclusion.notes
