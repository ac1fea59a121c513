"""A typed call of an overload becomes a corpus, and one that cannot says in one line what to write."""

from __future__ import annotations

import pytest
import torch

from sweep.calls import corpus
from sweep.calls.codec import build
from sweep.calls.parsing import overload_in, record_call, typed_text
from sweep.errors import NotACallError
from sweep.operators import inventory


def record(text, folder):
    name = overload_in(text)
    record_call(name, text, str(folder), "cpu")
    return name


def refusal(text, tmp_path):
    with pytest.raises(NotACallError) as caught:
        record(text, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    return str(caught.value)


def test_a_typed_call_is_recorded_with_its_values_and_its_text(tmp_path):
    text = "torch.ops.aten.add.Tensor(torch.tensor([1.5, 2.0]), 3)  # mine"
    assert record(text, tmp_path) == "aten.add.Tensor"
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


@pytest.mark.parametrize(
    "text",
    [
        "torch.add(1, 2)",
        "1",
        "torch.ops.aten.add.Tensor",
        "(torch.ops.aten.add.Tensor)[0](1)",
        "torch.ops.aten.abs.default(x).sum()",
        "y = torch.ops.aten.abs.default(x)",
        "torch.ops.aten.abs.default(x); torch.ops.aten.neg.default(x)",
    ],
)
def test_anything_but_one_call_of_a_name_in_torch_ops_is_no_call_of_an_overload(text):
    assert overload_in(text) is None


def test_arguments_can_use_other_names_than_torch(tmp_path):
    record("torch.ops.aten.add.Tensor(torch.from_numpy(np.ones(2)), F.relu(torch.ones(2)), alpha=math.pi)", tmp_path)
    [call] = corpus.load(tmp_path, "aten.add.Tensor")
    assert [tensor["dtype"] for tensor in call.tensors] == ["float64", "float32"]


def test_values_that_a_corpus_would_not_keep_are_kept(tmp_path):
    record("torch.ops.aten.abs.default(torch.arange(40_000.0))", tmp_path)
    [call] = corpus.load(tmp_path, "aten.abs.default")
    [tensor], _ = build(call, "cpu")
    assert torch.equal(tensor, torch.arange(40_000.0))


def test_a_syntax_error_is_named(tmp_path):
    assert refusal("torch.ops.aten.add.Tensor(", tmp_path).startswith("not Python: '(' was never closed")


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
    assert record(text, tmp_path) == "quantized_decomposed.choose_qparams_per_token.default"
