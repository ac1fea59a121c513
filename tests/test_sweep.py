"""The whole way, through pytest itself: what passes and fails, what is accepted, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweep import crossref
from sweep.expect import expect_file as expect
from tests.whole_runs import INVENTED, LIAR, ROOT, change, content, copied, expect_folder, ops, section, sweep, until_says

# --- what passes, fails and is said ------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_that_finds_what_is_expected_passes_and_writes_no_expect_file(known, processes):
    before = content(known / "results")
    done = sweep(known, known / "results", "-n", processes, *ops("aten.max_unpool2d*"))
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    assert done.stderr == ""
    assert content(known / "results") == before


def test_workers_elsewhere_find_the_same(known, tmp_path):
    """An interpreter in another folder, with a copy of the sources: all they have in common is what is sent, and the disk."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    line = [sys.executable, "-u", "-m", "execnet.script.socketserver", address]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            until_says(server, "Entering Accept loop")
            tx = ("--dist", "load", "--tx", f"socket={address}", f"--rsyncdir={ROOT}")
            done = sweep(known, known / "results", *tx, "-p", "no:warnings", *ops("aten.max_unpool2d*"))
        finally:
            server.kill()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 skipped" in done.stdout
    assert list(tmp_path.rglob("sweep/conftest.py"))


@pytest.fixture(scope="module")
def planted(known, tmp_path_factory):
    """A whole run against expect files that are wrong in four ways."""
    results = copied(known, tmp_path_factory.mktemp("planted"))
    change(
        results,
        aten__max_unpool2d__default=expect.AGREE_TEXT,
        aten__detach__default=INVENTED,
        aten__sort__stable=None,
        aten__abs__default=None,
        aten__no_such_op__default=INVENTED,
    )
    before = content(results)
    done = sweep(known, results, "-n", "2")
    assert content(results) == before
    return done


def test_a_regression_fails_with_a_diff_and_the_command_that_accepts_it(planted):
    assert planted.returncode == 1
    assert "-agrees\n" in planted.stdout
    assert "+fake: output 0 strides[1]: 40 of 80 calls, float32\n" in planted.stdout
    [hint] = {line for line in planted.stdout.splitlines() if line.endswith(f"--ops {LIAR}")}
    assert hint.startswith("To accept what was found: EXPECTTEST_ACCEPT=1 pytest -n auto sweep/ --corpus ")
    assert "assert_eq" not in planted.stdout, "a difference is shown without the lines of code that lead to it"
    assert f"\nnew  {LIAR}: agrees -> fake: output 0 strides[1]; functionalize: output 0 strides[1]\n" in planted.stdout


def test_an_improvement_fails_as_gone(planted):
    assert "\ngone aten.detach.default: fake: output 0 dtype -> agrees\n" in planted.stdout


def test_an_overload_that_the_file_does_not_know_fails_as_new(planted):
    assert "\nnew  aten.sort.stable: not in the expect file -> agrees\n" in planted.stdout
    assert "\nnew  aten.abs.default: not in the expect file -> not called: no sample\n" in planted.stdout


def test_a_section_about_no_overload_fails_as_gone(planted):
    assert "\ngone aten.no_such_op.default: fake: output 0 dtype -> no such overload in this torch\n" in planted.stdout


def test_what_is_unexpected_and_nothing_else_is_counted(planted):
    assert "\n5 unexpected; to accept them: EXPECTTEST_ACCEPT=1 pytest -n auto sweep/ --corpus " in planted.stdout
    [row] = [line.split() for line in planted.stdout.splitlines() if line.startswith("aten ")]
    assert row[-2:] == ["3", "2"]


def test_a_run_leaves_one_object_per_overload(known):
    lines = [json.loads(line) for line in (known / "run.jsonl").read_text().splitlines()]
    names = [line["overload"] for line in lines]
    assert names == sorted(set(names))
    assert set(names) == {o for file in expect.load(expect_folder(known / "results")).values() for o in file.overloads()}
    assert all(line.keys() >= {"overload", "status", "reason", "calls", "seconds", "findings"} for line in lines)
    by_name = {line["overload"]: line for line in lines}
    assert (by_name[LIAR]["status"], by_name[LIAR]["calls"]) == ("known-bad", 80)
    assert [finding["crossref"] for finding in by_name[LIAR]["findings"]] == ["fake", "functionalize"]
    assert (by_name["aten.sort.stable"]["status"], by_name["aten.sort.stable"]["findings"]) == ("agrees", [])
    assert (by_name["aten.abs.default"]["status"], by_name["aten.abs.default"]["reason"]) == ("not-called", "no sample")


def test_without_expect_files_a_run_fails_and_names_the_nearest(known, tmp_path):
    folder = expect_folder(known / "results")
    for release, device in (("2.1", "cpu"), ("2.2", "cpu"), (folder.parent.name, "cuda")):
        shutil.copytree(folder, tmp_path / release / device)
    before = content(tmp_path)
    done = sweep(known, tmp_path, *ops("aten.max_unpool2d.out"))
    assert done.returncode == 1
    assert f"no expect files for torch {folder.parent.name} on cpu in {tmp_path / folder.parent.name / 'cpu'}" in done.stdout
    assert f"the nearest there are: {tmp_path / '2.2' / 'cpu'}. To make them: EXPECTTEST_ACCEPT=1 pytest" in done.stdout
    assert f" --results {tmp_path}\n" in done.stdout
    accepted = sweep(known, tmp_path, *ops("aten.max_unpool2d.out"), accept=True)
    assert accepted.returncode == 1
    assert "nothing was accepted" in accepted.stdout
    assert content(tmp_path) == before


