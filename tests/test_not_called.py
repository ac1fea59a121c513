"""The reason why an overload has no calls agrees with torch itself."""

from __future__ import annotations

import pytest
import torch

from sweep.findings.reason import Reason, ReasonKind
from sweep.operators.inventory import resolve
from sweep.operators.not_called import why_never_called


@pytest.mark.parametrize(
    ("overload", "called", "attempt"),
    [
        pytest.param(
            "aten._philox_uniform.out",
            "aten._philox_uniform.default",
            lambda op: op(torch.zeros(3), torch.tensor([1, 2], dtype=torch.uint64), 0.0, 1.0, out=torch.zeros(3)),
            id="out, functional, in-place",
            marks=pytest.mark.skipif(not hasattr(torch.ops.aten, "_philox_uniform"), reason="torch 2.11 does not have it"),
        ),
        pytest.param(
            "aten._values_copy.default",
            "aten._values.default",
            lambda op: op(torch.eye(3).to_sparse()),
            id="a copy that has no kernel where the view has one",
        ),
        pytest.param(
            "aten._nested_tensor_size.out",
            "aten._nested_tensor_size.default",
            lambda op: op(torch.nested.nested_tensor([torch.zeros(2)]), out=torch.zeros(1, 1, dtype=torch.int64)),
            id="an out form of an operator on nested tensors, which has no kernel for them",
        ),
        pytest.param(
            "aten._cudnn_init_dropout_state.out",
            "aten._cudnn_init_dropout_state.default",
            lambda op: op(0.5, True, 0, out=torch.zeros(1, dtype=torch.uint8)),
            id="a factory",
        ),
    ],
)
def test_a_generated_kernel_that_calls_one_that_there_is_not(overload, called, attempt):
    op = resolve(overload)
    assert str(why_never_called(op, "cpu")) == f"no kernel for cpu by way of {called}, which it calls"
    with pytest.raises(NotImplementedError, match="Could not run"):
        attempt(op)


@pytest.mark.parametrize(
    "overload", ["aten.crow_indices_copy.default", "aten.mkldnn_linear.out", "aten.add.out", "aten.abs.default"]
)
def test_what_can_be_called_has_no_such_reason(overload):
    assert why_never_called(resolve(overload), "cpu") == Reason(ReasonKind.NO_SAMPLE)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_an_object_that_no_process_group_provides_is_the_reason_and_the_group_only_where_there_is_none():
    expected = {
        "symm_mem._barrier.default": "takes an object of class c10d.SymmetricMemory",
        "c10d.barrier.default": "needs a process group",
    }
    assert {name: str(why_never_called(resolve(name), "cpu")) for name in expected} == expected


def test_an_overload_that_refuses_every_derived_call_has_its_message():
    reason = why_never_called(resolve("aten._mkldnn_transpose_.default"), "cpu", "RuntimeError: not supported yet")
    assert str(reason) == "refuses what is tried: RuntimeError: not supported yet"
    without_kernel = why_never_called(resolve("aten._values_copy.out"), "cpu", "NotImplementedError: no")
    assert str(without_kernel).startswith("no kernel for cpu")
