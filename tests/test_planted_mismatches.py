"""A planted mismatch is reported exactly as planted, under every crossref that can see it; a truthful operator is silent."""

from __future__ import annotations

import ctypes

import pytest
import torch
from torch._subclasses.fake_tensor import DynamicOutputShapeException

from sweep import crossref
from sweep.calls.codec import encode
from sweep.findings.finding import Status
from tests import planted
from tests.planted import check


def sample() -> torch.Tensor:
    return torch.arange(24, dtype=torch.float32).view(2, 3, 4)


@pytest.mark.parametrize("name", sorted(planted.mismatches()))
@pytest.mark.parametrize("crossref_name", ["fake", "functionalize"])
def test_finds_exactly_what_is_planted(name, crossref_name):
    op, what, index = planted.mismatches()[name]
    result = check(op, [planted.call(op, sample())], [crossref_name])
    assert [(f"{f.place} {f.kind}".strip(), f.index) for f in result.findings] == [(what, index)]
    [finding] = result.findings
    assert (finding.crossref, finding.calls, finding.dtypes) == (crossref_name, 1, ("float32",))
    assert result.status == Status.KNOWN_BAD


@pytest.mark.parametrize("name", sorted(planted.mismatches()))
def test_the_example_shows_the_finding_when_pasted(name):
    op = planted.mismatches()[name][0]
    [finding] = check(op, [planted.call(op, sample())], ["fake"]).findings
    assert finding.example.startswith(f"torch.ops.sweep_planted.{op._schema.name.split('::')[1]}.default(torch.zeros((2, 3, 4)")
    real = eval(finding.example)
    assert len(real) == len(op(sample()))


def test_a_refusal_by_design_is_no_wrong_prediction():
    quantized = torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.quint8)
    call = encode("aten.int_repr.default", (quantized,), {}, device="cpu", source="test")
    result = check(torch.ops.aten.int_repr.default, [call], ["fake", "functionalize"])
    assert result.status is Status.UNSUPPORTED
    assert {f.what for f in result.findings if f.crossref == "fake"} == {
        "unsupported, fake raises UnsupportedFakeTensorException"
    }
    op = planted.define("unsupported_and_wrong", "(Tensor x) -> Tensor", torch.clone, _refuses_floats)
    result = check(op, [planted.call(op, torch.zeros(2, dtype=dtype)) for dtype in (torch.float32, torch.int64)], ["fake"])
    assert result.status is Status.KNOWN_BAD
    assert [f.what for f in result.findings] == ["unsupported, fake raises DynamicOutputShapeException", "output 0 dtype"]


def _refuses_floats(x):
    if x.dtype.is_floating_point:
        raise DynamicOutputShapeException("planted")
    return x.new_empty(x.shape, dtype=torch.int8)


def test_a_truthful_operator_is_silent():
    op = planted.truthful()
    calls = [planted.call(op, t) for t in (sample(), sample().transpose(0, 2), sample()[:, :0], torch.tensor(1.0))]
    result = check(op, calls, crossref.names())
    assert (result.status, result.calls, result.findings) == (Status.AGREES, 4, ())


def test_aliasing_is_found_and_says_which_argument():
    op = planted.wrong_aliasing()
    [finding] = check(op, [planted.call(op, sample())], ["fake"]).findings
    assert (finding.what, finding.predicted) == ("output 0 aliasing", "new storage")
    assert finding.actual == "shares the storage of argument 0"


def test_the_arguments_that_a_call_writes_to_are_compared():
    op = planted.wrong_write()
    [finding] = check(op, [planted.call(op, sample(), out=torch.empty(0))], ["fake"]).findings
    assert (finding.what, finding.predicted) == ("argument out rank", "float32 (0,) strides (1,)")


def test_a_size_that_depends_on_data_is_a_wildcard_and_all_else_is_compared():
    op = planted.counting()
    [finding] = check(op, [planted.call(op, sample())], ["fake"]).findings
    assert (finding.what, finding.predicted) == ("output 0 strides[0]", "float32 (?, 3) strides (6, 2)")


def test_the_sides_shown_are_those_of_the_example_as_it_is_printed():
    op = planted.define(
        "summing",
        "(Tensor x) -> Tensor",
        lambda x: x.new_zeros(int(x.sum())),
        lambda x: x.new_empty(7),
    )
    [finding] = check(op, [planted.call(op, sample())], ["fake"]).findings
    assert finding.what == "output 0 size[0]"
    assert finding.actual == f"float32 {tuple(eval(finding.example).shape)} strides (1,)" != "float32 (276,) strides (1,)"


def test_an_example_whose_answer_depends_on_memory_outside_of_its_tensors_is_none():
    """With zeros, the kernel reads past its argument, and what it finds there decides what it returns."""

    def real(x):
        behind = ctypes.c_float.from_address(x.data_ptr() + 4 * x.numel()).value
        return x.new_zeros(3) if x.any() else x.new_full((3,), behind)

    op = planted.define("zeros_read_past", "(Tensor x) -> Tensor", real, lambda x: x.new_empty(2))
    [finding] = check(op, [planted.call(op, torch.ones(2))], ["fake"]).findings
    assert finding.example == "torch.ops.sweep_planted.zeros_read_past.default(torch.ones((2,), dtype=torch.float32))"


def test_findings_of_many_calls_are_counted_and_the_smallest_call_is_the_example():
    op = planted.wrong_stride(1)
    calls = [planted.call(op, torch.zeros(2, 3, 4)), planted.call(op, torch.zeros(2, 3, 4, dtype=torch.int64))]
    [finding] = check(op, calls, ["fake"]).findings
    assert (finding.calls, finding.dtypes) == (2, ("float32", "int64"))


def test_dimensions_of_size_one_and_empty_tensors_have_no_significant_strides():
    op = planted.define(
        "insignificant",
        "(Tensor x) -> Tensor",
        lambda x: torch.empty_strided(x.shape, (7, 1), dtype=x.dtype),
        lambda x: torch.empty_strided(x.shape, (9, 1), dtype=x.dtype),
    )
    calls = [planted.call(op, torch.zeros(1, 3)), planted.call(op, torch.zeros(2, 0))]
    assert check(op, calls, ["fake"]).findings == ()
    [finding] = check(op, [planted.call(op, torch.zeros(2, 3))], ["fake"]).findings
    assert finding.what == "output 0 strides[0]"
