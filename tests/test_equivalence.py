"""The crossref ``equivalence``: a kernel with one planted fault is reported by its form alone, and a correct one is silent."""

from __future__ import annotations

import ctypes

import pytest
import torch

from sweep import crossref
from sweep.calls.codec import encode
from sweep.crossref.common import protocol
from sweep.findings.finding import Status
from sweep.isolation.instruction_sets import PINNED_VARIABLE
from sweep.isolation.sandbox import Sandbox
from sweep.operators.functional_form import functional_of
from tests import planted
from tests.planted import check, library
from tests.whole_runs import make_corpus


def define(name, real, schema="(Tensor x) -> Tensor", fake=torch.empty_like, tags=()):
    """An operator with a kernel, a correct fake impl and tags."""
    if not hasattr(torch.ops.sweep_planted, name):
        library.define(f"{name}{schema}", tags=tags)
        library.impl(name, real, "CPU")
        torch.library.register_fake(f"sweep_planted::{name}", fake, lib=library)
    return getattr(torch.ops.sweep_planted, name).default


def findings(op, *arguments):
    result = check(op, [planted.call(op, *args) for args in arguments], crossref.names())
    return [(f.author, f.what, f.calls) for f in result.findings]


def square(x):
    return torch.empty_like(x).copy_(x * x)


def memory_order(x):
    """The elements in the order in which they lie in memory, as a kernel reads them that takes its argument for contiguous."""
    return x.as_strided(x.shape, torch.empty(x.shape).stride(), x.storage_offset())


def wrong_if_not_contiguous(x):
    return torch.empty_like(x).copy_(square(x if x.is_contiguous() else memory_order(x)))


def wrong_for_stride_2(x):
    return torch.empty_like(x).copy_(square(x if not x.dim() or x.stride(-1) != 2 else memory_order(x)))


def wrong_for_stride_0_of_a_unit_dimension(x):
    is_zero = any(size == 1 and stride == 0 for size, stride in zip(x.shape, x.stride(), strict=True))
    return square(x) + is_zero


def permuted():
    return torch.arange(6.0).view(2, 3).t()


