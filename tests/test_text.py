"""A text is evaluated once, and every call that it dispatches is written down as it was before it ran."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from sweep.calls import corpus
from sweep.calls.codec import build
from sweep.calls.parsing import typed_text
from sweep.errors import NotACallError
from sweep.findings.ending import Ending, EndingKind
from sweep.operators import inventory
from sweep.progress import Progress
from sweep.recording.evaluation import Evaluation, UncheckedCall
from sweep.recording.text import evaluate


@pytest.fixture
def evaluated(tmp_path):
    """Evaluates a text in this process."""

    def run(text, **options):
        return evaluate(text, str(tmp_path), "cpu", **options)

    return run


def names(evaluation):
    return [call.overload.removeprefix("aten.") for call in evaluation.calls]


def recorded(call):
    """The only call of the corpus of a dispatched call."""
    [only] = corpus.load(Path(call.folder), call.overload)
    return only


def arguments(call):
    return build(recorded(call), "cpu")


def test_a_composite_operator_comes_before_what_it_calls(evaluated):
    evaluation = evaluated("F.linear(torch.ones(1, 2), torch.ones(3, 2), torch.ones(3))")
    inside = names(evaluation)[names(evaluation).index("linear.default") :]
    assert inside[:3] == ["linear.default", "t.default", "addmm.default"]
    assert (evaluation.unchecked, evaluation.repeated, evaluation.raised) == ([], 0, None)


def test_calls_have_the_strides_offsets_aliases_and_values_that_they_had(evaluated):
    text = "x = torch.arange(6.); x[1:5].view(2, 2).t().mul_(x[5])"
    [call] = [call for call in evaluated(text).calls if call.overload == "aten.mul_.Tensor"]
    [target, other], _ = arguments(call)
    assert (target.stride(), target.storage_offset(), other.storage_offset()) == ((1, 2), 1, 5)
    assert target.untyped_storage()._cdata == other.untyped_storage()._cdata
    assert target.tolist() == [[1, 3], [2, 4]]  # as before the call
    assert torch.equal(eval(call.text, {"torch": torch}), torch.tensor([[5.0, 15.0], [10.0, 20.0]]))
    assert typed_text(recorded(call).source) == text


def test_a_text_of_values_that_are_too_many_to_print_is_empty(evaluated):
    assert [call.text for call in evaluated("torch.arange(100).abs()").calls][1:] == [""]


def test_backward_is_recorded_too(evaluated):
    evaluation = evaluated("x = torch.ones(2, requires_grad=True); torch.sigmoid(x).sum().backward()")
    assert "sigmoid_backward.default" in names(evaluation)


def test_the_same_call_is_written_once_and_one_with_other_values_again(evaluated):
    evaluation = evaluated("x = torch.ones(2); x.abs(); x.abs(); x.mul_(2).abs()")
    assert names(evaluation).count("abs.default") == 2


def test_of_calls_that_differ_only_in_values_a_loop_leaves_some(evaluated, tmp_path):
    evaluation = evaluated("for i in range(20): torch.tensor(float(i)).abs()")
    kept = names(evaluation).count("abs.default")
    assert 1 < kept < 20
    assert evaluation.repeated >= 20 - kept
    assert len(list(tmp_path.iterdir())) == len(evaluation.calls)


def test_a_call_that_is_refused_is_written_though_one_with_other_values_is_there(evaluated):
    evaluation = evaluated("x = torch.ones(3)\nfor i in range(20): x.take(torch.tensor(i))")
    last = [call for call in evaluation.calls if call.overload == "aten.take.default"][-1]
    assert arguments(last)[0][1].item() == 3
    assert evaluation.raised is not None
    assert (evaluation.raised.class_name, evaluation.raised.line) == ("IndexError", 2)
    assert "index 3" in str(evaluation.raised)


@pytest.mark.parametrize("statement", ["import sys; sys.exit()", "raise SystemExit(0)"])
def test_an_exit_without_an_error_is_an_end_like_any_other(statement, evaluated):
    assert evaluated(f"torch.ones(2); {statement}").raised is None


def test_an_exit_with_an_error_is_named(evaluated):
    assert str(evaluated("torch.ones(2); raise SystemExit('no')").raised) == "SystemExit: no"


def test_each_call_is_saved_before_it_is_made(evaluated):
    saved = []
    evaluated("torch.ones(2).abs(); torch.ones(2, device='meta')", progress=Progress(checkpoint=saved.append))
    interrupted = Evaluation.interrupted(saved, Ending(EndingKind.TIMEOUT))
    assert names(interrupted) == ["ones.default", "abs.default"]
    assert interrupted.unchecked == [UncheckedCall("aten.ones.default", "device meta")]
    assert interrupted.ending == Ending(EndingKind.TIMEOUT)


def test_random_values_are_the_same_every_time(evaluated, tmp_path):
    first = evaluated("torch.randn(3).abs()").calls[-1].text
    for name in tmp_path.iterdir():
        name.rename(tmp_path.parent / f"other-{name.name}")
    assert evaluated("torch.randn(3).abs()").calls[-1].text == first


def test_a_call_with_a_tensor_subclass_is_named(evaluated):
    evaluation = evaluated("torch.ones(2).as_subclass(type('Mine', (torch.Tensor,), {})).abs()")
    assert evaluation.unchecked == [UncheckedCall("aten.abs.default", "tensor subclass Mine")]


def test_a_higher_order_operator_runs_and_is_named(evaluated):
    evaluation = evaluated("from torch._higher_order_ops.print import print as shown; shown('{x}', x=torch.ones(2))")
    assert [unchecked.operator for unchecked in evaluation.unchecked] == ["higher_order.print"]


def test_an_operator_that_the_text_registers_is_named(evaluated):
    define = "lib = torch.library.Library('sweep_text', 'FRAGMENT'); lib.define('f(Tensor x) -> Tensor')"
    evaluation = evaluated(f"{define}; lib.impl('f', torch.neg, 'CPU'); torch.ops.sweep_text.f(torch.ones(2))")
    assert [unchecked.operator for unchecked in evaluation.unchecked] == ["sweep_text.f.default"]
    assert names(evaluation) == ["ones.default"]


def test_with_libraries_only_their_operators_are_written(evaluated, monkeypatch):
    monkeypatch.setattr(inventory, "_of_libraries", ("aten.abs.default",))
    evaluation = evaluated("torch.ones(2).abs()")
    assert names(evaluation) == ["abs.default"]
    assert [unchecked.operator for unchecked in evaluation.unchecked] == ["aten.ones.default"]


def test_of_one_call_in_torch_ops_only_that_is_written(evaluated):
    evaluation = evaluated("torch.ops.aten.linear.default(torch.ones(1, 2), torch.ones(3, 2))")
    assert names(evaluation) == ["linear.default"]
    assert evaluation.is_single_call


def test_a_file_is_a_script_that_imports_what_lies_beside_it(evaluated, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "beside_the_script.py").write_text("VALUE = 3")
    text = "import beside_the_script as other\n\nif __name__ == '__main__':\n    torch.full((2,), other.VALUE)\n    1 / 0\n"
    evaluation = evaluated(text, file=str(scripts / "script.py"))
    assert names(evaluation) == ["full.default"]
    assert evaluation.raised is not None
    assert evaluation.raised.line == 5


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1", "it dispatches nothing; write"),
        ("", "it dispatches nothing; write"),
        ("torch.ops.aten.add.Tensor", "it dispatches nothing; write"),
        ("F.nothing(1)", "it dispatches nothing before it raises AttributeError: "),
        ("torch.ones(", "not Python: '(' was never closed"),
        ("return", "it dispatches nothing before it raises SyntaxError: "),
    ],
)
def test_a_text_that_dispatches_nothing_is_refused_in_one_line(text, why, evaluated):
    with pytest.raises(NotACallError) as caught:
        evaluated(text)
    assert str(caught.value).startswith(why)
    assert "\n" not in str(caught.value)
