"""Reasons for which an overload has no calls, against torch itself."""

from __future__ import annotations

import pytest
import torch

from sweep.operators.not_called import why_never_called
from sweep.operators.inventory import resolve


@pytest.mark.parametrize(
    ("overload", "why", "attempt"),
    [
        pytest.param(
            "aten._philox_uniform.out",
            "no kernel for cpu by way of aten._philox_uniform.default, which it calls",
            lambda op: op(torch.zeros(3), torch.tensor([1, 2], dtype=torch.uint64), 0.0, 1.0, out=torch.zeros(3)),
            id="out, functional, in-place",
            marks=pytest.mark.skipif(not hasattr(torch.ops.aten, "_philox_uniform"), reason="torch 2.11 does not have it"),
        ),
        pytest.param(
            "aten._values_copy.default",
            "no kernel for cpu by way of aten._values.default, which it calls",
            lambda op: op(torch.eye(3).to_sparse()),
            id="a copy that has no kernel where the view has one",
        ),
        pytest.param(
            "aten._nested_tensor_size.out",
            "no kernel for cpu by way of aten._nested_tensor_size.default, which it calls",
            lambda op: op(torch.nested.nested_tensor([torch.zeros(2)]), out=torch.zeros(1, 1, dtype=torch.int64)),
            id="an out form of an operator on nested tensors, which has no kernel for them",
        ),
        pytest.param(
            "aten._cudnn_init_dropout_state.out",
            "no kernel for cpu by way of aten._cudnn_init_dropout_state.default, which it calls",
            lambda op: op(0.5, True, 0, out=torch.zeros(1, dtype=torch.uint8)),
            id="a factory",
        ),
    ],
)
def test_a_generated_kernel_that_calls_one_that_there_is_not(overload, why, attempt):
    op = resolve(overload)
    assert why_never_called(op, "cpu") == why
    with pytest.raises(NotImplementedError, match="Could not run"):
        attempt(op)


@pytest.mark.parametrize(
    "overload", ["aten.crow_indices_copy.default", "aten.mkldnn_linear.out", "aten.add.out", "aten.abs.default"]
)
def test_what_can_be_called_has_no_such_reason(overload):
    assert why_never_called(resolve(overload), "cpu") == "no sample"


def test_what_refuses_all_that_is_tried_says_so():
    why = why_never_called(resolve("aten._mkldnn_transpose_.default"), "cpu", "RuntimeError: not supported yet")
    assert why == "refuses what is tried: RuntimeError: not supported yet"
    assert why_never_called(resolve("aten._values_copy.out"), "cpu", "NotImplementedError: no").startswith("no kernel for cpu")
