"""A user's library: its operators are swept instead of torch's, with recorded and derived calls, into files of their own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from tests.whole_runs import ROOT, expect_folder, rows_of, run_file, sweep_library


def test_its_operators_are_called_in_every_variant_and_expected_in_a_file_of_their_own(tmp_path):
    own = ("tests.library", tmp_path / "results", tmp_path / "work")
    completed = sweep_library(*own, accept=True)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "no corpus for torch" in completed.stderr
    [file] = expect_folder(tmp_path / "results").iterdir()
    text = file.read_text()
    assert file.name == "sweep_library.expect"
    assert "[sweep_library.flip.default]\nfake: output 0 strides[0]: 1 of" in text
    assert ", only permuted\n" in text
    assert text.endswith("[agree]\nsweep_library.pair.default\nsweep_library.scale.default\n")
    again = sweep_library(*own, "-n", "2")
    assert again.returncode == 0, again.stdout
    assert "no corpus for torch" not in again.stderr


def test_it_needs_a_folder_for_its_files(work):
    completed = sweep_library("tests.library", None, work)
    assert completed.returncode == 4
    assert "--import needs --results DIR" in completed.stderr


def test_one_that_cannot_be_imported_is_one_line(tmp_path):
    completed = sweep_library("tests.nowhere", tmp_path, tmp_path / "work")
    assert completed.returncode == 4
    assert "--import tests.nowhere fails: ModuleNotFoundError" in completed.stderr
    assert "Traceback" not in completed.stderr


def test_one_without_operators_is_one_line(tmp_path):
    completed = sweep_library("json", tmp_path, tmp_path / "work")
    assert completed.returncode == 4
    assert "registers no operator" in completed.stderr


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
        "from sweep.operators import inventory, libraries\n"
        "libraries.add(['late_library'])\n"
        "print(sorted(libraries.imported['late_library'].others), inventory.inventory())"
    )
    line = [sys.executable, "-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{script}"]
    others, _, theirs = subprocess.check_output(line, cwd=ROOT, text=True, timeout=120).partition("] ")
    assert "'_inductor_test'" in others, "defined by torch.library.Library"
    assert "'flex_lib'" in others, "defined by torch.library.custom_op"
    assert theirs.strip() == "('late_library.copy.default', 'late_library.defined.default')"


def operators_of(*modules, first=""):
    """The inventory of a process that imports libraries."""
    imports = f"{first}\nfrom sweep.operators import inventory, libraries"
    code = f"{imports}\nlibraries.add({list(modules)!r})\nprint(*inventory.inventory())"
    return subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True, timeout=120).split()


@pytest.mark.parametrize("first", ["", "import torch.distributed.fsdp"])
def test_a_module_of_torch_is_a_library_whoever_imported_it_first(first):
    names = operators_of("torch.distributed.fsdp", first=first)
    assert "fsdp.copy_.default" in names
    assert {name.partition(".")[0] for name in names} == {"fsdp"}


def test_a_library_that_was_imported_before_has_the_same_operators():
    assert operators_of("tests.library", first="import tests.library") == operators_of("tests.library") != []


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_every_operator_of_torchvision_is_called(tmp_path):
    completed = sweep_library("tests.torchvision_calls", tmp_path / "results", tmp_path / "work", "-n", "2", accept=True)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    rows, _ = rows_of(run_file(tmp_path / "work"))
    torchvision = {name: row["status"] for name, row in rows.items() if name.startswith("torchvision.")}
    assert len(torchvision) > 10
    assert "not-called" not in torchvision.values()
