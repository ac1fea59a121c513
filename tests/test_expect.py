"""Expect files come back byte for byte, refuse what they cannot mean, and change only where a run says something else."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from sweep import expect
from sweep.errors import ExpectError
from sweep.expect import ABSENT_TEXT, AGREE_TEXT, UNKNOWN_TEXT, Change, ExpectFile, Verdict
from sweep.expect.expect_file import merge, summary, summary_of_result
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import WHOLE, Finding, Place, Result
from sweep.findings.kind import Difference
from sweep.findings.reason import Reason, ReasonKind
from sweep.operators.environment import Environment

ABS = """\
fake: output 0 dtype: 1 of 2 calls, float32
  torch.ops.aten.abs.default(torch.zeros((2,)))
  fake: float32 (2,)
  real: float64 (2,)
"""
ABS_FUNCTIONALIZE = """\
functionalize: output 0 rank: 2 of 2 calls, float32
  torch.ops.aten.abs.default(torch.zeros((3,)))
  fake: float32 (3,)
  functionalized: float32 (3, 1)
"""
TEXT = f"""\
# Overloads of aten.
# torch 2.13.0

[aten.abs.default]
{ABS}{ABS_FUNCTIONALIZE}
[aten.add.Tensor]
not called: no sample

[agree]
aten.mul.Tensor
aten.sub.Tensor
"""


def parsed(text=TEXT):
    return expect.parse(text, "aten", "results/aten.expect")


RAISES = "call: real raises RuntimeError: 1 of 1 call\n  torch.ops.aten.abs.default(1)\n  real: RuntimeError\n"
EXEMPT = Reason(ReasonKind.EXEMPT, "its result is no tensor")
EXEMPT_TEXT = "not called: exempt: its result is no tensor\n"


def finding(kind, **changes):
    plain = {
        "crossref": "fake",
        "place": Place(output=0),
        "kind": kind,
        "index": None,
        "predicted": "(2,)",
        "actual": "(3,)",
        "labels": ("fake", "real"),
        "dtypes": ("float32", "int64"),
        "calls": 2,
        "example": "torch.ops.aten.abs.default(1)",
    }
    return Finding(**{**plain, **changes})


def environment(release="2.13", device_type="cpu", features="AVX2"):
    return Environment(
        torch=f"{release}.0",
        build=f"{release}.0+cpu",
        git="abc",
        release=release,
        device=device_type,
        device_type=device_type,
        features=features,
        python="3.11",
        numpy="2.0",
        libraries={},
    )


@pytest.mark.parametrize("text", [TEXT, "# head\n\n[agree]\n", "# head\n#\n# more\n\n[agree]\naten.mul.Tensor\n"])
def test_what_is_parsed_renders_to_the_same_bytes(text):
    assert parsed(text).render() == text


def test_sections_and_lines_are_sorted_whatever_order_they_were_put_in():
    file = ExpectFile(head=["Overloads of aten.", "torch 2.13.0"])
    file.put("aten.sub.Tensor", AGREE_TEXT)
    file.put("aten.add.Tensor", "not called: no sample\n")
    file.put("aten.mul.Tensor", AGREE_TEXT)
    file.put("aten.abs.default", ABS_FUNCTIONALIZE + ABS)
    assert file.render() == TEXT


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", "=======", ">>>>>>> branch", "||||||| base"])
@pytest.mark.parametrize("number", [1, 5, 16])
def test_a_conflict_marker_is_refused_wherever_it_stands(marker, number):
    lines = TEXT.splitlines()
    lines.insert(number - 1, marker)
    with pytest.raises(ExpectError, match=rf"^results/aten\.expect:{number}: a conflict marker.*$"):
        parsed("\n".join(lines))


@pytest.mark.parametrize("name", ["prims.abs.default", "aten.abs", "abs", "aten.abs.default.more", "atenx.abs.default", "Agree"])
def test_an_unknown_section_is_refused(name):
    with pytest.raises(ExpectError, match=rf"results/aten\.expect:20: unknown section \[{name}\]"):
        parsed(f"{TEXT}[{name}]\nx\n")


@pytest.mark.parametrize("name", ["aten.abs.default", "agree"])
def test_a_second_section_of_the_same_name_is_refused(name):
    with pytest.raises(ExpectError, match=rf"results/aten\.expect:20: a second section \[{name}\]"):
        parsed(f"{TEXT}[{name}]\nx\n")


def test_a_section_and_a_line_under_agree_are_refused():
    with pytest.raises(ExpectError, match=r"results/aten\.expect: section \[aten\.abs\.default\] and a line under \[agree\]"):
        parsed(f"{TEXT}aten.abs.default\n")


def test_an_empty_section_is_refused():
    with pytest.raises(ExpectError, match=r"section \[aten\.abs\.default\] is empty"):
        parsed("[aten.abs.default]\n\n[agree]\n")


def test_text_before_the_first_section_is_refused():
    with pytest.raises(ExpectError, match=r"results/aten\.expect:2: text before the first section"):
        parsed("# head\naten.abs.default\n\n[agree]\n")


def test_errors_are_one_line():
    for text in ("=======\n", "[nonsense]\n", "[agree]\n[agree]\n", "text\n", "[aten.abs.default]\n"):
        with pytest.raises(ExpectError) as caught:
            parsed(text)
        assert "\n" not in str(caught.value)


def test_the_text_of_an_overload_is_what_its_crossrefs_say():
    file = parsed()
    assert file.text_of("aten.abs.default") == ABS + ABS_FUNCTIONALIZE
    assert file.text_of("aten.abs.default", ["fake"]) == ABS
    assert file.text_of("aten.abs.default", ["functionalize"]) == ABS_FUNCTIONALIZE
    assert file.text_of("aten.abs.default", ["another"]) == AGREE_TEXT
    assert file.text_of("aten.add.Tensor", ["fake"]) == "not called: no sample\n"
    assert file.text_of("aten.mul.Tensor", ["fake"]) == AGREE_TEXT
    assert file.text_of("aten.div.Tensor", ["fake"]) == UNKNOWN_TEXT


def test_putting_what_one_crossref_found_keeps_what_the_others_say():
    file = parsed()
    other = ABS.replace("dtype", "layout")
    file.put("aten.abs.default", other, ["fake"])
    assert file.text_of("aten.abs.default") == other + ABS_FUNCTIONALIZE
    file.put("aten.abs.default", AGREE_TEXT, ["fake"])
    assert file.text_of("aten.abs.default") == ABS_FUNCTIONALIZE
    file.put("aten.abs.default", ABS, ["fake"])
    assert file.render() == TEXT
    file.put("aten.abs.default", AGREE_TEXT, ["fake", "functionalize"])
    assert "aten.abs.default" in file.agree


def test_a_finding_about_the_real_call_belongs_to_every_crossref():
    file = ExpectFile()
    file.put("aten.abs.default", RAISES + ABS_FUNCTIONALIZE)
    assert file.text_of("aten.abs.default", ["fake"]) == RAISES
    file.put("aten.abs.default", AGREE_TEXT, ["fake"])
    assert file.text_of("aten.abs.default") == ABS_FUNCTIONALIZE


def test_putting_moves_an_overload_between_its_section_and_agree():
    file = parsed()
    file.put("aten.abs.default", AGREE_TEXT)
    file.put("aten.mul.Tensor", "not called: no sample\n")
    assert (sorted(file.sections), sorted(file.agree)) == (
        ["aten.add.Tensor", "aten.mul.Tensor"],
        ["aten.abs.default", "aten.sub.Tensor"],
    )
    file.put("aten.mul.Tensor", AGREE_TEXT)
    file.put("aten.abs.default", ABS + ABS_FUNCTIONALIZE)
    assert file.render() == TEXT


@pytest.mark.parametrize("name", ["aten.abs.default", "aten.mul.Tensor"])
def test_putting_an_overload_that_is_no_more_removes_it(name):
    file = parsed()
    file.put(name, ABSENT_TEXT)
    assert file.overloads() == parsed().overloads() - {name}


def test_a_result_without_findings_agrees():
    assert expect.text_of_result(Result("aten.abs.default", calls=3)) == "agrees\n"


def test_a_result_that_was_not_called_says_why():
    assert (
        expect.text_of_result(Result("aten.abs.default", reason=Reason(ReasonKind.NO_KERNEL, "cpu")))
        == "not called: no kernel for cpu\n"
    )


def test_findings_are_written_with_counts_example_and_both_sides():
    crash = Ending(EndingKind.CRASH, "SIGSEGV")
    findings = (
        finding(Difference.SIZE, index=1, variants=("permuted", "sliced")),
        finding(crash, place=WHOLE, predicted="", actual="crash SIGSEGV", dtypes=(), calls=1),
    )
    assert expect.text_of_result(Result("aten.abs.default", calls=5, given_up=4, findings=findings)) == (
        """\