LAYOUTS = {
    "not_contiguous": (wrong_if_not_contiguous, permuted(), "contiguous"),
    "inner_stride_2": (wrong_for_stride_2, torch.arange(6.0)[::2], "contiguous"),
    "unit_stride_0": (wrong_for_stride_0_of_a_unit_dimension, torch.arange(3.0).as_strided((1, 3), (0, 1)), "contiguous"),
    "any_stride": (wrong_for_stride_2, torch.arange(6.0), "strided"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_kernel_that_is_wrong_for_a_layout_is_reported_by_its_form_alone(name):
    real, x, form = LAYOUTS[name]
    assert findings(define(f"wrong_for_{name}", real), (x,)) == [(f"equivalence[{form}]", "output 0 value", 1)]


def test_what_lies_behind_an_expanded_argument_is_no_part_of_a_finding():
    def reads_behind(x):
        return square(torch.tensor((ctypes.c_float * x.numel()).from_address(x.data_ptr())))

    op = define("reads_behind", reads_behind)
    result = check(op, [planted.call(op, torch.full((1,), 2.0).expand(3))], crossref.names())
    [finding] = [f for f in result.findings if f.crossref == "equivalence"]
    assert (finding.author, finding.what) == ("equivalence[contiguous]", "output 0 value")
    assert (finding.predicted, finding.actual) == (
        "float32 (3,) strides (1,), [1] is a number",
        "float32 (3,) strides (1,), [1] is 0.0",
    )


def test_a_correct_kernel_is_silent_in_every_layout():
    tensors = [x for _, x, _ in LAYOUTS.values()]
    tensors += [x.to(torch.complex64).conj() for x in tensors] + [torch.zeros(0, 3).t(), torch.tensor(2.0), torch.arange(4)]
    assert findings(define("squares", square), *((x,) for x in tensors)) == []


def test_a_kernel_that_is_wrong_in_its_scalar_tail_is_reported_at_positions():
    def tail_has_no_square(x):
        result, flat = square(x), x.flatten()
        start = flat.numel() - flat.numel() % 8
        result.view(-1)[start:] = flat[start:] * 2
        return result

    pointwise = [torch.Tag.pointwise]
    op = define("wrong_tail", tail_has_no_square, tags=pointwise)
    result = check(op, [planted.call(op, torch.zeros(2)), planted.call(op, torch.ones(3))], crossref.names())
    [finding] = result.findings
    assert (finding.author, finding.what, finding.calls) == ("equivalence[positions]", "output 0 value", 2)
    assert (finding.predicted, finding.actual) == ("a number for 1.0", "a number for 1.0")
    assert finding.labels == ("alone", "among others")
    assert findings(define("right_tail", square, tags=pointwise), (torch.zeros(2),), (torch.arange(3),)) == []


def test_a_vector_loop_that_loses_nan_is_reported_with_the_element():
    def loses_nan(x):
        return square(x).nan_to_num(0.0, float("inf")) if x.numel() >= 8 else square(x)

    op = define("vector_without_nan", loses_nan, tags=[torch.Tag.pointwise])
    [finding] = check(op, [planted.call(op, torch.zeros(2))], crossref.names()).findings
    assert (finding.author, finding.predicted, finding.actual) == ("equivalence[positions]", "nan for nan", "0.0 for nan")


def variants(name, functional, in_place=None, out=None):
    """An operator with a functional, an in-place and an out= overload."""
    if not hasattr(torch.ops.sweep_planted, name):
        library.define(f"{name}(Tensor x) -> Tensor")
        library.define(f"{name}_(Tensor(a!) x) -> Tensor(a!)")
        library.define(f"{name}.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)")
        library.impl(name, functional, "CPU")
        library.impl(f"{name}_", in_place or (lambda x: x.copy_(functional(x))), "CPU")
        library.impl(f"{name}.out", out or (lambda x, out: out.copy_(functional(x))), "CPU")
        for each, impl in ((name, torch.empty_like), (f"{name}_", lambda x: x), (f"{name}.out", lambda x, out: out)):
            library.impl(each, impl, "Meta")
    packet = getattr(torch.ops.sweep_planted, name)
    return packet.default, getattr(torch.ops.sweep_planted, f"{name}_").default, packet.out


def of_variants(ops, names=("equivalence", "fake")):
    """The findings about calls of an in-place and an out= overload."""
    _, in_place, out = ops
    x = torch.tensor([0.1, 0.7, 0.3])
    call = encode(f"sweep_planted.{out._schema.name.split('::')[1]}.out", (x,), {"out": torch.zeros(3)}, device="cpu", source="t")
    results = [check(in_place, [planted.call(in_place, x)], names), check(out, [call], names)]
    return [[(f.author, f.what) for f in result.findings] for result in results]


def test_an_out_overload_that_adds_to_what_it_finds_is_reported():
    ops = variants("adds_to_out", square, out=lambda x, out: out.add_(square(x)))
    assert of_variants(ops) == [[], [("equivalence[out=]", "output 0 value")]]


@pytest.mark.parametrize("dtype", [torch.bits8, torch.bits16], ids=str)
def test_out_tensors_of_a_dtype_that_torch_cannot_fill_get_garbage_too(dtype):
    written = []

    def copy(x, out):
        written.append(out.view(torch.uint8).any().item())
        return out.copy_(x)

    _, _, op = variants(f"copies_{str(dtype).removeprefix('torch.')}", torch.clone, out=copy)
    x, out = (torch.zeros(3 * dtype.itemsize, dtype=torch.uint8).view(dtype) for _ in range(2))
    call = encode(op.name().replace("::", "."), (x,), {"out": out}, device="cpu", source="test")
    assert check(op, [call], ["equivalence"]).findings == ()
    assert True in written, "no out tensor held garbage"


def test_an_out_overload_that_takes_out_for_contiguous_is_no_reference_for_itself():
    def in_memory_order(x, out):
        out.as_strided(out.shape, torch.empty(out.shape).stride(), out.storage_offset()).copy_(square(x))
        return out

    ops = variants("takes_out_for_contiguous", square, out=in_memory_order)
    x, kwargs = torch.arange(6.0).view(3, 2), {"out": torch.zeros(2, 3).t()}
    call = encode("sweep_planted.takes_out_for_contiguous.out", (x,), kwargs, device="cpu", source="test")
    result = check(ops[2], [call], ["equivalence", "fake"])
    assert [(f.author, f.what) for f in result.findings] == [
        ("equivalence[contiguous]", "output 0 value"),
        ("equivalence[out=]", "output 0 value"),
    ]
    call = encode("sweep_planted.right_for_any_out.out", (x,), kwargs, device="cpu", source="test")
    assert check(variants("right_for_any_out", square)[2], [call], ["equivalence", "fake"]).findings == ()


def test_an_in_place_overload_that_rounds_differently_is_reported():
    ops = variants("rounds_in_place", lambda x: x / 3, in_place=lambda x: x.mul_(1 / 3))
    assert of_variants(ops) == [[("equivalence[in-place]", "output 0 value")], []]


def test_correct_variants_are_silent():
    assert of_variants(variants("right_variants", square)) == [[], []]


def test_functional_forms_are_found_by_their_schemas():
    aten = torch.ops.aten
    assert functional_of(aten.add.out) is functional_of(aten.add_.Tensor) is aten.add.Tensor
    assert functional_of(aten.max.dim_max) is aten.max.dim
    assert functional_of(aten._foreach_add_.List) is aten._foreach_add.List
    assert functional_of(torch.ops.quantized.add_out.default) is None  # its out tensor comes without a name for it
    assert functional_of(aten.add.Tensor) is functional_of(aten.normal_.default) is None


def test_a_kernel_that_answers_differently_every_second_time_is_reported():
    counter = iter(range(1000))
    op = define("every_second_time", lambda x: square(x) + next(counter) % 2)
    assert findings(op, (torch.ones(3),)) == [("equivalence[twice]", "output 0 value", 1)]


def test_random_numbers_of_the_default_generator_are_the_same_twice():
    call = encode("aten.bernoulli.p", (torch.zeros(30), 0.5), {}, device="cpu", source="test")
    result = check(torch.ops.aten.bernoulli.p, [call], ["equivalence"])
    assert (result.status, result.compared) == (Status.AGREES, {"equivalence": 1})


def test_a_generator_of_its_own_goes_on_from_call_to_call():
    call = encode("aten.bernoulli.default", (torch.full((30,), 0.5),), {"generator": torch.Generator()}, device="cpu", source="t")
    assert check(torch.ops.aten.bernoulli.default, [call], ["equivalence"]).findings == ()


def test_what_a_path_keeps_for_itself_need_not_be_the_same():
    call = encode("aten._linalg_det.default", (torch.ones(3, 3),), {}, device="cpu", source="test")
    assert check(torch.ops.aten._linalg_det.default, [call], ["equivalence"]).status is Status.AGREES


def test_sums_of_integers_in_floating_point_are_judged_by_their_largest_element():
    x = torch.arange(1000, dtype=torch.int64).view(10, 100)
    call = encode("aten.fft_fft.default", (x,), {}, device="cpu", source="test")
    assert check(torch.ops.aten.fft_fft.default, [call], ["equivalence"]).findings == ()


def test_a_sum_in_another_order_may_lose_what_cancellation_leaves():
    def in_some_order(x):
        order = [0, 1, 2] if x.stride(-1) == 1 else [0, 2, 1]
        total = x.new_zeros(())
        for at in order:
            total = total + x[at]
        return total

    op = define("sum_in_some_order", in_some_order, fake=lambda x: x.new_empty(()))
    assert findings(op, (torch.tensor([1000, -1000, 0.1], dtype=torch.float16),)) == []


def test_a_form_that_is_refused_says_nothing():
    def only_contiguous(x):
        if not x.is_contiguous():
            raise RuntimeError("contiguous, please")
        return square(x)

    assert findings(define("only_contiguous", only_contiguous), (torch.arange(6.0),)) == []


def test_a_layout_that_is_an_argument_is_exempt():
    call = encode("aten.as_strided.default", (torch.arange(6.0).view(2, 3).t(), [2], [1]), {}, device="cpu", source="test")
    assert check(torch.ops.aten.as_strided.default, [call], ["equivalence"]).findings == ()


@pytest.mark.parametrize(("baseline", "is_exempt"), [("AVX2", True), ("", False)])
def test_a_kernel_that_no_variable_limits_is_compared_with_native_instruction_sets_alone(monkeypatch, baseline, is_exempt):
    monkeypatch.setenv(PINNED_VARIABLE, baseline)
    reason = protocol.why_not(protocol.load("equivalence"), torch.ops.aten._int_mm.out, "cpu")
    assert (reason is not None) is is_exempt


# --- in a process of its own, whose allocator fills new memory ----------------------------------------------------------


def unwritten_half(x):
    result = torch.empty(2 * x.numel(), dtype=x.dtype)
    result[: x.numel()] = x.flatten()
    return result


def workspace(x):
    return square(x), torch.empty(100, dtype=torch.uint8)


def wrong_half(x):
    result = unwritten_half(x)
    result[0] = x.stride(-1)
    return result


UNWRITTEN = {
    "unwritten_half": (unwritten_half, "(Tensor x) -> Tensor", lambda x: x.new_empty(2 * x.numel()), []),
    "workspace": (
        workspace,
        "(Tensor x) -> (Tensor, Tensor)",
        lambda x: (torch.empty_like(x), x.new_empty(100, dtype=torch.uint8)),
        [],
    ),
    "wrong_half": (
        wrong_half,
        "(Tensor x) -> Tensor",
        lambda x: x.new_empty(2 * x.numel()),
        [("equivalence[strided]", "output 0 value")],
    ),
}


class PlantedSandbox(Sandbox):
    """A sandbox whose children know the operators above."""

    def prepare_child(self):
        super().prepare_child()
        self.request("tests.test_equivalence:register")


def register():
    """Registers the operators that leave memory unwritten."""
    for name, (real, schema, fake, _) in UNWRITTEN.items():
        define(name, real, schema, fake)


@pytest.mark.parametrize("name", UNWRITTEN)
def test_memory_that_no_kernel_wrote_to_has_no_value(name, tmp_path):
    register()
    calls = [planted.call(getattr(torch.ops.sweep_planted, name).default, x) for x in (torch.ones(7), torch.ones(40, 3))]
    overload = f"sweep_planted.{name}.default"
    corpus = make_corpus(tmp_path / "corpus", *calls)
    with PlantedSandbox(tmp_path / "scratch") as sandbox:
        result = sandbox.request(
            "sweep.execution.run:check_overload", name=overload, folder=str(corpus), device="cpu", crossrefs=["equivalence"]
        )
    assert [(f.author, f.what) for f in result.findings] == UNWRITTEN[name][-1]


@pytest.mark.parametrize("name", ["empty.memory_format", "linalg_lu_factor.default", "resize_.default"])
def test_operators_of_torch_that_leave_memory_unwritten_or_pivot_are_silent(name, tmp_path):
    arguments = {
        "empty.memory_format": ([50],),
        "linalg_lu_factor.default": (torch.arange(16.0).view(4, 4).cos(),),
        "resize_.default": (torch.zeros(0), [40]),
    }[name]
    call = encode(f"aten.{name}", arguments, {}, device="cpu", source="test")
    corpus = make_corpus(tmp_path / "corpus", call)
    with Sandbox(tmp_path / "scratch") as sandbox:
        result = sandbox.request(
            "sweep.execution.run:check_overload",
            name=f"aten.{name}",
            folder=str(corpus),
            device="cpu",
            crossrefs=["equivalence"],
        )
    assert result.findings == ()
    assert result.compared == {"equivalence": 1}
