"""The comparison of two outcomes: each kind of difference is reported alone, at its place and index."""

from __future__ import annotations

import pytest
import torch

from sweep.crossref.common.comparison import Outcome, Tolerance, compare, describe
from sweep.findings.finding import WHOLE, Place
from sweep.findings.kind import Difference

OP = torch.ops.aten.relu.default
FIRST = Place(output=0)


def kinds(predicted, actual, tolerance=None, *, op=OP, args=()):
    mismatches = compare(op, Outcome(list(args), {}, predicted), Outcome(list(args), {}, actual), tolerance)
    return [(m.place, m.kind, m.index) for m in mismatches]


T = torch.zeros


@pytest.mark.parametrize(
    ("predicted", "actual", "expected"),
    [
        ([T(1)], (T(1),), (WHOLE, Difference.CONTAINER, None)),
        ((T(1), [T(1)]), (T(1), (T(1),)), (WHOLE, Difference.CONTAINER, None)),
        (T(1), None, (FIRST, Difference.TYPE, None)),
        (1, 1.0, (FIRST, Difference.TYPE, None)),
        (True, 1, (FIRST, Difference.TYPE, None)),
        (1, 2, (FIRST, Difference.VALUE, None)),
        (True, False, (FIRST, Difference.VALUE, None)),
        ("a", "b", (FIRST, Difference.VALUE, None)),
        ([T(1)], [T(1), T(1)], (WHOLE, Difference.OUTPUTS, None)),
        (T(1), (T(1),), (WHOLE, Difference.OUTPUTS, None)),
        (T(2, 3), T(2, 3).to_sparse(), (FIRST, Difference.LAYOUT, None)),
        (T(2, 3), torch.nested.nested_tensor([T(2), T(3)]), (FIRST, Difference.LAYOUT, None)),
        (T(2, 3), T(2, 4), (FIRST, Difference.SIZE, 1)),
        (T(2, 3), T(6), (FIRST, Difference.RANK, None)),
        (T(2, 3), T(3, 2).t(), (FIRST, Difference.STRIDES, 0)),
        (T(4)[1:], T(3), (FIRST, Difference.OFFSET, None)),
        (T(2), T(2, dtype=torch.int32), (FIRST, Difference.DTYPE, None)),
        (T(2, device="meta"), T(2), (FIRST, Difference.DEVICE, None)),
        (torch._neg_view(T(2)), T(2), (FIRST, Difference.NEG, None)),
        (T(2, dtype=torch.complex64).conj(), T(2, dtype=torch.complex64), (FIRST, Difference.CONJ, None)),
        ((T(1), [T(2), T(3)]), (T(1), [T(2), T(4)]), (Place(output=1, in_list=True), Difference.SIZE, 0)),
    ],
)
def test_a_difference_is_reported_alone(predicted, actual, expected):
    assert kinds(predicted, actual) == [expected]


@pytest.mark.parametrize("value", [T(2, 3), [T(1), T(2)], (T(1), 2, "x", None), 1.5, None, T(2, 2).to_sparse(), T(0, 2)])
def test_an_outcome_agrees_with_itself(value):
    assert kinds(value, value, Tolerance()) == []


def test_the_members_of_a_list_that_differ_in_the_same_way_are_one_mismatch():
    assert kinds([T(2), T(2)], [T(3), T(3)]) == [(Place(output=0, in_list=True), Difference.SIZE, 0)]


def test_nested_tensors_are_compared_by_dtype_and_values():
    one = torch.nested.nested_tensor([T(2), T(3)])
    assert kinds(one, one.to(torch.float64)) == [(FIRST, Difference.DTYPE, None)]
    assert kinds(one, torch.nested.nested_tensor([T(2) + 1, T(3)]), Tolerance()) == [(FIRST, Difference.VALUE, None)]


def test_aliasing_names_the_argument_that_is_returned_and_those_that_share_its_storage():
    x = T(4)
    view = x.view(2, 2)
    new = T(2, 2)
    [mismatch] = compare(OP, Outcome([x], {}, view), Outcome([x], {}, new))
    assert (mismatch.kind, mismatch.predicted, mismatch.actual) == (
        Difference.ALIASING,
        "shares the storage of argument 0",
        "new storage",
    )
    [mismatch] = compare(OP, Outcome([[x]], {"y": view}, x), Outcome([[x]], {"y": view}, T(4)))
    assert mismatch.predicted == "is argument 0[0] and shares the storage of argument y"
    assert compare(OP, Outcome([x], {}, x[:0]), Outcome([x], {}, T(0))) == [], "an empty output's aliasing does not count"


def test_a_written_argument_is_compared_unless_it_is_an_output():
    op = torch.ops.aten.abs.out
    predicted, actual = T(3), T(2)
    mismatches = compare(op, Outcome([T(1)], {"out": predicted}, None), Outcome([T(1)], {"out": actual}, None))
    assert [(m.place, m.kind, m.index) for m in mismatches] == [(Place(argument="out"), Difference.SIZE, 0)]
    mismatches = compare(op, Outcome([T(1)], {"out": predicted}, predicted), Outcome([T(1)], {"out": actual}, actual))
    assert [m.place for m in mismatches] == [FIRST]


@pytest.mark.parametrize(
    ("predicted", "actual", "equal"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 1e-7]), True),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]), False),
        (torch.tensor([float("nan"), float("inf")]), torch.tensor([float("nan"), float("inf")]), True),
        (torch.tensor([float("inf")]), torch.tensor([float("-inf")]), False),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.tensor([True]), torch.tensor([False]), False),
        (torch.tensor([1 + 1j]), torch.tensor([1 + 1.1j]), False),
        (torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.01], dtype=torch.bfloat16), True),
        (torch.tensor([1.0], dtype=torch.float8_e5m2), torch.tensor([4.0], dtype=torch.float8_e5m2), False),
        (torch.eye(2).to_sparse(), (torch.eye(2) * 2).to_sparse(), False),
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.1, False),
        (2 * torch.tensor([1j]).conj(), torch.tensor([-2j]), True),
    ],
)
def test_values_are_compared_within_a_tolerance_and_only_with_one(predicted, actual, equal):
    assert [k for _, k, _ in kinds(predicted, actual, Tolerance())] == ([] if equal else [Difference.VALUE])
    assert kinds(predicted, actual) == []


def test_a_tolerance_of_its_own_goes_before_the_default():
    one, other = torch.tensor([1.0]), torch.tensor([1.05])
    assert kinds(one, other, Tolerance(rtol=0.1)) == []
    assert kinds(one, other, Tolerance(rtol=0.0, atol=0.01)) == [(FIRST, Difference.VALUE, None)]


def test_a_description_has_no_values():
    assert describe((torch.tensor([3.5, 1.0])[1:], None, 7)) == "tuple of float32 (1,) strides (1,) offset 1, nothing, int"
