"""The crossref ``decomposition``: a planted fault is reported exactly, by no other crossref, and a correct one is silent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from torch._decomp import global_decomposition_table

from sweep import crossref
from sweep.calls.codec import encode
from sweep.crossref import LATE_IMPORTS, decomposition
from sweep.crossref.common import memory
from sweep.crossref.common.comparison import Tolerance
from sweep.crossref.common.protocol import PreparedCall
from sweep.crossref.common.reference import Reference, wrong_elements
from sweep.errors import ProcessUnusableError
from sweep.findings.finding import Status
from sweep.findings.reason import Reason, ReasonKind
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from sweep.operators.inventory import resolve
from tests import planted
from tests.planted import check
from tests.whole_runs import ROOT, make_corpus

TABLE = global_decomposition_table["post_autograd"]


def kernel(x):
    return x.clamp(min=0).contiguous()


def fake(x):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def operator(name, decompose):
    """An operator with a correct kernel and fake impl, and its decomposition in torch's table."""
    op = planted.define(name, "(Tensor x) -> Tensor", kernel, fake)
    TABLE[op] = decompose
    return op


def sample(dtype=torch.float32):
    return torch.tensor([[-1.0, 2.0, float("nan")], [0.5, float("inf"), 3.0]]).nan_to_num(7.0, 9.0).to(dtype)


def wrong_in_half(x):
    return kernel(x) + (1 if x.dtype is torch.float16 else 0)


DTYPES = (torch.float32, torch.float16, torch.int64)

FAULTS = {
    "strides": (lambda x: kernel(x).t().contiguous().t(), "output 0 strides[0]", 3),
    "dtype": (lambda x: kernel(x).double(), "output 0 dtype", 3),
    "aliasing": (lambda x: x if x.dim() == 1 else kernel(x), "output 0 aliasing", 1),
    "value_in_one_dtype": (wrong_in_half, "output 0 value", 1),
    "nan": (lambda x: torch.where(x > 0, x, 0), "output 0 value", 1),
    "size": (lambda x: kernel(x)[:1], "output 0 size[0]", 3),
}


@pytest.fixture(autouse=True)
def restored_table():
    before = dict(TABLE)
    yield
    TABLE.clear()
    TABLE.update(before)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_reported_exactly_and_by_no_other_crossref(name):
    decompose, what, calls = FAULTS[name]
    op = operator(f"decomposed_{name}", decompose)
    special = [torch.tensor([[float("nan"), 1.0]])] if name == "nan" else [sample().abs().flatten()] if name == "aliasing" else []
    tensors = special or [sample(dtype) for dtype in DTYPES]
    result = check(op, [planted.call(op, tensor) for tensor in tensors], crossref.names())
    assert [(f.author, f.what, f.calls, f.labels) for f in result.findings] == [
        ("decomposition", what, calls, ("decomposition", "eager"))
    ]


def test_a_correct_decomposition_is_silent():
    op = operator("decomposed_rightly", lambda x: torch.where(x < 0, 0, x))
    tensors = [*(sample(dtype) for dtype in DTYPES), torch.tensor([float("nan"), -0.0, float("-inf")]), torch.empty(0, 3)]
    result = check(op, [planted.call(op, tensor) for tensor in tensors], crossref.names())
    assert (result.status, result.compared["decomposition"]) == (Status.AGREES, 5)


def test_rounding_is_no_fault_if_the_decomposition_is_as_good_as_eager():
    """Sums of low precision differ by more than the tolerance; a reference in double precision says which side is off."""

    def precise(x):
        return x.double().sum().to(x.dtype)

    def rough(x):
        total = torch.zeros((), dtype=x.dtype)
        for element in x:
            total = total + element
        return total

    x = torch.full((4000,), 0.1, dtype=torch.float16)
    assert not torch.allclose(precise(x), rough(x))
    for name, real, decompose, findings in (
        ("sums_roughly", rough, precise, []),
        ("sums_precisely", precise, rough, [("decomposition", "output 0 value")]),
    ):
        op = planted.define(name, "(Tensor x) -> Tensor", real, lambda x: x.new_empty(()))
        TABLE[op] = decompose
        assert [(f.author, f.what) for f in check(op, [planted.call(op, x)], ["decomposition"]).findings] == findings