# --- what is accepted --------------------------------------------------------------------------------------------------


def test_accepting_everything_again_gives_the_same_bytes_whatever_was_there(known, tmp_path):
    results = copied(known, tmp_path)
    change(results, aten__no_such_op__default=INVENTED, aten__detach__default=INVENTED, aten__abs__default=None)
    gone = expect.ExpectFile(agree={"no_such_namespace.op.default"})
    expect.write(expect_folder(results), {"no_such_namespace": gone}, whole=False)
    done = sweep(known, results, "-n", "2", accept=True)
    assert done.returncode == 0, done.stdout
    assert content(results) == content(known / "results")
    assert [line.rpartition("/")[2] for line in done.stdout.splitlines() if line.startswith("accepted: ")] == [
        "aten.expect",
        "no_such_namespace.expect",
    ]


@pytest.mark.parametrize("subset", [ops("aten.max_unpool2d*"), ["-k", "max_unpool2d"]], ids=["--ops", "-k"])
def test_accepting_a_subset_touches_only_what_ran(known, tmp_path, subset):
    results = copied(known, tmp_path)
    kept = {"aten__detach__default": INVENTED, "aten__sort__stable": None, "aten__no_such_op__default": INVENTED}
    change(results, **kept)
    wanted = content(results)
    change(results, aten__max_unpool2d__default=expect.AGREE_TEXT, aten__max_unpool2d__out=None)
    assert content(results) != wanted
    done = sweep(known, results, *subset, accept=True)
    assert done.returncode == 0, done.stdout
    assert content(results) == wanted


def test_one_crossref_compares_and_accepts_only_what_it_says(known, tmp_path):
    results = copied(known, tmp_path)
    fakes = expect.only(section(results, LIAR), ["fake"])
    others = INVENTED.replace("fake: output", "functionalize: output")
    change(results, aten__max_unpool2d__default=fakes + others)
    arguments = ("--crossref", "fake", *ops(LIAR))
    assert sweep(known, results, *arguments).returncode == 0
    change(results, aten__max_unpool2d__default=INVENTED + others)
    failed = sweep(known, results, *arguments)
    assert failed.returncode == 1
    assert "functionalize: output" not in failed.stdout
    assert sweep(known, results, *arguments, accept=True).returncode == 0
    assert section(results, LIAR) == fakes + others


# --- what cannot be done -----------------------------------------------------------------------------------------------


def refused(known, results, *arguments, accept=False):
    before = content(results)
    done = sweep(known, results, *arguments, accept=accept)
    assert (done.returncode, done.stdout.strip()) == (4, ""), done
    [line] = done.stderr.strip().splitlines()
    assert content(results) == before
    return line


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
        (["--crossref", "fake", "--crossref", "guess"], "unknown crossref 'guess'; there are: fake, functionalize"),
        (["--corpus", "tests"], "run `make record`"),
    ],
)
@pytest.mark.parametrize("accept", [False, True])
def test_what_does_not_exist_is_refused_before_anything_runs(known, arguments, message, accept):
    assert message in refused(known, known / "results", "-n", "2", *arguments, accept=accept)


def test_a_corpus_with_a_file_cut_short_is_refused_before_anything_runs(known, tmp_path):
    shutil.copytree(known / "corpus", tmp_path / "corpus")
    path = tmp_path / "corpus" / f"{LIAR}.npz"
    os.truncate(path, path.stat().st_size // 2)
    message = refused(known, known / "results", "--corpus", str(tmp_path / "corpus"), *ops("aten.sort.stable"))
    assert f"corpus file {path} has" in message


def test_a_corpus_with_a_changed_file_fails_and_nothing_is_accepted(known, tmp_path):
    results = copied(known, tmp_path)
    change(results, aten__max_unpool2d__out=None)
    before = content(results)
    shutil.copytree(known / "corpus", tmp_path / "corpus")
    path = tmp_path / "corpus" / f"{LIAR}.npz"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    done = sweep(known, results, "--corpus", str(tmp_path / "corpus"), *ops("aten.max_unpool2d*"), accept=True)
    assert done.returncode == 4
    [line] = [line for line in done.stdout.splitlines() if line.startswith(f"not run {LIAR}: ")]
    assert f"corpus file {path} is damaged" in line
    assert "Traceback" not in done.stdout
    assert "nothing was accepted" in done.stdout
    assert content(results) == before


def test_a_library_is_not_swept_into_torchs_own_expect_files(known):
    assert "--import needs --results DIR" in refused(known, Path("results"), "--import", "tests.library", accept=True)


@pytest.mark.parametrize("name", crossref.names())
def test_one_crossref_alone_finds_what_it_finds_among_others(known, name):
    done = sweep(known, known / "results", "--crossref", name)
    assert done.returncode == 0, done.stdout


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
