"""Adopting takes the examples of another baseline's new findings into the recording, each once, and they replay."""

from __future__ import annotations

import pytest
import torch

from opinfo_adapters import adopted as adapter
from sweep import __main__
from sweep.calls.call import Recorded
from sweep.calls.codec import encode
from sweep.errors import AdoptedFileError
from sweep.operators.inventory import resolve
from sweep.recording.recorder import Recorder
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
    harmful = ("bounds: writes past argument out", "torch.ops.aten.abs.default(torch.zeros((5,)))")
    unprintable = ("fake: output 0 rank", "python -m sweep show aten.celu.default 17")
    other = ("fake: output 0 dtype", "torch.ops.aten.celu.default(torch.zeros((2,)))")
    refused = ("fake: unsupported, fake raises NotImplementedError", "torch.ops.aten.abs.default(torch.zeros((6,)))")
    texts = {
        "old": section("aten.abs.default", known),
        "new": section("aten.abs.default", harmful, deadly, refused, new, known)
        + section("aten.celu.default", other, unprintable),
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
    bounds, crash, unprintable = sorted(captured.err.splitlines())
    assert bounds == "left out: aten.abs.default: bounds: writes past argument out: it may only be made between redzones"
    assert crash == "left out: aten.abs.default: call: crash SIGSEGV: it would end the process of the recording"
    assert unprintable.startswith("left out: aten.celu.default: fake: output 0 rank: its example is not one call")
    assert __main__.main(folders) == 0
    assert capsys.readouterr().out.startswith("0 calls adopted, of 2; ")


def test_a_missing_folder_is_one_line(folders, capsys):
    folders[1] = "1.13"
    assert __main__.main(folders) == 2
    assert capsys.readouterr().err.startswith("sweep: no expect files for 1.13 on cpu")


def test_adopted_calls_are_recorded_as_they_end(monkeypatch):
    accepted = "torch.ops.aten.celu.default(torch.zeros((2, 3)).t(), 0.5)"
    refused = "torch.ops.aten.celu.default(torch.zeros((2,)), 0)"
    wrong = "torch.ops.aten.celu.default(torch.no_such_function())"
    monkeypatch.setattr(adapter, "_texts", lambda: {"aten.celu.default": [accepted, refused, wrong]})
    recorder = Recorder("cpu")
    with recorder.installed():
        [task] = adapter.tasks("cpu")
        adapter.run(task, "cpu", recorder)
    calls = recorder.drain()
    assert [(call.overload, call.recorded, incidental) for call, incidental in calls] == [
        ("aten.celu.default", Recorded.RETURNED, None),
        ("aten.celu.default", Recorded.REFUSED, None),
    ]
    same = encode("aten.celu.default", (torch.zeros(2, 3).t(), 0.5), {}, device="cpu", source="")
    assert calls[0][0].key() == same.key()
    [(description, error)] = recorder.failures
    assert description == "adopted aten.celu.default"
    assert "its arguments cannot be constructed: AttributeError" in error


def test_a_call_that_writes_to_its_argument_is_recorded_as_it_was_before(monkeypatch):
    text = "torch.ops.aten.add_.Tensor(torch.ones((2,)), torch.ones((2,)))"
    monkeypatch.setattr(adapter, "_texts", lambda: {"aten.add_.Tensor": [text]})
    recorder = Recorder("cpu")
    with recorder.installed():
        adapter.run("aten.add_.Tensor", "cpu", recorder)
    [(call, _)] = recorder.drain()
    first, position, length = call.storages[0]["bytes"]
    assert (first, bytes(call.data[position : position + length])) == (0, torch.ones(2).numpy().tobytes())


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
