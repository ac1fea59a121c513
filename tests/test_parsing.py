"""A typed call becomes a corpus, and a text that is none says in one line what to write."""

from __future__ import annotations

import pytest
import torch

from sweep.calls import corpus
from sweep.calls.codec import build
from sweep.calls.parsing import record_text, typed_text
from sweep.errors import NotACallError
from sweep.operators import inventory


def refusal(text, tmp_path):
    with pytest.raises(NotACallError) as caught:
        record_text(text, str(tmp_path), "cpu")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    return str(caught.value)


def test_a_typed_call_is_recorded_with_its_values_and_its_text(tmp_path):
    text = "torch.ops.aten.add.Tensor(torch.tensor([1.5, 2.0]), 3)  # mine"
    assert record_text(f"  {text}\n", str(tmp_path), "cpu") == "aten.add.Tensor"
    [call] = corpus.load(tmp_path, "aten.add.Tensor")
    [tensor, number], kwargs = build(call, "cpu")
    assert torch.equal(tensor, torch.tensor([1.5, 2.0]))
    assert (number, kwargs) == (3, {})
    assert typed_text(call.source) == text
    assert typed_text("opinfo:op_db/cpu/add/float32") is None


def test_a_missing_overload_name_gets_those_that_there_are(tmp_path):
    message = refusal("torch.ops.aten.add(torch.zeros(2), 1)", tmp_path)
    assert message.startswith("aten.add has the overloads ")
    assert "Scalar, Scalar_out, Tensor, out" in message
    assert message.endswith(": write torch.ops.aten.add.Tensor(...)")


def test_an_unknown_overload_name_gets_those_that_there_are(tmp_path):
    assert refusal("torch.ops.aten.abs.nothing(torch.zeros(2))", tmp_path).endswith("write torch.ops.aten.abs.default(...)")


def test_an_unknown_operator_gets_similar_ones(tmp_path):
    message = refusal("torch.ops.aten.max_unpol2d.default(1)", tmp_path)
    assert message.startswith("there is no operator aten.max_unpol2d; similar ones are ")
    assert "aten.max_unpool2d" in message


@pytest.mark.parametrize("text", ["torch.add(1, 2)", "1", "torch.ops.aten.add.Tensor", "(torch.ops.aten.add.Tensor)[0](1)"])
def test_what_is_no_call_of_an_overload_gets_an_example(text, tmp_path):
    assert "write one such as torch.ops.aten.add.Tensor(torch.zeros(2), 1)" in refusal(text, tmp_path)


def test_a_syntax_error_is_named(tmp_path):
    assert refusal("torch.ops.aten.add.Tensor(", tmp_path).startswith("not a Python expression: '(' was never closed")


def test_arguments_that_cannot_be_constructed_say_why(tmp_path):
    message = refusal("torch.ops.aten.abs.default(torch.zeros(-1))", tmp_path)
    assert message.startswith("its arguments cannot be constructed: RuntimeError: ")


def test_arguments_that_cannot_be_recorded_say_why(tmp_path):
    assert refusal("torch.ops.aten.abs.default(object)", tmp_path) == "an argument cannot be recorded: argument of type type"


def test_an_overload_is_one_of_those_that_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(inventory, "_of_libraries", ("mine.op.default",))
    assert refusal("torch.ops.aten.abs.default(1)", tmp_path).endswith("no operator aten.abs")


def test_an_operator_that_a_module_of_torch_registers_late_can_be_called(tmp_path):
    text = "torch.ops.quantized_decomposed.choose_qparams_per_token.default(torch.ones(2, 3), torch.int8)"
    assert record_text(text, str(tmp_path), "cpu") == "quantized_decomposed.choose_qparams_per_token.default"
