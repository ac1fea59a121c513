"""Whole runs through pytest itself: passing, failing, accepting, and requests that are refused."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from sweep import crossref, expect
from sweep.causes import causes_file
from sweep.causes.cause import Causes
from tests.whole_runs import (
    INVENTED,
    MISMATCHING,
    ROOT,
    change,
    content,
    copied,
    expect_folder,
    ops,
    rows_of,
    run_file,
    section,
    sweep,
)

# --- passing, failing, and the summary ---------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_that_finds_what_is_expected_passes_and_writes_no_expect_file(known, processes):
    before = content(known / "results")
    completed = sweep(known, known / "results", "-n", processes, *ops("aten.max_unpool2d*"))
    assert completed.returncode == 0, completed.stdout
    assert "1 passed, 1 skipped" in completed.stdout
    assert completed.stderr == ""
    assert content(known / "results") == before


@pytest.fixture(scope="module")
def wrong_files(known, tmp_path_factory):
    """A whole run against expect files that are wrong in four ways."""
    results = copied(known, tmp_path_factory.mktemp("wrong"))
    change(
        results,
        aten__max_unpool2d__default=expect.AGREE_TEXT,
        aten__detach__default=INVENTED,
        aten__sort__stable=None,
        aten__abs__default=None,
        aten__no_such_op__default=INVENTED,
    )
    before = content(results)
    completed = sweep(known, results, "-n", "2")
    assert content(results) == before
    return completed


def test_a_regression_fails_with_a_diff_and_the_command_that_accepts_it(wrong_files):
    assert wrong_files.returncode == 1
    assert "-agrees\n" in wrong_files.stdout
    assert "+fake: output 0 strides[1]: 40 of 80 calls, float32\n" in wrong_files.stdout
    [hint] = {line for line in wrong_files.stdout.splitlines() if line.endswith(f"--ops {MISMATCHING}")}
    assert hint.startswith("To accept what was found: EXPECTTEST_ACCEPT=1 pytest -n auto sweep/ --corpus=")
    assert "assert_eq" not in wrong_files.stdout, "a difference is shown without the lines of code that lead to it"
    found = "; ".join(f"{name}: output 0 strides[1]" for name in ("decomposition", "fake", "functionalize"))
    assert f"\nnew  {MISMATCHING}: agrees -> {found}\n" in wrong_files.stdout


def test_an_improvement_fails_as_gone(wrong_files):
    assert "\ngone aten.detach.default: fake: output 0 dtype -> agrees\n" in wrong_files.stdout


def test_an_overload_that_the_file_does_not_know_fails_as_new(wrong_files):
    assert "\nnew  aten.sort.stable: not in the expect file -> agrees\n" in wrong_files.stdout
    assert "\nnew  aten.abs.default: not in the expect file -> not called: no sample\n" in wrong_files.stdout


def test_a_section_about_no_overload_fails_as_gone(wrong_files):
    assert "\ngone aten.no_such_op.default: fake: output 0 dtype -> no such overload in this torch\n" in wrong_files.stdout


def test_what_is_unexpected_and_nothing_else_is_counted(wrong_files):
    assert "\n5 unexpected; to accept them: EXPECTTEST_ACCEPT=1 pytest -n auto sweep/ --corpus=" in wrong_files.stdout
    [row] = [line.split() for line in wrong_files.stdout.splitlines() if line.startswith("aten ")]
    assert row[-2:] == ["3", "2"]


def test_a_run_leaves_a_row_per_overload(known):
    rows, runs = rows_of(known / "run.jsonl")
    [run] = runs
    assert list(rows) == sorted(rows)
    assert set(rows) == {o for file in expect.load(expect_folder(known / "results")).values() for o in file.overloads()}
    assert {row["run"] for row in rows.values()} == {run}
    assert runs[run]["whole"] is True
    assert all(row.keys() >= {"reason", "calls", "seconds", "expected", "actual", "change", "why"} for row in rows.values())
    assert (rows[MISMATCHING]["status"], rows[MISMATCHING]["calls"]) == ("known-bad", 80)
    assert [finding["crossref"] for finding in rows[MISMATCHING]["findings"]] == ["decomposition", "fake", "functionalize"]
    assert (rows["aten.sort.stable"]["status"], rows["aten.sort.stable"]["findings"]) == ("agrees", [])
    assert (rows["aten.abs.default"]["status"], rows["aten.abs.default"]["reason"]) == ("not-called", "no sample")


@pytest.mark.parametrize("part", [ops("aten.sort.stable"), ["-k", "aten.sort.stable"]], ids=["--ops", "-k"])
def test_a_part_replaces_its_own_rows_only(known, tmp_path, part):
    work = tmp_path / "work"
    file = work / run_file(known / "work").relative_to(known / "work")
    file.parent.mkdir(parents=True)
    shutil.copy(known / "run.jsonl", file)
    before, [whole] = rows_of(file)
    completed = sweep(known, known / "results", *part, work=work)
    assert completed.returncode == 0, completed.stdout
    after, runs = rows_of(file)
    [second] = set(runs) - {whole}
    assert not runs[second]["whole"]
    assert {overload: row for overload, row in before.items() if row != after[overload]}.keys() == {"aten.sort.stable"}
    assert after.keys() == before.keys()
    assert after["aten.sort.stable"]["run"] == second
    assert {run_file(work)} == {file}


def test_without_expect_files_a_run_fails_and_names_the_nearest(known, tmp_path):
    folder = expect_folder(known / "results")
    for release, device in (("2.1", "cpu"), ("2.2", "cpu"), (folder.parent.name, "cuda")):
        shutil.copytree(folder, tmp_path / release / device)
    before = content(tmp_path)
    completed = sweep(known, tmp_path, *ops("aten.max_unpool2d.out"))
    assert completed.returncode == 1
    assert f"no expect files for torch {folder.parent.name} on cpu in {tmp_path / folder.parent.name / 'cpu'}" in completed.stdout
    assert f"the nearest there are: {tmp_path / '2.2' / 'cpu'}. To make them: EXPECTTEST_ACCEPT=1 pytest" in completed.stdout
    assert f" --results={tmp_path} --work-dir={known / 'work'}\n" in completed.stdout
    accepted = sweep(known, tmp_path, *ops("aten.max_unpool2d.out"), accept=True)
    assert accepted.returncode == 1
    assert "nothing was accepted" in accepted.stdout
    assert content(tmp_path) == before


# --- accepting ---------------------------------------------------------------------------------------------------------


def test_accepting_everything_again_gives_the_same_bytes_whatever_was_there(known, tmp_path):
    results = copied(known, tmp_path)
    change(results, aten__no_such_op__default=INVENTED, aten__detach__default=INVENTED, aten__abs__default=None)
    gone = expect.ExpectFile(agree={"no_such_namespace.op.default"})
    expect.write(expect_folder(results), {"no_such_namespace": gone}, whole=False)
    completed = sweep(known, results, "-n", "2", accept=True)
    assert completed.returncode == 0, completed.stdout
    assert content(results) == content(known / "results")
    assert [line.rpartition("/")[2] for line in completed.stdout.splitlines() if line.startswith("accepted: ")] == [
        "aten.expect",
        "no_such_namespace.expect",
    ]


@pytest.mark.parametrize("subset", [ops("aten.max_unpool2d*"), ["-k", "max_unpool2d"]], ids=["--ops", "-k"])
def test_accepting_a_subset_touches_only_what_ran(known, tmp_path, subset):
    results = copied(known, tmp_path)
    kept = {"aten__detach__default": INVENTED, "aten__sort__stable": None, "aten__no_such_op__default": INVENTED}
    change(results, **kept)
    causes_file.save(expect_folder(results), Causes())
    wanted = content(results)
    change(results, aten__max_unpool2d__default=expect.AGREE_TEXT, aten__max_unpool2d__out=None)
    assert content(results) != wanted
    completed = sweep(known, results, *subset, accept=True)
    assert completed.returncode == 0, completed.stdout
    assert content(results) == wanted
    files = expect.load(expect_folder(results)).values()
    lacking = sum(len(file.known(name).findings) for file in files for name in file.sections)
    assert f"causes.json lacks {lacking} findings of " in completed.stdout


def test_one_crossref_compares_and_accepts_only_what_it_says(known, tmp_path):
    results = copied(known, tmp_path)
    fakes = expect.restrict(section(results, MISMATCHING), ["fake"])
    others = INVENTED.replace("fake: output", "functionalize: output")
    change(results, aten__max_unpool2d__default=fakes + others)
    arguments = ("--crossref", "fake", *ops(MISMATCHING))
    assert sweep(known, results, *arguments).returncode == 0
    change(results, aten__max_unpool2d__default=INVENTED + others)
    failed = sweep(known, results, *arguments)
    assert failed.returncode == 1
    assert "functionalize: output" not in failed.stdout
    assert sweep(known, results, *arguments, accept=True).returncode == 0
    assert section(results, MISMATCHING) == fakes + others


# --- refusing ----------------------------------------------------------------------------------------------------------


def refused(known, results, *arguments, accept=False):
    before = content(results)
    completed = sweep(known, results, *arguments, accept=accept)
    assert (completed.returncode, completed.stdout.strip()) == (4, ""), completed
    [line] = completed.stderr.strip().splitlines()
    assert content(results) == before
    return line


def test_a_work_folder_that_cannot_be_written_is_refused(known, tmp_path):
    (tmp_path / "file").touch()
    message = refused(known, known / "results", "-n", "2", f"--work-dir={tmp_path / 'file'}", accept=True)
    assert f"cannot write to {tmp_path / 'file'} (File exists): name another folder with --work-dir DIR" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "nonsense"], "unknown device 'nonsense'"),
        pytest.param(
            ["--device", "cuda"],
            "device 'cuda' cannot be used here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
        (["--ops", "aten.abs*", "--ops", "nothing*"], "no overload matches 'nothing*'"),
        (["--crossref", "fake", "--crossref", "guess"], f"unknown crossref 'guess'; there are: {', '.join(crossref.names())}"),
        (["--corpus", "tests"], "run `make record`"),
    ],
)
@pytest.mark.parametrize("accept", [False, True])
def test_what_does_not_exist_is_refused_before_anything_runs(known, arguments, message, accept):
    assert message in refused(known, known / "results", "-n", "2", *arguments, accept=accept)


def test_a_corpus_with_a_file_cut_short_is_refused_before_anything_runs(known, tmp_path):
    shutil.copytree(known / "corpus", tmp_path / "corpus")
    path = tmp_path / "corpus" / f"{MISMATCHING}.npz"
    os.truncate(path, path.stat().st_size // 2)
    message = refused(known, known / "results", "--corpus", str(tmp_path / "corpus"), *ops("aten.sort.stable"))
    assert f"corpus file {path} has" in message


def test_a_corpus_with_a_changed_file_fails_and_nothing_is_accepted(known, tmp_path):
    results = copied(known, tmp_path)
    change(results, aten__max_unpool2d__out=None)
    before = content(results)
    shutil.copytree(known / "corpus", tmp_path / "corpus")
    path = tmp_path / "corpus" / f"{MISMATCHING}.npz"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    completed = sweep(known, results, "--corpus", str(tmp_path / "corpus"), *ops("aten.max_unpool2d*"), accept=True)
    assert completed.returncode == 4
    [line] = [line for line in completed.stdout.splitlines() if line.startswith(f"not run {MISMATCHING}: ")]
    assert f"corpus file {path} is damaged" in line
    assert "Traceback" not in completed.stdout
    assert "nothing was accepted" in completed.stdout
    assert content(results) == before


def test_a_library_is_not_swept_into_torchs_own_expect_files(known):
    assert "--import needs --results DIR" in refused(known, ROOT / "results", "--import", "tests.library", accept=True)


@pytest.mark.parametrize("name", crossref.names())
def test_one_crossref_alone_finds_what_it_finds_among_others(known, name):
    recorded = [path.stem for path in sorted((known / "corpus").glob("*.npz"))]
    assert MISMATCHING in recorded
    completed = sweep(known, known / "results", "--crossref", name, *ops(*recorded))
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<<<<<<< HEAD\n", "aten.expect:3: a conflict marker"),
        ("[prims.abs.default]\nnot called: no sample\n", "aten.expect:3: unknown section [prims.abs.default]"),
    ],
)
def test_an_unreadable_expect_file_is_refused_and_kept(known, tmp_path, text, message, accept):
    results = copied(known, tmp_path)
    path = expect_folder(results) / "aten.expect"
    head, rest = path.read_text().split("# Written by", 1)
    path.write_text(f"{head}{text}# Written by{rest}")
    assert message in refused(known, results, *ops("prims.abs.default"), accept=accept)
