"""Adopting takes the examples of another baseline's new findings into the recording, each once."""

from __future__ import annotations

import pytest

from sweep import __main__
from sweep.errors import AdoptedFileError
from sweep.operators.inventory import resolve
from sweep.search import adopted

HEAD = "# Overloads of aten\n# torch 2.13.0 git 0, cpu, AVX2\n# Written by `make accept`\n"
FINDING = """{title}: 1 of 2 calls, float32
  {example}
  fake: one
  real: other
"""


def section(overload, *findings):
    lines = "".join(FINDING.format(title=title, example=example) for title, example in findings)
    return f"\n[{overload}]\n{lines}"


@pytest.fixture
def folders(tmp_path):
    """Writes two folders of expect files, and returns the arguments of ``adopt`` for them."""
    known = ("fake: output 0 strides[1]", "torch.ops.aten.abs.default(torch.zeros((2,)))")
    new = ("fake: output 0 dtype", "torch.ops.aten.abs.default(torch.zeros((3,)))")
    deadly = ("call: crash SIGSEGV", "torch.ops.aten.abs.default(torch.zeros((4,)))")
    unprintable = ("fake: output 0 rank", "python -m sweep show aten.celu.default 17")
    other = ("fake: output 0 dtype", "torch.ops.aten.celu.default(torch.zeros((2,)))")
    refused = ("fake: unsupported, fake raises NotImplementedError", "torch.ops.aten.abs.default(torch.zeros((6,)))")
    texts = {
        "old": section("aten.abs.default", known),
        "new": section("aten.abs.default", deadly, refused, new, known) + section("aten.celu.default", other, unprintable),
    }
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "aten.expect").write_text(HEAD + text)
    return ["adopt", str(tmp_path / "old"), str(tmp_path / "new"), "--adopted", str(tmp_path / "adopted")]


def test_examples_of_new_findings_are_adopted_once(folders, tmp_path, capsys):
    assert __main__.main(folders) == 0
    captured = capsys.readouterr()
    expected = {
        "aten.abs.default": ["torch.ops.aten.abs.default(torch.zeros((3,)))"],
        "aten.celu.default": ["torch.ops.aten.celu.default(torch.zeros((2,)))"],
    }
    assert adopted.load(tmp_path / "adopted") == expected
    assert captured.out.startswith("2 calls adopted, of 2; ")
    crash, unprintable = sorted(captured.err.splitlines())
    assert crash == "left out: aten.abs.default: call: crash SIGSEGV: it would end the process of the recording"
    assert unprintable.startswith("left out: aten.celu.default: fake: output 0 rank: its example is not one call")
    assert __main__.main(folders) == 0
    assert capsys.readouterr().out.startswith("0 calls adopted, of 2; ")


def test_a_missing_folder_is_one_line(folders, capsys):
    folders[1] = "1.13"
    assert __main__.main(folders) == 2
    assert capsys.readouterr().err.startswith("sweep: no expect files for 1.13 on cpu")


def test_files_are_sorted_and_read_back(tmp_path):
    calls = {f"{namespace}.x.default": [f"torch.ops.{namespace}.x.default({n})" for n in ("10", "2", "2")] for namespace in "ba"}
    adopted.save(tmp_path, calls)
    assert (tmp_path / "a.txt").read_text() == "torch.ops.a.x.default(2)\ntorch.ops.a.x.default(10)\n"
    assert sorted(adopted.load(tmp_path)) == ["a.x.default", "b.x.default"]
    adopted.save(tmp_path, {"b.x.default": []})
    assert not list(tmp_path.glob("*.txt"))
    (tmp_path / "b.txt").write_text("torch.ops.b.x.default(1)\n<<<<<<< HEAD\n")
    with pytest.raises(AdoptedFileError, match=r"b\.txt:2 is no call"):
        adopted.load(tmp_path)


def test_checked_in_calls_are_of_overloads_that_there_are():
    for name in adopted.load(adopted.ADOPTED):
        assert resolve(name) is not None
