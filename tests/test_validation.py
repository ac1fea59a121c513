"""The crossref ``validation``: a prediction that accepts what the kernel refuses is reported, unless only values are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._decomp import global_decomposition_table

from sweep import crossref, expect
from sweep.calls.call import Recorded
from sweep.calls.codec import encode
from sweep.findings.finding import Status
from sweep.operators.inventory import resolve
from tests import planted
from tests.planted import check

TABLE = global_decomposition_table["post_autograd"]


@pytest.fixture(autouse=True)
def restored_table():
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


def define(name, real, fake=torch.empty_like, schema="(Tensor x) -> Tensor"):
    return planted.define(f"validation_{name}", schema, real, fake)


def refused(op, *args):
    return replace(planted.call(op, *args), recorded=Recorded.REFUSED)


def findings(op, *calls):
    result = check(op, list(calls), crossref.names())
    return [(f.author, f.what, f.calls) for f in result.findings]


def needs_two_dimensions(x):
    if x.dim() != 2:
        raise ValueError("two dimensions")
    return x.clone()


def needs_two_dimensions_too(x):
    if x.dim() != 2:
        raise TypeError("of another class, which does not matter")
    return torch.empty_like(x)


def test_a_fake_that_accepts_what_the_kernel_refuses_is_reported_by_this_crossref_alone():
    op = define("lost", needs_two_dimensions)
    calls = [refused(op, torch.ones(3)), refused(op, torch.ones(2, 2, 2)), planted.call(op, torch.ones(2, 2))]
    result = check(op, calls, crossref.names())
    [finding] = result.findings
    assert (finding.author, finding.what, finding.calls) == ("validation[fake]", "accepts what raises ValueError", 2)
    assert (finding.labels, finding.predicted, finding.actual) == (("fake", "real"), "float32 (3,) strides (1,)", "ValueError")
    assert "accepts what raises ValueError: 2 of 2 refused calls, float32\n" in expect.text_of_result(result)
    assert (result.calls, result.compared["validation"], result.compared["fake"]) == (1, 2, 1)


def test_a_path_that_refuses_with_another_class_is_silent():
    op = define("kept", needs_two_dimensions, needs_two_dimensions_too)
    assert findings(op, refused(op, torch.ones(3)), planted.call(op, torch.ones(2, 2))) == []


def test_a_decomposition_that_accepts_is_a_form_of_its_own():
    op = define("decomposed", needs_two_dimensions, needs_two_dimensions_too)
    TABLE[op] = lambda x: x.clone()
    assert findings(op, refused(op, torch.ones(3)), planted.call(op, torch.ones(2, 2))) == [
        ("validation[decomposition]", "accepts what raises ValueError", 1)
    ]


def refuses_values(x):
    if x.dtype is torch.int64 and (x > 1).any():
        raise IndexError("out of range")
    return x.clone()


def test_what_depends_on_values_cannot_be_predicted():
    op = define("values", refuses_values)
    assert findings(op, refused(op, torch.tensor([5, 6])), planted.call(op, torch.tensor([0]))) == []


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("aten.index_select.default", (torch.ones(3), 0, torch.tensor([5]))),
        ("aten.linalg_cholesky.default", (torch.zeros(2, 2),)),
        ("aten.bincount.default", (torch.tensor([-1]),)),
        ("aten.nll_loss.default", (torch.ones(2, 3), torch.tensor([7, 7]))),
        ("aten.bernoulli.default", (torch.full((2,), 3.0),)),
        ("aten.searchsorted.Tensor", (torch.tensor([3.0, 1.0]), torch.ones(1), False, False, None, torch.tensor([9, 9]))),
        ("aten.repeat_interleave.Tensor", (torch.tensor([-1]),)),
        ("aten._validate_sparse_coo_tensor_args.default", (torch.tensor([[5]]), torch.ones(1), [2])),
    ],
)
def test_kernels_of_torch_that_refuse_values_are_silent(name, args):
    op = resolve(name)
    with pytest.raises((RuntimeError, IndexError)):
        op(*args)
    call = replace(encode(name, args, {}, device="cpu", source="test"), recorded=Recorded.REFUSED)
    assert check(op, [call], ["validation"]).findings == ()


REPORTED = [
    ("aten.smooth_l1_loss.default", (torch.ones(1), torch.zeros(1), 1, -1.0), ["decomposition", "fake"]),
    ("aten.celu.default", (torch.ones(3), 0.0), ["decomposition", "fake"]),
    ("aten.index_put.default", (torch.ones(3, 2, 4), [torch.arange(2)], torch.zeros(4, 2, 4)), ["fake"]),
    ("aten._softmax.default", (torch.ones(3, dtype=torch.int64), 0, False), ["decomposition", "fake"]),
]


@pytest.mark.parametrize(("name", "args", "forms"), REPORTED, ids=[name for name, *_ in REPORTED])
def test_calls_of_torch_whose_validation_is_lost_are_reported(name, args, forms):
    call = encode(name, args, {}, device="cpu", source="test")
    for recorded in (Recorded.REFUSED, Recorded.RETURNED):  # as the recording or as a user has it
        result = check(resolve(name), [replace(call, recorded=recorded)], ["validation"])
        assert {f.form for f in result.findings if f.crossref == "validation"} >= set(forms)


def test_a_kernel_that_is_missing_for_a_dtype_is_unsupported_not_known_bad():
    name, args, _ = REPORTED[-1]
    call = replace(encode(name, args, {}, device="cpu", source="test"), recorded=Recorded.REFUSED)
    result = check(resolve(name), [call], ["validation"])
    assert (result.status, {f.what for f in result.findings}) == (
        Status.UNSUPPORTED,
        {"accepts what raises NotImplementedError"},
    )


def asserts(x):
    raise RuntimeError("x INTERNAL ASSERT FAILED at foo.cpp:1")


def test_an_internal_assert_is_a_kind_of_its_own_on_either_side():
    op = define("asserts", asserts)
    assert findings(op, refused(op, torch.ones(3))) == [("validation[eager]", "real fails an internal assert", 1)]
    op = define("fake_asserts", needs_two_dimensions, asserts)
    assert ("validation[fake]", "fake fails an internal assert", 1) in findings(op, refused(op, torch.ones(3)))


def test_an_overload_without_refused_calls_is_exempt_not_in_agreement():
    op = planted.truthful()
    result = check(op, [planted.call(op, torch.ones(2))], ["validation"])
    assert (result.status, str(result.reason)) == (
        Status.NOT_CALLED,
        "exempt: no recorded call is of the kind that is looked at",
    )


def test_a_call_that_was_refused_and_returns_now_says_nothing():
    op = define("returns", lambda x: x.clone(), lambda x: torch.empty_like(x, dtype=torch.float64))
    assert findings(op, refused(op, torch.ones(3))) == []