def test_a_reference_decides_where_results_differ_and_nowhere_else():
    other, reference = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([1.0, 2.5, 3.0, float("inf")], dtype=torch.float64)
    judged = torch.tensor([1.0, 3.0, 5.0, float("inf")])
    every, some = torch.ones(4, dtype=torch.bool), torch.tensor([True, False, True, True])
    assert wrong_elements(judged, other, reference, Tolerance(), every).tolist() == [False, False, True, False]
    assert wrong_elements(judged, other, None, Tolerance(), every).tolist() == [False, True, True, True]
    assert wrong_elements(judged, other, None, Tolerance(), some).tolist() == [False, False, True, True]


def test_the_reference_of_an_operator_that_addresses_the_storage_is_computed_on_the_same_storage():
    x = torch.arange(10.0).as_strided((2, 2), (5, 2), 1)
    assert x.to(torch.float64).untyped_storage().nbytes() == 4 * 8
    op = resolve("aten._reshape_alias_copy.default")
    reference = Reference(PreparedCall(op, lambda: ([x, [4], [2]], {}), None)).at(0)
    assert torch.equal(reference, torch.tensor([1.0, 3.0, 5.0, 7.0], dtype=torch.float64))


def test_the_reference_of_any_other_operator_is_right_even_if_its_kernel_takes_arguments_for_contiguous_ones():
    op = planted.define("takes_strides", "(Tensor x) -> Tensor", lambda x: x.as_strided((4,), (1,)).clone(), torch.empty_like)
    x = torch.arange(10.0).as_strided((2, 2), (5, 2), 1)
    reference = Reference(PreparedCall(op, lambda: ([x], {}), None)).at(0)
    assert torch.equal(reference, torch.tensor([1.0, 3.0, 6.0, 8.0], dtype=torch.float64))


def test_no_finite_result_is_near_an_infinite_reference():
    other, every = torch.tensor([float("inf"), float("-inf"), float("nan")]), torch.ones(3, dtype=torch.bool)
    judged = torch.tensor([1.0, float("inf"), 1.0])
    assert wrong_elements(judged, other, other.double(), Tolerance(), every).tolist() == [True, True, True]
    assert wrong_elements(other, judged, other.double(), Tolerance(), every).tolist() == [False, False, False]


def test_rounding_to_the_dtype_of_an_argument_is_no_fault_whatever_dtype_the_result_has():
    op = planted.define(
        "sums_in_single", "(Tensor x) -> Tensor", lambda x: x.float().sum(), lambda x: x.new_empty((), dtype=torch.float32)
    )
    calls = [planted.call(op, torch.tensor([-8.5, -1.765625], dtype=dtype)) for dtype in (torch.bfloat16, torch.float32)]
    with in_table(op, lambda x: x.sum().float()):
        assert check(op, calls, ["decomposition"]).findings == ()
    with in_table(op, lambda x: x.sum().float() * 1.01):
        [finding] = check(op, calls, ["decomposition"]).findings
    assert (finding.what, finding.dtypes) == ("output 0 value", ("float32",))


def test_inductor_computes_in_single_precision():
    """Rounded at each step, a difference of halves is off by more than the tolerance; code that Inductor makes rounds once."""

    def real(x):
        return ((x.float() + 0.3) - x.float()).to(x.dtype)

    def stepwise(x):
        return (x + 0.3) - x

    op = planted.define("steps", "(Tensor x) -> Tensor", real, lambda x: torch.empty_like(x))
    call = planted.call(op, torch.tensor([8.4765625, 2.41015625, 1000.0], dtype=torch.float16))
    with in_table(op, stepwise, decomposition.INDUCTOR):
        assert check(op, [call], ["decomposition"]).status is Status.AGREES
    with in_table(op, lambda x: stepwise(x) + 0.01, decomposition.INDUCTOR):
        findings = check(op, [call], ["decomposition"]).findings
    with in_table(op, stepwise):
        findings += check(op, [call], ["decomposition"]).findings
    assert [(f.author, f.what) for f in findings] == [
        ("decomposition[inductor]", "output 0 value"),
        ("decomposition", "output 0 value"),
    ]


@contextmanager
def in_table(op, decompose, form=""):
    """Context in which an operator has a decomposition in the first table of a form, whatever it had before."""
    table = decomposition._tables()[form][0]
    before = dict(table)
    table[op] = decompose
    decomposition.decompositions_of.cache_clear()
    try:
        yield
    finally:
        table.clear()
        table.update(before)
        decomposition.decompositions_of.cache_clear()


