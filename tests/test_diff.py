"""``python -m sweep diff``: what two folders of expect files say differently, without torch and in seconds."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys

import pytest

from sweep import expect
from sweep.expect.difference import Kind, differences
from tests.whole_runs import ROOT

FAKE = """\
fake: {what}: {calls} of 4 calls, {dtypes}
  torch.ops.aten.abs.default(torch.zeros((), dtype=torch.float32))
  fake: float64 () strides ()
  real: float32 () strides ()
"""
UNSUPPORTED = """\
fake: unsupported, fake raises UnsupportedOperatorException: 1 of 1 call
  torch.ops.aten.abs.default(torch.zeros(()))
  fake: UnsupportedOperatorException
  real: float32 () strides ()
"""


def finding(what="output 0 dtype", calls=1, dtypes="float32"):
    return FAKE.format(what=what, calls=calls, dtypes=dtypes)


def files(**texts):
    """The files of a folder with one namespace; ``a_b`` stands for ``aten.a.b``."""
    file = expect.ExpectFile(head=["a file of a test"])
    for name, text in texts.items():
        file.put("aten." + name.replace("_", "."), text)
    return {"aten": file}


def of(old, new):
    """How one overload differs; ``None`` for no text stands for an overload that a file does not mention."""
    sides = [files(**({"a_b": text} if text else {})) for text in (old, new)]
    return [(difference.kind, [str(step) for step in difference.steps]) for difference in differences(*sides)]


@pytest.mark.parametrize(
    ("old", "new", "kind", "steps"),
    [
        ("agrees\n", finding(), Kind.NEW_KNOWN_BAD, ["none -> fake: output 0 dtype"]),
        (None, finding(), Kind.NEW_KNOWN_BAD, ["none -> fake: output 0 dtype"]),
        (UNSUPPORTED, finding(), Kind.NEW_KNOWN_BAD, None),
        (finding(), "agrees\n", Kind.FIXED, ["fake: output 0 dtype -> none"]),
        (finding(), UNSUPPORTED, Kind.FIXED, None),
        (finding(), finding("output 0 rank"), Kind.CHANGED, ["fake: output 0 dtype -> output 0 rank"]),
        (finding(), finding(dtypes="int8"), Kind.CHANGED, ["fake: output 0 dtype: float32 -> int8"]),
        ("agrees\n", UNSUPPORTED, Kind.CHANGED, None),
        ("not called: no sample\n", "agrees\n", Kind.NEWLY_CALLABLE, []),
        ("not called: no sample\n", finding(), Kind.NEWLY_CALLABLE, ["none -> fake: output 0 dtype"]),
        ("agrees\n", "not called: no sample\n", Kind.NO_LONGER_CALLABLE, []),
        (None, "agrees\n", Kind.ADDED, []),
        ("agrees\n", None, Kind.GONE, []),
    ],
)
def test_kinds_of_differences(old, new, kind, steps):
    [(found, found_steps)] = of(old, new)
    assert found is kind
    assert steps is None or found_steps == steps


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("agrees\n", "agrees\n"),
        (finding(calls=1), finding(calls=3)),
        ("not called: no kernel for cpu\n", "not called: no kernel for cuda\n"),
    ],
)
def test_what_is_no_difference(old, new):
    assert of(old, new) == []


def test_several_findings_of_a_crossref_are_not_paired():
    [(_, steps)] = of(finding("output 0 rank") + finding("output 1 rank"), finding("output 0 dtype"))
    assert steps == ["fake: output 0 rank -> none", "fake: output 1 rank -> none", "none -> fake: output 0 dtype"]


def run(*arguments):
    line = [sys.executable, "-m", "sweep", "diff", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.fixture
def results(tmp_path):
    """Two releases: the checked-in one, and one in which an overload is fixed and another one new."""
    cpu = ROOT / "results" / "2.13" / "cpu"
    shutil.copytree(cpu, tmp_path / "2.13" / "cpu")
    shutil.copytree(cpu, tmp_path / "2.14" / "cpu")
    path = tmp_path / "2.14" / "cpu" / "aten.expect"
    file = expect.parse(path.read_text(), "aten", str(path))
    file.put("aten.max_unpool2d.default", "agrees\n")
    file.put("aten.novel.default", finding())
    path.write_text(file.render())
    return tmp_path


def test_diff_of_checked_in_results_is_a_table_within_seconds(results):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run("2.13", "2.14", "--results", results)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5  # of the CPU's time: others may be using it
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[2].split()[:3] == ["new", "known-bad", "aten.novel.default"]
    assert any(line.startswith("fixed ") and "aten.max_unpool2d.default" in line for line in lines)
    assert "fake: output 0 strides[1] -> none" in done.stdout
    assert lines[-1] == "1 new known-bad, 1 fixed"


def test_diff_as_json_of_folders_and_devices(results):
    (results / "2.13" / "cpu").rename(results / "2.13" / "cuda")
    for old, new in (("2.13/cuda", "2.14/cpu"), (results / "2.13" / "cuda", results / "2.14" / "cpu"), ("cuda", "cpu")):
        done = run(old, new, "--results", results, "--json")
        plain = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(p["overload"], p["change"]) for p in plain] == [
            ("aten.novel.default", "new known-bad"),
            ("aten.max_unpool2d.default", "fixed"),
        ]
        assert plain[0]["findings"][0]["new"]["what"] == "output 0 dtype"
        assert plain[1]["old"] == {"standing": "known-bad", "reason": ""}


def test_diff_names_what_there_is_instead_of_a_missing_version(results):
    done = run("2.11", "2.14", "--results", results)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sweep: no expect files for 2.11 on cpu; ")
    assert done.stderr.endswith("there are: 2.13/cpu, 2.14/cpu\n")


def test_diff_of_equal_results_says_so():
    done = run("2.13", "2.13")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "no overload differs")


def test_output_to_a_closed_pipe_is_quiet(results):
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", "sweep", "diff", "2.13", "2.14", "--results", str(results)]
    done = subprocess.run(line, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_checked_in_section_can_be_read():
    for namespace, file in expect.load(ROOT / "results" / "2.13" / "cpu").items():
        for overload, text in file.sections.items():
            known = file.known(overload)
            assert bool(known.reason) != bool(known.findings), (namespace, overload)
            assert sum(not line.startswith(" ") for line in text.splitlines()) == max(len(known.findings), 1)
            assert all(f.example.startswith(f"torch.ops.{overload}(") for f in known.findings), overload