fake: output 0 size[1]: 2 of 5 calls, 4 not made, float32 int64, only permuted sliced
  torch.ops.aten.abs.default(1)
  fake: (2,)
  real: (3,)
fake: crash SIGSEGV: 1 of 5 calls, 4 not made
  torch.ops.aten.abs.default(1)
  real: crash SIGSEGV
"""
    )


def test_a_crossref_that_was_given_up_is_said_to_be():
    crash = Ending(EndingKind.CRASH, "SIGSEGV")
    result = Result("aten.abs.default", calls=5, findings=(replace(finding(crash, place=WHOLE, calls=3), given_up=True),))
    section = expect.text_of_result(result)
    assert section.startswith("fake: crash SIGSEGV: 3 of 5 calls, then given up, float32 int64\n")
    assert summary(section) == summary_of_result(result) == "fake: crash SIGSEGV"


def test_one_call_is_not_many():
    text = expect.text_of_result(
        Result("aten.abs.default", calls=1, findings=(finding(Difference.DTYPE, calls=1, dtypes=("int64",)),))
    )
    assert text.splitlines()[0] == "fake: output 0 dtype: 1 of 1 call, int64"


def test_the_text_of_a_result_comes_back_from_a_file_as_it_was():
    text = expect.text_of_result(
        Result("aten.abs.default", calls=5, findings=(finding(Difference.DTYPE), finding(Difference.SIZE, index=0)))
    )
    file = ExpectFile()
    file.put("aten.abs.default", text)
    assert parsed(file.render()).text_of("aten.abs.default") == text


@pytest.mark.parametrize(
    ("have", "wanted", "nearest"),
    [
        (["2.11/cpu", "2.12/cpu", "2.15/cpu"], "2.13/cpu", "2.12/cpu"),
        (["2.9/cpu", "2.20/cpu"], "2.13/cpu", "2.9/cpu"),
        (["2.99/cpu", "3.1/cpu"], "3.0/cpu", "3.1/cpu"),
        (["2.13/cuda", "2.5/cpu"], "2.13/cpu", "2.5/cpu"),
        (["2.13/cuda"], "2.13/cpu", "2.13/cuda"),
        ([], "2.13/cpu", None),
    ],
)
def test_the_nearest_files_are_of_the_same_device_and_the_closest_release(tmp_path, have, wanted, nearest):
    for folder in have:
        expect.write(tmp_path / folder, {"aten": ExpectFile()}, whole=True)
    (tmp_path / wanted).mkdir(parents=True, exist_ok=True)
    release, device_type = wanted.split("/")
    near = expect.nearest(tmp_path, environment(release, device_type))
    assert near == (tmp_path / nearest if nearest else None)


def test_files_come_back_by_namespace(tmp_path):
    expect.write(tmp_path, {"aten": parsed(), "prims": ExpectFile(agree={"prims.abs.default"})}, whole=True)
    files = expect.load(tmp_path)
    assert {name: file.render() for name, file in files.items()} == {"aten": TEXT, "prims": "\n[agree]\nprims.abs.default\n"}


def test_only_files_that_change_are_written(tmp_path):
    files = {"aten": parsed(), "prims": ExpectFile()}
    assert len(expect.write(tmp_path, files, whole=True)) == 2
    for path in tmp_path.iterdir():
        os.utime(path, ns=(1, 1))
    files["prims"].put("prims.abs.default", AGREE_TEXT)
    assert expect.write(tmp_path, files, whole=True) == [tmp_path / "prims.expect"]
    assert (tmp_path / "aten.expect").stat().st_mtime_ns == 1
    assert (tmp_path / "prims.expect").stat().st_mtime_ns > 1


def test_only_a_whole_run_removes_files_of_namespaces_that_are_gone(tmp_path):
    expect.write(tmp_path, {"aten": parsed(), "gone": ExpectFile()}, whole=True)
    (tmp_path / "notes.txt").write_text("not ours")
    assert expect.write(tmp_path, {"aten": parsed()}, whole=False) == []
    assert expect.write(tmp_path, {"aten": parsed()}, whole=True) == [tmp_path / "gone.expect"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aten.expect", "notes.txt"]


def test_the_head_of_another_torch_or_device_is_noticed():
    files = {"aten": ExpectFile(head=expect.head("aten", environment()))}
    assert expect.differing_head(files, environment()) is None
    assert expect.differing_head(files, environment(features="AVX512")) == "torch 2.13.0 git abc, cpu, AVX2"


def test_an_overload_that_only_a_file_mentions_has_the_text_that_removes_it():
    assert expect.text_of_result(Result("aten.abs.default", reason=Reason(ReasonKind.ABSENT))) == ABSENT_TEXT


# --- summaries, merging and verdicts -----------------------------------------------------------------------------------


def test_a_section_is_summed_up_as_its_result_is():
    crash = finding(Ending(EndingKind.CRASH, "SIGSEGV"), place=WHOLE, crossref="call")
    result = Result("aten.abs.default", calls=9, given_up=1, findings=(crash, finding(Difference.SIZE, index=1)))
    assert summary_of_result(result) == "call: crash SIGSEGV; fake: output 0 size[1]"
    for one in (result, Result("aten.abs.default"), Result("aten.abs.default", reason=EXEMPT)):
        assert summary(expect.text_of_result(one)) == summary_of_result(one)


@pytest.mark.parametrize(
    ("old", "new", "crossrefs", "merged"),
    [
        (ABS, ABS_FUNCTIONALIZE, ["functionalize"], ABS + ABS_FUNCTIONALIZE),
        (ABS, ABS_FUNCTIONALIZE, None, ABS_FUNCTIONALIZE),
        (UNKNOWN_TEXT, AGREE_TEXT, ["fake"], AGREE_TEXT),
        ("not called: no sample\n", ABS, ["fake"], ABS),
        (ABS, "not called: no sample\n", ["fake"], "not called: no sample\n"),
        (ABS, EXEMPT_TEXT, ["functionalize"], ABS),
        (ABS + ABS_FUNCTIONALIZE, EXEMPT_TEXT, ["functionalize"], ABS),
        (AGREE_TEXT, EXEMPT_TEXT, ["functionalize"], AGREE_TEXT),
        (RAISES + ABS_FUNCTIONALIZE, EXEMPT_TEXT, ["functionalize"], RAISES),
        (RAISES + ABS_FUNCTIONALIZE, ABS, ["fake"], ABS + ABS_FUNCTIONALIZE),
        (ABS, EXEMPT_TEXT, None, EXEMPT_TEXT),
        (UNKNOWN_TEXT, EXEMPT_TEXT, ["fake"], EXEMPT_TEXT),
    ],
)
def test_merging_keeps_the_findings_of_crossrefs_that_were_not_run(old, new, crossrefs, merged):
    assert merge(old, new, crossrefs) == merged


@pytest.mark.parametrize(
    ("expected", "result", "partial", "change"),
    [
        (AGREE_TEXT, Result("aten.abs.default", calls=1), False, None),
        (AGREE_TEXT, Result("aten.abs.default", calls=2, findings=(finding(Difference.DTYPE),)), False, Change.NEW),
        (ABS, Result("aten.abs.default", calls=1), False, Change.GONE),
        (ABS, Result("aten.abs.default", reason=Reason(ReasonKind.ABSENT)), False, Change.GONE),
        (UNKNOWN_TEXT, Result("aten.abs.default", calls=1), False, Change.NEW),
        (AGREE_TEXT, Result("aten.abs.default", rerun=Result("aten.abs.default")), False, Change.FLAKY),
        (AGREE_TEXT, Result("aten.abs.default", reason=EXEMPT), False, Change.NEW),
        (AGREE_TEXT, Result("aten.abs.default", reason=EXEMPT), True, None),
        ("not called: exempt: something else\n", Result("aten.abs.default", reason=EXEMPT), True, None),
        (ABS, Result("aten.abs.default", reason=EXEMPT), True, Change.NEW),
    ],
)
def test_a_verdict_says_how_a_result_differs_from_its_baseline(expected, result, partial, change):
    verdict = Verdict(result, expected, expect.text_of_result(result), partial)
    assert verdict.change is change
    assert Verdict.from_bytes(verdict.to_bytes()) == verdict
