"""Two answers to one question are neither a regression nor accepted, and the exit status says so."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from sweep import test_overloads
from sweep.expect import expect_file as expect
from sweep.findings.finding import FLAKY, Finding, Result
from sweep.report.report import ONLY_FLAKY, Report, Verdict

NAME = "aten.abs.default"
IDENTITY = {"torch": "2.13.0", "git": "0", "release": "2.13", "device": "cpu", "device_type": "cpu", "capability": "AVX2"}
BAD = Result(
    NAME,
    calls=2,
    findings=(Finding("fake", "output 0", "dtype", None, "a", "b", ("fake", "real"), ("float32",), 1, "torch.ops.aten.abs()"),),
)
GOOD = Result(NAME, calls=2)
BAD_TEXT = expect.text_of_result(BAD)


def plan(tmp_path, **changes):
    plain = {
        "identity": IDENTITY,
        "results": str(tmp_path / "2.13" / "cpu"),
        "reasons": {NAME: ""},
        "selected": [NAME],
        "crossrefs": ["fake", "functionalize"],
        "all_crossrefs": True,
        "expected": True,
        "unknown": 0,
    }
    return SimpleNamespace(**{**plain, **changes}, run_folder=lambda: tmp_path / "run")


def supervisor(first, second):
    asked = []

    def answer(result, how):
        asked.append(how)
        return result

    run, afresh = (lambda name: answer(first, "run")), (lambda name: answer(second, "afresh"))
    return SimpleNamespace(run=run, afresh=afresh, asked=asked)


@pytest.mark.parametrize(
    ("first", "second", "expected", "asked", "status"),
    [
        (GOOD, BAD, expect.AGREE_TEXT, ["run"], GOOD.status),
        (BAD, BAD, expect.AGREE_TEXT, ["run", "afresh"], BAD.status),
        (BAD, GOOD, expect.AGREE_TEXT, ["run", "afresh"], FLAKY),
        (GOOD, BAD, BAD_TEXT, ["run", "afresh"], FLAKY),
        (GOOD, GOOD, BAD_TEXT, ["run", "afresh"], GOOD.status),
    ],
)
def test_only_what_is_unexpected_is_asked_again(tmp_path, first, second, expected, asked, status):
    runs = supervisor(first, second)
    result, found = test_overloads._find(NAME, plan(tmp_path), runs, expected)
    assert (runs.asked, result.status) == (asked, status)
    assert found == expect.text_of_result(first)


def test_without_expect_files_nothing_is_unexpected(tmp_path):
    runs = supervisor(BAD, GOOD)
    result, _ = test_overloads._find(NAME, plan(tmp_path, expected=False), runs, expect.UNKNOWN_TEXT)
    assert (runs.asked, result.status) == (["run"], BAD.status)


def finished(tmp_path, verdict, *, accept=False, others=()):
    folder = tmp_path / "2.13" / "cpu"
    file = expect.ExpectFile(head=expect.head("aten", IDENTITY))
    file.put(NAME, verdict.expected)
    expect.write(folder, {"aten": file}, whole=True)
    names = [NAME, *(v.result.overload for v in others)]
    report = Report(plan(tmp_path, reasons=dict.fromkeys(names, "")), accept=accept)
    for one in (verdict, *others):
        report.verdicts[one.result.overload] = Verdict.from_json(one.as_json())
    session = SimpleNamespace(exitstatus=pytest.ExitCode.TESTS_FAILED)
    report.pytest_sessionfinish(session, pytest.ExitCode.TESTS_FAILED)
    return session, report, (folder / "aten.expect").read_text()


def test_nothing_but_flakes_has_its_own_exit_status_and_both_answers_are_kept(tmp_path):
    flaky = Verdict(Result(NAME, calls=2, findings=BAD.findings, again=expect.AGREE_TEXT), expect.AGREE_TEXT, BAD_TEXT)
    session, _, _ = finished(tmp_path, flaky)
    assert session.exitstatus == ONLY_FLAKY
    [line] = (tmp_path / "run" / "run.jsonl").read_text().splitlines()
    assert {**json.loads(line), "findings": 1}.items() >= {"status": FLAKY, "again": expect.AGREE_TEXT, "findings": 1}.items()


def test_a_regression_beside_a_flake_is_a_regression(tmp_path):
    flaky = Verdict(Result(NAME, calls=2, findings=BAD.findings, again=expect.AGREE_TEXT), expect.AGREE_TEXT, BAD_TEXT)
    worse = Verdict(Result("aten.acos.default", calls=2, findings=BAD.findings), expect.AGREE_TEXT, BAD_TEXT)
    session, _, _ = finished(tmp_path, flaky, others=[worse])
    assert session.exitstatus == pytest.ExitCode.TESTS_FAILED


def test_a_flake_is_never_accepted_and_the_rest_is(tmp_path):
    flaky = Verdict(Result(NAME, calls=2, again=BAD_TEXT), BAD_TEXT, expect.AGREE_TEXT)
    fresh = Verdict(Result("aten.acos.default", calls=2), BAD_TEXT, expect.AGREE_TEXT)
    session, report, text = finished(tmp_path, flaky, accept=True, others=[fresh])
    assert session.exitstatus == ONLY_FLAKY
    file = expect.parse(text, "aten", "aten.expect")
    assert file.text_of(NAME) == BAD_TEXT
    assert file.text_of("aten.acos.default") == expect.AGREE_TEXT
    assert any("flaky" in note and NAME in note for note in report.notes)
