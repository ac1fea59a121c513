"""A user's library: its operators are swept instead of torch's, with its own calls and derived ones, into files of its own."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

from sweep.session import WORK
from tests.whole_runs import ROOT, environment, expect_folder


def sweep(*arguments, accept=False):
    line = [sys.executable, "-m", "pytest", "-q", "sweep/", *arguments]
    return subprocess.run(line, cwd=ROOT, env=environment(accept=accept), capture_output=True, text=True, timeout=300)


def test_its_operators_are_called_in_every_layout_and_expected_beside_it(tmp_path):
    for made in WORK.glob("*/cpu/tests.library"):
        shutil.rmtree(made)
    own = ("--import", "tests.library", "--results", str(tmp_path))
    done = sweep(*own, accept=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = expect_folder(tmp_path).iterdir()
    text = file.read_text()
    assert file.name == "sweep_library.expect"
    assert "[sweep_library.flip.default]\nfake: output 0 strides[0]: 1 of" in text
    assert ", only permuted\n" in text
    assert text.endswith("[agree]\nsweep_library.pair.default\nsweep_library.scale.default\n")
    again = sweep(*own, "-n", "2")
    assert again.returncode == 0, again.stdout
    assert "recorded" not in again.stderr


def test_it_needs_a_place_for_its_files():
    done = sweep("--import", "tests.library")
    assert done.returncode == 4
    assert "--import needs --results DIR" in done.stderr


def test_one_that_cannot_be_imported_is_one_line(tmp_path):
    done = sweep("--import", "tests.nowhere", "--results", str(tmp_path))
    assert done.returncode == 4
    assert "--import tests.nowhere fails: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_without_operators_is_one_line(tmp_path):
    done = sweep("--import", "json", "--results", str(tmp_path))
    assert done.returncode == 4
    assert "registers no operator" in done.stderr


LATE = """
import torch
before = set(torch._C._dispatch_get_all_op_names())
import torch._inductor.test_operators

@torch.library.custom_op("late_library::copy", mutates_args=())
def copy(x: torch.Tensor) -> torch.Tensor:
    return x.clone()

torch.library.define("late_library::defined", "(Tensor x) -> Tensor")
others = {name.partition("::")[0] for name in set(torch._C._dispatch_get_all_op_names()) - before} - {"late_library"}
"""


def test_what_torch_registers_late_is_not_the_librarys(tmp_path):
    """Importing more of torch registers operators of torch, by both of the ways that a library has."""
    (tmp_path / "late_library.py").write_text(LATE)
    script = (
        "from sweep import libraries, overloads\n"
        "libraries.add(['late_library'])\n"
        "print(sorted(libraries.imported['late_library'].others), overloads.inventory())"
    )
    line = [sys.executable, "-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{script}"]
    others, _, theirs = subprocess.check_output(line, cwd=ROOT, text=True, timeout=120).partition("] ")
    assert "'_inductor_test'" in others, "defined by torch.library.Library"
    assert "'flex_lib'" in others, "defined by torch.library.custom_op"
    assert theirs.strip() == "['late_library.copy.default', 'late_library.defined.default']"


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_every_operator_of_torchvision_is_called(tmp_path):
    done = sweep("--import", "tests.torchvision_calls", "--results", str(tmp_path), "-n", "2", accept=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = WORK.glob("*/cpu/tests.torchvision_calls/run.jsonl")
    made = [json.loads(line) for line in run.read_text().splitlines()]
    assert [one["overload"] for one in made if one["overload"].startswith("torchvision.") and one["status"] == "not-called"] == []
