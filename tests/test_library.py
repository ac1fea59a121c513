"""A user's library: its operators are swept instead of torch's, with its own calls and derived ones, into files of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys

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
