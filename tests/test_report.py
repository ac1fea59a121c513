"""A run is written, read back, merged and rendered: nothing of it is lost, and a part changes only its own rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweep import expect
from sweep.errors import UsageError
from sweep.expect import Verdict
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import CALL, WHOLE, Finding, Place, Result
from sweep.findings.kind import Difference, StateChange
from sweep.findings.reason import Reason, ReasonKind
from sweep.operators.environment import Environment
from sweep.plan import Plan
from sweep.report import renderers, run_jsonl
from sweep.report.collector import Collector
from sweep.report.model import Row, Run, RunInfo

NAME = "aten.abs.default"
THIRD = "aten.sin.default"
ENVIRONMENT = Environment(
    torch="2.13.0",
    build="2.13.0+cpu",
    git="0",
    release="2.13",
    device="cpu",
    device_type="cpu",
    features="AVX2",
    python="3.11",
    numpy="2.0",
    libraries={},
)


def finding(kind=Difference.DTYPE, crossref="fake", place=Place(output=0), **changes):  # noqa: B008 - frozen
    plain = Finding(
        crossref, place, kind, None, "float32 (2,)", "float64 (2,)", ("fake", "real"), ("float32",), 1, "torch.ops.aten.abs()"
    )
    return dataclasses.replace(plain, **changes)


BAD = Result(NAME, calls=2, findings=(finding(),), compared={"fake": 2, "functionalize": 2})
GOOD = Result(NAME, calls=2, compared={"fake": 2, "functionalize": 2})
BOTH = dataclasses.replace(BAD, findings=(finding(), finding(Difference.RANK, "functionalize")))


def verdict_of(result, expected, overload=NAME, *, partial=False):
    result = dataclasses.replace(result, overload=overload)
    return Verdict(result, expected, expect.text_of_result(result), partial)


def plan_of(folder, names=(NAME,), **changes):
    plan = Plan(
        environment=ENVIRONMENT,
        corpus=str(folder / "corpus"),
        own_corpus=False,
        crossrefs=["fake", "functionalize"],
        all_crossrefs=True,
        results=str(folder / "results" / "2.13" / "cpu"),
        reasons=dict.fromkeys(names),
        selected=list(names),
        unknown=0,
        expected=True,
        timeout=1.0,
        overload_timeout=1.0,
        memory=0,
        native_cpu=False,
        work=str(folder / "work"),
        scratch=str(folder / "work" / "scratch"),
    )
    return dataclasses.replace(plan, **changes)


def finish(folder, verdicts, *, accept=False, broken=(), status=pytest.ExitCode.TESTS_FAILED, **changes):
    """A run that has these verdicts comes to its end: its exit status, its conclusion and its plan."""
    names = [v.result.overload for v in verdicts]
    plan = plan_of(folder, **{"names": names, **changes})
    results = Path(plan.results)
    if plan.expected and not list(results.glob("*")):
        file = expect.ExpectFile(head=expect.head("aten", ENVIRONMENT))
        for verdict in verdicts:
            if verdict.expected != expect.UNKNOWN_TEXT:
                file.put(verdict.result.overload, verdict.expected)
        expect.write(results, {"aten": file}, whole=True)
    collector = Collector(plan, accept=accept)
    for verdict in verdicts:
        data = verdict.to_bytes()
        collector.pytest_runtest_logreport(SimpleNamespace(sweep_verdict=data, failed=verdict.change is not None))
    for name in broken:
        collector.pytest_runtest_logreport(
            SimpleNamespace(failed=True, nodeid=f"test_overload[{name}]", longrepr="Traceback\nworker gw0 crashed")
        )
    session = SimpleNamespace(exitstatus=status)
    collector.pytest_sessionfinish(session, status)
    return session.exitstatus, collector.conclusion, plan


def rows(plan):
    return {row.overload: row for row in run_jsonl.read(plan.run_folder() / run_jsonl.NAME).rows}


# --- run.jsonl ---------------------------------------------------------------------------------------------------------


EVERYTHING = Run(
    (RunInfo("one", "2026-01-31T12:00:00+00:00", 1.5, "2.13.0", crossrefs=("fake",), arguments=("-k", "abs"), notes=("a", "b")),),
    (
        Row(
            NAME,
            "one",
            Verdict(
                Result(
                    NAME,
                    calls=4,
                    given_up=1,
                    seconds=0.25,
                    findings=(
                        finding(Ending(EndingKind.CRASH, "SIGSEGV"), CALL, WHOLE),
                        finding(Ending(EndingKind.RAISED, "ValueError", "fake"), place=WHOLE, variants=("empty",)),
                        finding(StateChange(("default dtype", "threads")), CALL, WHOLE),
                        finding(Difference.STRIDES, place=Place(argument="out", in_list=True, inside="aten.add.out"), index=1),
                    ),
                    compared={"fake": 3},
                    rerun=dataclasses.replace(GOOD, seconds=0.5),
                ),
                expect.AGREE_TEXT,
                "fake: ...",
                partial=True,
            ),
            crossref_runs={"fake": "one"},
            accepted=True,
        ),
        Row(
            "aten.acos.default",
            "one",
            verdict_of(Result("", reason=Reason(ReasonKind.NO_KERNEL, "cpu")), "x\n", "aten.acos.default"),
        ),
        Row("aten.add.Tensor", "one", not_run="worker gw0 crashed"),
    ),
)


def test_every_kind_of_row_comes_back_from_its_text_as_it_was():
    assert run_jsonl.loads(run_jsonl.dumps(EVERYTHING)) == EVERYTHING


def test_a_row_has_texts_for_whoever_filters_the_file():
    info, known_bad, not_called, not_run = map(json.loads, run_jsonl.dumps(EVERYTHING).splitlines())
    assert (info["type"], known_bad["type"]) == ("run", "overload")
    assert known_bad["findings"][3]["what"] == "inside aten.add.out argument out[] strides[1]"
    assert (known_bad["change"], not_called["change"]) == ("flaky", "new")
    assert not_called["why"] == "x -> not called: no kernel for cpu"
    assert (not_called["status"], not_called["reason"]) == ("not-called", "no kernel for cpu")
    assert (not_run["status"], not_run["not_run"]) == ("not-run", "worker gw0 crashed")


@pytest.mark.parametrize(
    "text", ["{", "[]\n", '{"overload": "aten.abs.default", "status": "agrees"}\n', '{"type": "run", "colour": 1}\n', "1\n"]
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line_and_replaced_by_the_next_run(tmp_path, text):
    path = tmp_path / run_jsonl.NAME
    path.write_text(text)
    with pytest.raises(run_jsonl.RunFileError) as caught:
        run_jsonl.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    run_jsonl.update(path, EVERYTHING)
    assert run_jsonl.read(path) == EVERYTHING


def test_a_file_that_is_missing_is_refused_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(run_jsonl.RunFileError, match="no run has finished yet: `make sweep` first"):
        run_jsonl.read(tmp_path / run_jsonl.NAME)


def test_equal_runs_differ_in_times_and_run_ids_alone(tmp_path):
    texts = []
    for name in ("one", "two"):
        _, _, plan = finish(tmp_path / name, [verdict_of(BOTH, expect.AGREE_TEXT)])
        text = (plan.run_folder() / run_jsonl.NAME).read_text().replace(str(tmp_path / name), "")
        objects = [json.loads(line) for line in text.splitlines()]
        for plain in objects:
            for field in ("id", "started", "seconds", "arguments", "run", "crossref_runs"):
                plain.pop(field, None)
        texts.append(objects)
    assert texts[0] == texts[1]


# --- a part ------------------------------------------------------------------------------------------------------------

OTHER = "aten.acos.default"


def test_a_part_replaces_its_own_rows_and_each_row_says_which_run_it_is_from(tmp_path):
    names = [NAME, OTHER]
    _, whole, _ = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT, name) for name in names])
    _, part, plan = finish(tmp_path, [verdict_of(GOOD, expect.AGREE_TEXT)], names=names)
    assert {name: row.run for name, row in rows(plan).items()} == {NAME: part.run().infos[0].id, OTHER: whole.run().infos[0].id}
    assert rows(plan)[NAME].verdict.result == GOOD
    assert rows(plan)[OTHER].verdict.result.findings == BAD.findings
    infos = run_jsonl.read(plan.run_folder() / run_jsonl.NAME).infos
    assert sorted(info.whole for info in infos) == [False, True]


def test_a_whole_run_replaces_everything(tmp_path):
    finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT, name) for name in (NAME, OTHER)])
    _, last, plan = finish(tmp_path, [verdict_of(GOOD, expect.AGREE_TEXT)])
    assert [*rows(plan)] == [NAME]
    assert [info.id for info in run_jsonl.read(plan.run_folder() / run_jsonl.NAME).infos] == [last.run().infos[0].id]


def test_a_run_of_which_no_row_is_left_is_forgotten(tmp_path):
    names = [NAME, OTHER]
    _, _, plan = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)], names=names)
    _, last, _ = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)], names=names)
    assert [info.id for info in run_jsonl.read(plan.run_folder() / run_jsonl.NAME).infos] == [last.run().infos[0].id]


def test_a_run_with_an_item_that_failed_is_a_part(tmp_path):
    finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT, name) for name in (NAME, OTHER)])
    _, _, plan = finish(tmp_path, [verdict_of(GOOD, expect.AGREE_TEXT)], broken=["aten.add.Tensor"], names=[NAME])
    assert [*rows(plan)] == [NAME, OTHER, "aten.add.Tensor"]
    assert rows(plan)["aten.add.Tensor"].not_run == "worker gw0 crashed"


ONLY_FUNCTIONALIZE = {"crossrefs": ["functionalize"], "all_crossrefs": False}


def after_functionalize(folder, first, second, expected=expect.AGREE_TEXT):
    """The row of an overload after a run under all crossrefs and one under ``functionalize``, and the ids of both."""
    _, whole, _ = finish(folder, [verdict_of(first, expected)])
    part = verdict_of(second, expect.restrict(expected, ["functionalize"]), partial=True)
    _, later, plan = finish(folder, [part], **ONLY_FUNCTIONALIZE)
    return rows(plan)[NAME], whole.run().infos[0].id, later.run().infos[0].id


def test_a_run_under_one_crossref_keeps_what_others_found(tmp_path):
    found = dataclasses.replace(
        GOOD, findings=(finding(Difference.SIZE, "functionalize", index=0),), compared={"functionalize": 2}
    )
    row, whole, later = after_functionalize(tmp_path, BOTH, found)
    result = row.verdict.result
    assert [(f.crossref, f.kind) for f in result.findings] == [("fake", Difference.DTYPE), ("functionalize", Difference.SIZE)]
    assert result.compared == {"fake": 2, "functionalize": 2}
    assert row.verdict.actual == expect.text_of_result(result)
    assert (row.run, row.crossref_runs) == (later, {"fake": whole, "functionalize": later})


def test_a_run_under_a_crossref_that_is_exempt_removes_only_its_findings(tmp_path):
    exempt = Result(NAME, reason=Reason(ReasonKind.EXEMPT, "no tensor"))
    row, _, _ = after_functionalize(tmp_path, BOTH, exempt)
    assert row.verdict.result.findings == BAD.findings
    assert row.verdict.result.compared == {"fake": 2}
    assert row.verdict.actual == expect.text_of_result(BAD)


def test_a_run_under_one_crossref_leaves_another_flaky(tmp_path):
    flaky = dataclasses.replace(BOTH, rerun=dataclasses.replace(BOTH, findings=BOTH.findings[1:]))
    good = dataclasses.replace(GOOD, compared={"functionalize": 2})
    row, _, _ = after_functionalize(tmp_path / "fake", flaky, good)
    assert row.verdict.result.rerun.findings == ()
    flaky = dataclasses.replace(BOTH, rerun=dataclasses.replace(BOTH, findings=BOTH.findings[:1]))
    row, _, _ = after_functionalize(tmp_path / "functionalize", flaky, good)
    assert row.verdict.result.rerun is None


def test_what_was_accepted_is_the_baseline_of_a_later_part(tmp_path):
    finish(tmp_path, [verdict_of(BOTH, expect.AGREE_TEXT)], accept=True, status=pytest.ExitCode.OK)
    part = dataclasses.replace(BOTH, findings=BOTH.findings[1:], compared={"functionalize": 2})
    text = expect.text_of_result(part)
    _, _, plan = finish(tmp_path, [verdict_of(part, text, partial=True)], status=pytest.ExitCode.OK, **ONLY_FUNCTIONALIZE)
    assert rows(plan)[NAME].change is None
    assert rows(plan)[NAME].verdict.expected == expect.text_of_result(BOTH)


# --- the end of a run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "accept", "changes", "before", "after"),
    [
        (verdict_of(BAD, expect.AGREE_TEXT), False, {}, 1, 1),
        (verdict_of(GOOD, expect.AGREE_TEXT), False, {}, 0, 0),
        (verdict_of(BAD, expect.AGREE_TEXT), True, {}, 0, 0),
        (verdict_of(BAD, expect.UNKNOWN_TEXT), False, {"expected": False}, 0, 1),
        (verdict_of(BAD, expect.UNKNOWN_TEXT), True, {"expected": False, "names": [NAME, OTHER]}, 0, 1),
        (verdict_of(BAD, expect.AGREE_TEXT), True, {}, 2, 2),
    ],
)
def test_the_exit_status_says_whether_the_files_are_right(tmp_path, verdict, accept, changes, before, after):
    status, _, _ = finish(tmp_path, [verdict], accept=accept, status=before, **changes)
    assert status == after


@pytest.mark.parametrize("changes", [{"status": 2}, {"status": 1, "broken": ["aten.add.Tensor"]}])
def test_a_run_that_did_not_finish_accepts_nothing(tmp_path, changes):
    _, conclusion, plan = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)], accept=True, **changes)
    assert expect.load(Path(plan.results))["aten"].text_of(NAME) == expect.AGREE_TEXT
    assert "nothing was accepted, since the run did not finish" in conclusion.notes[0]
    assert run_jsonl.read(plan.run_folder() / run_jsonl.NAME).infos[0].notes == tuple(conclusion.notes)


def test_a_damaged_corpus_is_a_bad_request(tmp_path):
    collector = Collector(plan_of(tmp_path), accept=False)
    collector.pytest_runtest_logreport(
        SimpleNamespace(failed=True, sweep_damage="file is damaged", nodeid=f"x[{NAME}]", longrepr="file is damaged")
    )
    session = SimpleNamespace(exitstatus=1)
    collector.pytest_sessionfinish(session, 1)
    assert session.exitstatus == pytest.ExitCode.USAGE_ERROR
    assert f"not run {NAME}: file is damaged\n" in renderers.render("terminal", collector.conclusion.run())


def test_a_file_that_cannot_be_written_is_one_note(tmp_path):
    (tmp_path / "work").write_text("in the way")
    status, conclusion, plan = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)], accept=True, status=pytest.ExitCode.OK)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert len(conclusion.notes) == 1
    assert "expect files are as they were" in conclusion.notes[0]
    assert expect.load(Path(plan.results))["aten"].text_of(NAME) == expect.AGREE_TEXT


# --- renderers ---------------------------------------------------------------------------------------------------------


def test_the_summary_can_be_rendered_again_from_the_file(tmp_path):
    names = [NAME, OTHER, "prims.cos.default", "prims.sin.default"]
    _, conclusion, plan = finish(
        tmp_path,
        [
            verdict_of(dataclasses.replace(BAD, seconds=2.0), expect.AGREE_TEXT),
            verdict_of(GOOD, expect.text_of_result(BAD), OTHER),
            verdict_of(Result("", reason=Reason(ReasonKind.NO_KERNEL, "cpu")), expect.UNKNOWN_TEXT, "prims.cos.default"),
        ],
        broken=["prims.sin.default"],
        names=names,
        unknown=3,
    )
    text = renderers.render("terminal", run_jsonl.read(plan.run_folder() / run_jsonl.NAME))
    assert text.splitlines()[1:] == renderers.render("terminal", conclusion.run()).splitlines()[1:]  # the first has the time
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "namespace overloads called coverage agree known-bad unsupported not called flaky new gone" in lines
    assert "aten 2 2 100% 1 1 0 0 0 1 1" in lines
    assert "prims 1 0 0 0 0 1 0 1 0" in lines
    assert "all 3 2 100% 1 1 0 1 0 2 1" in lines
    assert f"slowest: {NAME} 2.0 s" in lines
    assert f"new {NAME}: agrees -> fake: output 0 dtype" in lines
    assert f"gone {OTHER}: fake: output 0 dtype -> agrees" in lines
    assert "not run prims.sin.default: worker gw0 crashed" in lines
    assert f"3 unexpected; to accept them: {plan.accept_command('...')}" in lines
    assert "the corpus has calls of 3 overloads that this torch does not know; they were left out" in lines


def test_the_summary_says_what_each_crossref_looked_at_found_and_took(tmp_path):
    refusal = finding(Ending(EndingKind.UNSUPPORTED, "UnsupportedFakeTensorException", "fake"))
    timed = {"fake": 1.4, "functionalize": 0.2}
    refused = Result("", calls=3, findings=(refusal,), compared={"fake": 3}, seconds_of={"fake": 2.0})
    bad = dataclasses.replace(BAD, findings=(refusal, finding(), finding(Difference.RANK)), seconds_of=timed)
    crash = finding(Ending(EndingKind.CRASH, "SIGSEGV"), "call")
    results = [bad, refused, dataclasses.replace(GOOD, findings=(crash,), seconds_of=timed)]
    _, conclusion, _ = finish(
        tmp_path,
        [verdict_of(result, expect.AGREE_TEXT, name) for result, name in zip(results, (NAME, OTHER, THIRD), strict=True)],
    )
    lines = [" ".join(line.split()) for line in renderers.render("terminal", conclusion.run()).splitlines()]
    head = lines.index("crossref overloads calls findings known-bad unsupported seconds")
    assert lines[head + 2 : head + 5] == ["call 3 7 1 1 0", "fake 3 7 2 1 1 5", "functionalize 2 4 0 0 0 0"]
    assert "aten 3 3 100% 0 2 1 0 0 3 0" in lines


def test_the_command_to_accept_a_single_change_names_its_overload(tmp_path):
    _, conclusion, plan = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)])
    assert f"1 unexpected; to accept them: {plan.accept_command(NAME)}\n" in renderers.render("terminal", conclusion.run())


def test_what_was_accepted_is_not_unexpected(tmp_path):
    _, conclusion, _ = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)], accept=True, status=pytest.ExitCode.OK)
    text = renderers.render("terminal", conclusion.run())
    assert "unexpected" not in text
    assert "accepted: " in text


def test_differences_under_the_instruction_sets_of_this_cpu_are_called_cpu_dependent(tmp_path):
    native = dataclasses.replace(ENVIRONMENT, native_cpu=True, features="AVX512")
    _, conclusion, _ = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)], environment=native)
    text = renderers.render("terminal", conclusion.run())
    assert "\n1 CPU-dependent: " in text
    assert "to accept" not in text
    assert "another torch or device" not in text


def test_slow_overloads_are_listed_slowest_first():
    slow = [Row(n, "one", verdict_of(dataclasses.replace(BAD, seconds=s), "", n)) for n, s in ((NAME, 1.0), (OTHER, 3.0))]
    lines = renderers.render("slowest", Run((RunInfo("one"),), tuple(slow))).splitlines()
    assert [line.split() for line in lines[2:]] == [[OTHER, "3.00", "2", "1.5000"], [NAME, "1.00", "2", "0.5000"]]


def test_a_renderer_is_added_as_one_file(tmp_path, monkeypatch):
    (tmp_path / "names_only.py").write_text("def render(run):\n    return ''.join(f'{row.overload}\\n' for row in run.rows)\n")
    monkeypatch.setattr(renderers, "__path__", [*renderers.__path__, str(tmp_path)])
    assert renderers.names() == ["junit", "names_only", "slowest", "terminal"]
    assert renderers.render("names_only", EVERYTHING) == f"{NAME}\naten.acos.default\naten.add.Tensor\n"


def test_an_unknown_renderer_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(UsageError, match="unknown format 'page'; there are: junit, slowest, terminal"):
        renderers.render("page", EVERYTHING)