def test_inductors_table_is_loaded_with_all_that_it_uses():
    """By itself, ``torch._inductor.decomposition`` lacks a module that the decomposition of pooling uses."""
    code = (
        "import torch; from sweep.crossref.decomposition import INDUCTOR, decompositions_of;"
        "pool = decompositions_of(torch.ops.aten.max_pool2d_with_indices.default)[INDUCTOR];"
        "print([tuple(t.shape) for t in pool(torch.zeros(1, 1, 4, 4), [2, 2])])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[(1, 1, 2, 2), (1, 1, 2, 2)]\n", done.stderr


def test_what_is_written_to_is_compared():
    """In an out= overload and in an in-place one, each time on arguments of their own."""

    def write(x, out):
        out.copy_(x.clamp(min=0))
        return out

    out = planted.define(
        "decomposed_out",
        "(Tensor x, *, Tensor(a!) out) -> Tensor(a!)",
        lambda x, *, out: write(x, out),
        lambda x, *, out: out,
    )
    in_place = planted.define("decomposed_", "(Tensor(a!) x) -> ()", lambda x: write(x, x) is None or None, lambda x: None)
    cases = [
        (out, planted.call(out, sample(), out=torch.zeros(2, 3)), lambda x, *, out: write(x, out), []),
        (out, planted.call(out, sample(), out=torch.zeros(2, 3)), lambda x, *, out: write(x + 1, out), ["output 0 value"]),
        (out, planted.call(out, sample(), out=torch.zeros(2, 3)), lambda x, *, out: write(x, out).clone(), ["output 0 aliasing"]),
        (in_place, planted.call(in_place, sample()), lambda x: write(x, x) is None or None, []),
        (in_place, planted.call(in_place, sample()), lambda x: write(x + 1, x) is None or None, ["argument x value"]),
    ]
    for op, call, decompose, findings in cases:
        with in_table(op, decompose):
            assert [f.what for f in check(op, [call, call], ["decomposition"]).findings] == findings


def test_a_tuple_for_a_list_is_no_fault_and_an_output_less_is():
    op = planted.define("halves", "(Tensor x) -> Tensor[]", lambda x: [x[:1].clone(), x[1:].clone()], lambda x: [x[:1], x[1:]])
    call = planted.call(op, sample())
    with in_table(op, lambda x: (x[:1].clone(), x[1:].clone())):
        assert check(op, [call], ["decomposition"]).findings == ()
    with in_table(op, lambda x: (x.clone(),)):
        assert [f.what for f in check(op, [call], ["decomposition"]).findings] == ["outputs"]


def test_a_decomposition_that_raises_for_what_is_not_strided_refuses_it_by_design():
    op = operator("decomposed_if_strided", lambda x: kernel(x.as_strided(x.shape, x.stride())))
    planted.library.impl("decomposed_if_strided", lambda x: x.clone(), "SparseCsrCPU")
    result = check(op, [planted.call(op, x) for x in (sample().to_sparse_csr(), sample())], ["decomposition"])
    assert (result.status, result.compared) == (Status.UNSUPPORTED, {"decomposition": 2})
    assert [f.what for f in result.findings] == ["unsupported, decomposition raises RuntimeError"]


def test_an_argument_that_is_changed_is_reported_even_if_the_decomposition_then_raises():
    def write_and_raise(x):
        x.add_(1)
        raise LookupError("planted")

    op = operator("decomposed_by_raising", write_and_raise)
    with pytest.raises(ProcessUnusableError, match="changes arguments") as error:
        check(op, [planted.call(op, sample())], ["decomposition"])
    assert error.value.by_prediction


def test_random_numbers_are_not_compared_and_everything_else_is():
    x = encode("aten.bernoulli.p", (torch.zeros(3, 4), 0.5), {}, device="cpu", source="test")
    op = resolve("aten.bernoulli.p")
    TABLE[op] = lambda x, p: torch.ones_like(x)
    assert check(op, [x], ["decomposition"]).findings == ()
    TABLE[op] = lambda x, p: torch.ones_like(x).t()
    decomposition.decompositions_of.cache_clear()
    assert [f.what for f in check(op, [x], ["decomposition"]).findings] == ["output 0 size[0]"]
    decomposition.decompositions_of.cache_clear()


def test_bools_that_no_kernel_wrote_are_recognized_in_a_copy():
    """Of every byte but zero, a copy makes the same."""
    results = memory.runs(lambda: [torch.empty(5000, dtype=torch.bool).clone()])
    changing = memory.changes([tensors[0] for tensors in results])
    assert changing is not None
    assert changing.all()


def test_a_finding_names_the_table_and_a_function_in_both_is_checked_once():
    call = encode("aten.add.Tensor", (torch.zeros(0, 0, dtype=torch.complex64),) * 2, {}, device="cpu", source="test")
    result = check(torch.ops.aten.add.Tensor, [call], ["decomposition"])
    assert {f.author for f in result.findings} <= {"decomposition[inductor]"}
    functions = {
        op: decomposition.decompositions_of(op) for op in (torch.ops.aten.add.Tensor, torch.ops.aten.silu_backward.default)
    }
    assert [list(each) for each in functions.values()] == [["", "inductor"], [""]]


def test_the_operators_own_kernel_in_a_table_is_no_decomposition():
    op = torch.ops.aten.linalg_matmul.default
    assert op in torch._decomp.core_aten_decompositions()
    call = encode("aten.linalg_matmul.default", (torch.ones(2, 2),) * 2, {}, device="cpu", source="test")
    result = check(op, [call], ["decomposition"])
    assert result.reason == Reason(ReasonKind.EXEMPT, "no decomposition table has an entry of its own")


def test_not_implemented_means_that_it_does_not_apply():
    op = operator("decomposed_never", lambda x: NotImplemented)
    result = check(op, [planted.call(op, sample())], ["decomposition"])
    assert (result.status, result.compared) == (Status.NOT_CALLED, {})
    assert "NotImplemented" in str(result.reason)
    op = operator("decomposed_seldom", lambda x: NotImplemented if x.dtype is torch.int64 else kernel(x).t())
    result = check(op, [planted.call(op, sample(dtype)) for dtype in DTYPES], ["decomposition"])
    assert (result.compared, [f.calls for f in result.findings]) == ({"decomposition": 2}, [2])


def test_a_torch_without_a_table_has_one_form_less(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._inductor.decomposition", None)
    decomposition.decompositions_of.cache_clear()
    decomposition._tables.cache_clear()
    try:
        assert list(decomposition.decompositions_of(torch.ops.aten.add.Tensor)) == [""]
    finally:
        monkeypatch.undo()
        decomposition.decompositions_of.cache_clear()
        decomposition._tables.cache_clear()


def test_endless_recursion_is_an_ordinary_ending():
    def again(x):
        return again(x)

    op = operator("decomposed_for_ever", again)
    [finding] = check(op, [planted.call(op, sample())], ["decomposition"]).findings
    assert finding.what == "decomposition raises RecursionError"


# --- in a process of its own -------------------------------------------------------------------------------------------


class FaultySandbox(Sandbox):
    """A sandbox whose children know the operators below."""

    def prepare_child(self):
        super().prepare_child()
        self.request("tests.test_decomposition:register")


def register():
    """Registers decompositions that a process does not survive, or that leave its arguments changed."""
    operator("decomposed_by_crashing", lambda x: os.kill(os.getpid(), signal.SIGSEGV))
    operator("decomposed_by_hanging", lambda x: time.sleep(60))
    operator("decomposed_by_writing", lambda x: x.clamp_(min=0).clone())


@pytest.mark.parametrize(
    ("name", "what"), [("crashing", "crash SIGSEGV"), ("hanging", "timeout"), ("writing", "changes arguments")]
)
def test_what_costs_the_process_is_named_and_costs_nobody_else_anything(name, what, tmp_path):
    op = operator(f"decomposed_by_{name}", lambda x: x)
    overload = f"sweep_planted.decomposed_by_{name}.default"
    corpus = make_corpus(tmp_path / "corpus", planted.call(op, sample()))
    # Late imports must not count towards the timeout.
    with FaultySandbox(tmp_path / "scratch", preloads=("sweep.execution.run", *LATE_IMPORTS)) as sandbox:
        supervisor = Supervisor(sandbox, corpus, "cpu", ["decomposition", "fake"], timeout=8.0)
        result = supervisor.run(overload)
    assert [(f.author, f.what, f.calls) for f in result.findings] == [("decomposition", what, 1)]
    assert result.compared == {"fake": 1}
