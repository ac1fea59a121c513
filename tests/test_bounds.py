"""The crossref ``bounds``: a kernel with one planted access outside of its tensors is reported exactly, by no other crossref."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch

from sweep import crossref
from sweep.calls import redzones
from sweep.calls.call import Recorded
from sweep.calls.parsing import TYPED
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.out_calls import OutCalls
from sweep.crossref.common.protocol import PreparedCall
from sweep.findings.finding import Status
from sweep.operators.functional_form import out_of
from sweep.operators.inventory import resolve
from tests import planted
from tests.planted import check


def define(name, real, schema="(Tensor x) -> Tensor", fake=torch.empty_like):
    return planted.define(f"bounds_{name}", schema, real, fake)


def at(x, offset):
    """The element at an offset from the first one of a float32 tensor, wherever that lies."""
    return ctypes.c_float.from_address(x.data_ptr() + 4 * offset)


def call(op, *args, recorded=Recorded.OUT_OF_BOUNDS, **kwargs):
    return replace(planted.call(op, *args, **kwargs), recorded=recorded)


def findings(op, *calls, crossrefs=None):
    result = check(op, list(calls), crossrefs or crossref.names())
    return [(f.author, f.what, f.calls) for f in result.findings]


def reads(offset):
    def kernel(x):
        return x + at(x, offset if offset < 0 else x.numel() + offset - 1).value

    return kernel


def writes(offset):
    def kernel(x):
        at(x, offset if offset < 0 else x.numel() + offset - 1).value = 5.0
        return x.clone()

    return kernel


PLANTED = {
    "reads_one_past": (reads(1), "reads past argument 0"),
    "reads_far_past": (reads(1000), "reads past argument 0"),
    "reads_one_before": (reads(-1), "reads before argument 0"),
    "writes_one_past": (writes(1), "writes past argument 0"),
    "writes_one_before": (writes(-1), "writes before argument 0"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_access_is_reported_with_its_place_and_by_no_other_crossref(name):
    kernel, what = PLANTED[name]
    assert findings(define(name, kernel), call(define(name, kernel), torch.ones(3))) == [("bounds", what, 1)]


def test_the_argument_is_named():
    def kernel(x, y, *, out):
        at(out, out.numel()).value = 1.0
        return out

    op = define("writes_past_out", kernel, "(Tensor x, Tensor y, *, Tensor(a!) out) -> Tensor(a!)", lambda x, y, *, out: out)
    assert findings(op, call(op, torch.ones(2), torch.ones(2), out=torch.ones(3))) == [("bounds", "writes past argument out", 1)]

    def second(x, y):
        return x + at(y, 1).value

    op = define("reads_past_second", second, "(Tensor x, Tensor y) -> Tensor", lambda x, y: torch.empty_like(x))
    assert findings(op, call(op, torch.ones(2), torch.ones(1))) == [("bounds", "reads past argument 1", 1)]


def test_a_write_behind_a_result_is_reported():
    def kernel(x):
        result = x.clone()
        at(result, result.numel()).value = 5.0
        return result

    op = define("writes_past_result", kernel)
    assert findings(op, call(op, torch.ones(3))) == [("bounds", "writes past output 0", 1)]


def define_with_out(name, kernel, outs=1, out_kernel=None):
    """A functional operator with an index and its out= overload, which run a kernel on results of the size of ``x``.

    The results of the functional one lie amid other memory that belongs to nobody, so that it harms nothing.
    """
    arguments, names = "Tensor x, Tensor index", [f"out{at}" for at in range(outs)]
    made = []

    def functional(x, index):
        made.append(index.tolist())
        memory = [np.zeros(4096, np.uint8) for _ in names]
        results = [torch.frombuffer(each, dtype=x.dtype, offset=2048, count=x.numel()) for each in memory]
        kernel(x, index, *results)
        return results[0] if outs == 1 else tuple(results)

    def out(x, index, **results):
        (out_kernel or kernel)(x, index, *results.values())
        return results["out0"] if outs == 1 else tuple(results.values())

    declared = ", ".join(f"Tensor({letter}!) {name}" for letter, name in zip("abc", names, strict=False))
    returned = ", ".join(f"Tensor({letter}!)" for letter in "abc"[:outs])
    planted.library.define(f"bounds_{name}({arguments}) -> ({', '.join(['Tensor'] * outs)})")
    planted.library.define(f"bounds_{name}.out({arguments}, *, {declared}) -> ({returned})")
    planted.library.impl(f"bounds_{name}", functional, "CPU")
    planted.library.impl(f"bounds_{name}.out", out, "CPU")
    return getattr(torch.ops.sweep_planted, f"bounds_{name}").default, made


def scatters(value, *, adds=False, checks=False):
    """A kernel that writes to the elements of its last result that an index names."""

    def kernel(x, index, *results):
        for result in results:
            result.zero_()
        for each in index.tolist():
            if checks and not 0 <= each < x.numel():
                raise IndexError("out of range")
            element = at(results[-1], each)
            element.value = element.value + value if adds else value

    return kernel


@pytest.mark.parametrize("recorded", [Recorded.RETURNED, Recorded.OUT_OF_BOUNDS])
def test_a_write_far_outside_of_a_result_is_reported(recorded):
    op, made = define_with_out(f"scatters_unchecked_{recorded.name}", scatters(5.0))
    for index, expected in ((78, "writes past output 0"), (-75, "writes before output 0"), (2, None)):
        made.clear()
        one = call(op, torch.ones(3), torch.tensor([0, index]), recorded=recorded)
        assert findings(op, one, crossrefs=["bounds"]) == ([("bounds", expected, 1)] if expected else []), index
        if expected and recorded is Recorded.OUT_OF_BOUNDS:
            assert [0, index] not in made, "made where it ruins memory"


@pytest.mark.parametrize("recorded", [Recorded.RETURNED, Recorded.OUT_OF_BOUNDS])
def test_a_kernel_that_checks_its_index_is_silent(recorded):
    op, _ = define_with_out(f"scatters_checked_{recorded.name}", scatters(5.0, checks=True))
    for index in (0, 2):
        assert findings(op, call(op, torch.ones(3), torch.tensor([0, index]), recorded=recorded), crossrefs=["bounds"]) == []


def test_a_zero_that_is_written_far_outside_of_a_result_is_seen_as_is_a_number_that_is_added():
    for name, kernel in (("writes_zeros", scatters(0.0)), ("adds", scatters(5.0, adds=True))):
        op, _ = define_with_out(name, kernel)
        one = call(op, torch.ones(3), torch.tensor([78]))
        assert findings(op, one, crossrefs=["bounds"]) == [("bounds", "writes past output 0", 1)], name


def test_the_output_outside_of_which_is_written_is_named():
    op, _ = define_with_out("scatters_to_second", scatters(5.0), outs=2)
    one = call(op, torch.ones(3), torch.tensor([78]))
    assert findings(op, one, crossrefs=["bounds"]) == [("bounds", "writes past output 1", 1)]


def test_the_members_of_a_list_are_outputs():
    planted.library.define("bounds_list(Tensor x, Tensor index) -> Tensor[]")
    planted.library.define("bounds_list.out(Tensor x, Tensor index, *, Tensor(a!)[] out) -> ()")
    planted.library.impl("bounds_list", lambda x, index: [x.clone(), x.clone()], "CPU")
    planted.library.impl("bounds_list.out", lambda x, index, out: scatters(5.0)(x, index, *out), "CPU")
    op = torch.ops.sweep_planted.bounds_list.default
    one = call(op, torch.ones(3), torch.tensor([78]))
    assert findings(op, one, crossrefs=["bounds"]) == [("bounds", "writes past output 1", 1)]


def test_a_result_on_more_memory_than_an_out_tensor_has_says_nothing():
    def writes_one_past(x, index, *, out):
        at(out, out.numel()).value = 5.0
        return out

    planted.library.define("bounds_roomy(Tensor x, Tensor index) -> Tensor")
    planted.library.define("bounds_roomy.out(Tensor x, Tensor index, *, Tensor(a!) out) -> Tensor(a!)")
    planted.library.impl("bounds_roomy", lambda x, index: x.new_zeros(8)[:3], "CPU")
    planted.library.impl("bounds_roomy.out", writes_one_past, "CPU")
    op = torch.ops.sweep_planted.bounds_roomy.default
    assert findings(op, call(op, torch.ones(3), torch.tensor([1])), crossrefs=["bounds"]) == []


def test_an_out_overload_is_called_only_if_it_has_a_kernel_of_its_own_and_there_may_be_an_index():
    aten = torch.ops.aten
    assert out_of(aten.max_pool3d_with_indices_backward.default) is aten.max_pool3d_with_indices_backward.grad_input
    assert out_of(aten.bincount.default) is None, "written by torchgen"
    assert out_of(aten.scatter_.src) is None, "writes to its argument, which has redzones"
    x, index, asked = torch.ones(3), torch.tensor([0]), []
    op, _ = define_with_out("counts_out", scatters(5.0), out_kernel=lambda *args: asked.append(args))
    for args, expected in (((x, index), 2), ((x, index.int()), 2), ((x, x), 0), ((x, index.bool()), 0)):
        asked.clear()
        OutCalls(op).written(PreparedCall(op, lambda args=args: (list(args), {}), Outcome(args, {}, torch.zeros(3))))
        assert len(asked) == expected, args


def test_what_only_the_out_overload_does_to_an_argument_is_not_the_functional_one_s():
    def writes_to_argument(x, index, result):
        at(x, x.numel()).value = 5.0

    op, _ = define_with_out("writes_past_argument_in_out", scatters(5.0), out_kernel=writes_to_argument)
    assert findings(op, call(op, torch.ones(3), torch.tensor([1])), crossrefs=["bounds"]) == []


def test_a_call_that_was_recorded_as_out_of_bounds_is_never_made_in_plain_memory():
    def kernel(x):
        address = at(x, -1)
        assert address.value in (0.0, 5.0) or address.value != address.value, "not between redzones"
        address.value = 5.0
        return x.clone()

    op = define("only_between_redzones", kernel)
    result = check(op, [call(op, torch.ones(3))], crossref.names())
    assert [(f.author, f.what) for f in result.findings] == [("bounds", "writes before argument 0")]
    assert (result.calls, dict(result.compared)) == (0, {"bounds": 1})


def test_correct_kernels_are_silent():
    def through_strides(x):
        return torch.as_strided(x, (2,), (2,), 0).clone()

    cases = [
        (torch.ops.aten.flip.default, (torch.arange(6.0).view(2, 3).t(), [0])),
        (torch.ops.aten.empty_like.default, (torch.ones(5),)),
        (torch.ops.aten.rand_like.default, (torch.ones(5),)),
        (torch.ops.aten.resize_.default, (torch.ones(2), [4])),
        (torch.ops.aten.sort.default, (torch.tensor([3.0, 1.0, 2.0]),)),
    ]
    for op, args in cases:
        name = f"{op._schema.name.replace('::', '.')}.default"
        recorded = planted.encode(name, args, {}, device="cpu", source="test")
        assert check(op, [recorded], ["bounds"]).status in (Status.AGREES, Status.NOT_CALLED), op
    op = define("through_strides", through_strides, fake=lambda x: x.new_empty(2))
    assert findings(op, planted.call(op, torch.arange(3.0)), planted.call(op, torch.arange(6.0)[::2]), crossrefs=["bounds"]) == []


#: Complex dtypes, and some that torch has no kernel to fill -> the dtype of the parts of an element, and the parts of poison.
_POISON = {dtype: (dtype.to_real(), (float("nan"), 0.0)) for dtype in (torch.complex32, torch.complex64, torch.complex128)}
_POISON |= dict.fromkeys((torch.bits8, torch.uint4, torch.int4), (torch.uint8, (1.0,)))
_POISON[torch.bits16] = torch.int16, (-1.0,)
if hasattr(torch, "bcomplex32"):
    _POISON[torch.bcomplex32] = torch.bfloat16, (float("nan"), float("nan"))


@pytest.mark.parametrize("dtype", _POISON, ids=str)
@pytest.mark.parametrize("filling", redzones.Filling)
def test_memory_of_every_dtype_lies_between_redzones(dtype, filling):
    part, poison = _POISON[dtype]
    tensor = torch.ones(16, dtype=part).view(dtype)
    size = tensor.untyped_storage().nbytes()
    with redzones.between(([tensor], {}), filling) as ([copy], _):
        address = copy.data_ptr()
        around = [ctypes.string_at(start, dtype.itemsize) for start in (address - dtype.itemsize, address + size)]
        assert ctypes.string_at(address, size) == ctypes.string_at(tensor.data_ptr(), size)
    expected = torch.tensor(poison if filling is redzones.Filling.POISON else [0.0] * len(poison))
    for redzone in around:
        torch.testing.assert_close(torch.frombuffer(bytearray(redzone), dtype=part).float(), expected, equal_nan=True)


def test_memory_of_every_size_is_seen_behind_up_to_its_chunk():
    """glibc keeps what it hands out filled up to the end of the chunk, whatever the size."""
    for size in range(1, 70):
        op = torch.ops.aten.neg.default
        recorded = planted.encode("aten.neg.default", (torch.ones(size, dtype=torch.int8),), {}, device="cpu", source="test")
        assert check(op, [recorded], ["bounds"]).status is Status.AGREES, size


def test_kernels_of_torch_that_leave_their_tensors_are_reported():
    for name, args, what in (
        (
            "aten._masked_softmax_backward.default",
            (torch.ones(1, 16), torch.full((1, 1), 0.5), torch.zeros(1, 16, dtype=torch.bool), 1),
            "reads past argument 1",
        ),
        (
            "aten.nll_loss2d_backward.default",
            (torch.ones(1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([[[1]]]), None, 0, -100, torch.tensor(1.0)),
            "writes past output 0",
        ),
    ):
        typed = planted.encode(name, args, {}, device="cpu", source=f"{TYPED}torch.ops.{name}(...)")
        found = check(resolve(name), [typed], ["bounds"]).findings
        assert [(f.author, f.what) for f in found] == [("bounds", what)], name


@pytest.mark.parametrize(
    ("name", "args", "what"),
    [
        (
            "aten.nll_loss_backward.default",
            (torch.ones(1), torch.zeros(1, 3), torch.tensor([7]), None, 0, -100, torch.tensor(1.0)),
            "writes past output 0",
        ),
        (
            "aten.nll_loss2d_backward.default",
            (torch.ones(1, 1, 1), torch.zeros(1, 3, 1, 1), torch.tensor([[[70]]]), None, 0, -100, torch.tensor(1.0)),
            "writes past output 0",
        ),
        (
            "aten.adaptive_max_pool3d_backward.default",
            (torch.ones(1, 1, 1, 1), torch.ones(1, 1, 4, 4), torch.tensor([[[[40]]]])),
            "writes past output 0",
        ),
        (
            "aten.adaptive_max_pool2d_backward.default",
            (torch.ones(1, 1, 1), torch.ones(1, 4, 4), torch.tensor([[[-5]]])),
            "writes before output 0",
        ),
        (
            "aten.max_pool2d_with_indices_backward.default",
            (torch.ones(1, 1, 1), torch.ones(1, 4, 4), [4, 4], [4, 4], [0, 0], [1, 1], False, torch.tensor([[[99]]])),
            "writes past output 0",
        ),
        (
            "aten.max_pool3d_with_indices_backward.default",
            (
                torch.ones(1, 1, 1, 1),
                torch.ones(1, 2, 4, 4),
                [2, 4, 4],
                [2, 4, 4],
                [0] * 3,
                [1] * 3,
                False,
                torch.tensor([[[[90]]]]),
            ),
            "writes past output 0",
        ),
    ],
)
def test_kernels_of_torch_that_take_an_index_far_outside_of_their_result_are_reported(name, args, what):
    recorded = planted.encode(name, args, {}, device="cpu", source="test")
    found = check(resolve(name), [replace(recorded, recorded=Recorded.OUT_OF_BOUNDS)], ["bounds"]).findings
    assert [(f.author, f.what) for f in found] == [("bounds", what)]


def test_on_an_accelerator_it_does_not_apply():
    from sweep.crossref.common import protocol

    reason = protocol.why_not(protocol.load("bounds"), torch.ops.aten.abs.default, "cuda:0")
    assert reason == "redzones lie in the memory of the CPU"
