"""Derived calls: which calls they are derived from, which are attempted, and which of those are kept."""

from __future__ import annotations

import ctypes

import pytest
import torch

from opinfo_adapters.derived import arguments, overload_variants, pairs, schema_guesses, tensor_variants
from opinfo_adapters.derived.selection import representatives
from sweep.calls import redzones
from sweep.calls.codec import encode
from sweep.calls.redzones import Filling, WritesOutside
from sweep.crossref.common.bounds_check import ReadsOutside
from sweep.findings.kind import Access
from sweep.operators.inventory import form_signature, resolve
from sweep.progress import Activity, Progress
from sweep.recording.attempts import Attempts, ValuesRefused
from sweep.recording.merge import Merger
from sweep.recording.outcome import AttemptPlan
from sweep.recording.recorded import RecordedCalls
from sweep.recording.shards import ShardCall, write_shard

aten = torch.ops.aten


def recorded_calls(folder, name, *arguments, module="recording", guessed=False):
    """A corpus in the making with calls of one overload."""
    calls = [encode(name, args, {}, device="cpu", source="test") for args in arguments]
    (folder / "shards").mkdir()
    write_shard(folder / "shards" / "000000.shard", [ShardCall.of(call, guessed=guessed) for call in calls])
    Merger(folder).add(folder / "shards", module)
    return RecordedCalls(folder, "cpu")


def attempts_of(op, name):
    return Attempts(name, op, "cpu")


@pytest.fixture
def library():
    with torch.library._scoped_library("sweep_derived", "DEF") as scoped:
        yield scoped


def test_few_calls_show_every_rank_dtype_and_option():
    tensors = [torch.zeros(shape, dtype=d) for d in (torch.float32, torch.int64) for shape in ((2,), (3,), (2, 3))]
    calls = [encode("aten.sum.dim_IntList", (t, [0], k), {}, device="cpu", source="") for t in tensors for k in (True, False)]
    chosen = representatives(calls, 10)
    assert 2 <= len(chosen) <= 4
    shown = {(len(c.tensors[0]["size"]), c.tensors[0]["dtype"]) for c in chosen}
    assert {rank for rank, _ in shown} == {1, 2}
    assert {dtype for _, dtype in shown} == {"float32", "int64"}
    assert {c.args[2] for c in chosen} == {True, False}


def test_a_mask_is_an_option():
    masks = ([True, False], [True, True], [False, True])
    calls = [encode("aten.native_layer_norm_backward.default", (torch.zeros(2), m), {}, device="cpu", source="") for m in masks]
    assert len(representatives(calls, 10)) == 3


@pytest.mark.parametrize(
    ("functional", "out", "arguments", "layout"),
    [
        ("aten.quantize_per_tensor.default", "aten.quantize_per_tensor.out", (torch.ones(3), 0.1, 3, torch.quint8), "quantized"),
        ("aten.to_mkldnn.default", "aten.to_mkldnn.out", (torch.ones(2, 3),), "_mkldnn"),
        ("aten._to_sparse_csr.default", "aten._to_sparse_csr.out", (torch.eye(3),), "sparse_csr"),
    ],
)
def test_an_out_form_gets_a_result_where_no_tensor_can_be_made_like_it(tmp_path, functional, out, arguments, layout):
    attempt = attempts_of(resolve(out), out)
    overload_variants.run(out, recorded_calls(tmp_path, functional, arguments), attempt)
    [call] = attempt.kept
    assert call.tensors[call.kwargs["out"]["tensor"]]["layout"] == layout


def test_a_sibling_whose_call_works_no_more_costs_only_that_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_bytes(bytes(8))
    attempt = attempts_of(aten.from_file.out, "aten.from_file.out")
    calls = recorded_calls(tmp_path, "aten.from_file.default", ("gone", False, 1), ("there", False, 1))
    overload_variants.run("aten.from_file.out", calls, attempt)
    assert {c.args[0] for c in attempt.kept} == {"there"}
    assert attempt.refused["RuntimeError"]


def test_an_out_form_gets_tensors_of_every_kind(tmp_path):
    attempt = attempts_of(aten.neg.out, "aten.neg.out")
    overload_variants.run("aten.neg.out", recorded_calls(tmp_path, "aten.neg.default", (torch.ones(2, 3),)), attempt)
    outs = [c.tensors[c.kwargs["out"]["tensor"]] for c in attempt.kept]
    assert [(o["size"], o["stride"], o["dtype"]) for o in outs] == [
        ([2, 3], [3, 1], "float32"),
        ([0], [1], "float32"),
        ([2, 3], [1, 2], "float32"),
        ([2, 3], [7, 2], "float32"),
    ]


@pytest.mark.parametrize(
    ("value", "wanted", "found"),
    [(2.5, "int", 2), (3, "List[int]", [3]), ([4, 5], "int", 4), (torch.tensor([7]), "number", 7), (None, "Optional[int]", None)],
)
def test_arguments_convert_by_type(value, wanted, found):
    assert arguments.converted(value, wanted, None) == found


def test_what_does_not_convert_is_left_out():
    assert arguments.converted(torch.zeros(0), "int", None) is arguments.OMITTED


def test_every_layout_has_its_strides_and_what_is_written_is_never_expanded(tmp_path):
    calls = recorded_calls(tmp_path, "aten.add_.Tensor", (torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4)))
    attempt = attempts_of(aten.add_.Tensor, "aten.add_.Tensor")
    tensor_variants.run("aten.add_.Tensor", calls, attempt)
    found = {c.variant: c.tensors[c.args[0]["tensor"]]["stride"] for c in reversed(attempt.kept)}  # the last is of all tensors
    assert found["permuted"] == [1, 1, 2, 6]
    assert found["channels_last"] == [24, 1, 8, 2]
    assert found["sliced"] == [54, 27, 9, 2]
    assert found["expanded"] == [24, 12, 4, 1]
    assert {c.variant for c in attempt.kept} >= {"size1_strides", "neg", "empty", "0d", "mixed_dtypes"}


@pytest.mark.parametrize(("layout", "dtype"), [("neg", torch.float32), ("neg", torch.complex64), ("conj", torch.complex64)])
def test_a_lazy_bit_leaves_values_and_strides_as_they_were(layout, dtype):
    tensor = torch.arange(6).to(dtype).view(2, 3).mT
    other = tensor_variants.VARIANTS[layout](tensor)
    assert (other.is_neg(), other.is_conj()) == (layout == "neg", layout == "conj")
    assert torch.equal(other, tensor)
    assert other.stride() == tensor.stride()
    assert tensor_variants.VARIANTS[layout](other) is None


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bool, torch.int32])
def test_what_has_no_sign_gets_no_lazy_one(dtype):
    assert tensor_variants.VARIANTS["neg"](torch.zeros(2, dtype=dtype)) is None


#: A dtype, and a variant for which torch has no kernel.
_WITHOUT_KERNELS = [(torch.uint4, "permuted")]
if hasattr(torch, "bcomplex32"):  # torch 2.14
    _WITHOUT_KERNELS.append((torch.bcomplex32, "conj"))


@pytest.mark.parametrize(("dtype", "variant"), _WITHOUT_KERNELS)
def test_a_variant_that_torch_has_no_kernel_for_costs_only_itself(tmp_path, dtype, variant):
    tensor = torch.empty(2, 3, dtype=dtype)
    with pytest.raises(NotImplementedError):
        tensor_variants.VARIANTS[variant](tensor)
    calls = recorded_calls(tmp_path, "aten.alias.default", (tensor,))
    for module in (tensor_variants, pairs):
        attempt = attempts_of(aten.alias.default, "aten.alias.default")
        module.run("aten.alias.default", calls, attempt)
        kept = {c.variant for c in attempt.kept}
        assert "empty" in kept
        assert variant not in kept


def test_a_guess_is_refined_by_what_refuses_it(library, tmp_path):
    library.define("picky(Tensor x, Tensor index) -> Tensor")

    def picky(x, index):
        if x.dim() != 3:
            raise RuntimeError(f"x: expected 3D tensor, but got {x.dim()}D")
        if index.dtype is not torch.int32:
            raise RuntimeError("expected index to have scalar type Int")
        return x.clone()

    for key in ("CPU", "Meta"):
        library.impl("picky", picky, key)
    attempt = attempts_of(torch.ops.sweep_derived.picky.default, "sweep_derived.picky.default")
    schema_guesses.run("sweep_derived.picky.default", no_calls(tmp_path), attempt)
    assert attempt.kept
    assert {tuple(c.dtypes())[-1] for c in attempt.kept} == {"int32"}


def no_calls(folder):
    (folder / "shards").mkdir()
    Merger(folder).add(folder / "shards", "recording")
    return RecordedCalls(folder, "cpu")


def test_a_guess_that_only_the_kernel_accepts_is_none(library, tmp_path):
    library.define("careless(Tensor x) -> Tensor")

    def meta(x):
        raise RuntimeError("x must be of another planet")

    library.impl("careless", lambda x: x.clone(), "CPU")
    library.impl("careless", meta, "Meta")
    attempt = attempts_of(torch.ops.sweep_derived.careless.default, "sweep_derived.careless.default")
    schema_guesses.run("sweep_derived.careless.default", no_calls(tmp_path), attempt)
    assert attempt.kept == []


def test_a_call_that_writes_outside_of_its_tensors_is_not_kept(library):
    library.define("sloppy(Tensor(a!) x, int past) -> ()")
    library.impl("sloppy", lambda x, past: ctypes.memset(x.data_ptr(), 1, x.nbytes + past) and None, "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.sloppy.default, "sweep_derived.sloppy.default")
    assert attempt([torch.zeros(4), 0], {}, "test") is None
    for size in (4, 2, 3):
        assert "writes outside" in str(attempt([torch.zeros(size), 8], {}, "test"))
    assert len(attempt.kept) == 1
    assert {kind: call.tensors[0]["size"] for kind, call in attempt.out_of_bounds.items()} == {Access.WRITE: [2]}


def test_a_call_that_writes_far_outside_harms_no_other(library):
    """As an upsampling kernel of torch 2.13 does that takes an out= tensor for contiguous."""
    library.define("far(Tensor(a!) x, int past) -> ()")
    library.impl("far", lambda x, past: ctypes.memset(x.data_ptr(), 1, x.nbytes + past) and None, "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.far.default, "sweep_derived.far.default")
    for past in (100_000, 0, 100_000, 0):
        refused = attempt([torch.zeros(4 + len(attempt.kept)), past], {}, "test")
        assert isinstance(refused, WritesOutside) if past else refused is None
    assert len(attempt.kept) == 2


def test_who_writes_far_outside_is_found_and_no_other_is_blamed(library):
    library.define("remote(Tensor(a!) x, int past) -> ()")
    library.impl("remote", lambda x, past: ctypes.memset(x.data_ptr() + past, 1, 8) and None, "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.remote.default, "sweep_derived.remote.default")
    assert isinstance(attempt([torch.zeros(4), 20_000], {}, "test"), WritesOutside)
    assert attempt([torch.zeros(5000), 0], {}, "test") is None  # ends where the other has written


@pytest.mark.parametrize("nbytes", [16, 64 * 1024, 64 * 1024 + 16])
def test_guards_are_around_storages_of_any_size_and_hold_what_they_should(nbytes):
    for shorter in (0, 8):
        for filling, outside in ((Filling.ZEROS, 0), (Filling.POISON, -1)):
            tensor = torch.arange((nbytes - shorter) // 8)
            with redzones.between([tensor, tensor[1:]], filling) as (one, other):
                assert torch.equal(one, tensor)
                assert torch.equal(other, tensor[1:])
                assert one.untyped_storage()._cdata == other.untyped_storage()._cdata != tensor.untyped_storage()._cdata
                beside = [ctypes.c_int64.from_address(at).value for at in (one.data_ptr() - 8, one.data_ptr() + one.nbytes)]
                assert beside == [outside, outside]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("aten.diagonal.default", [torch.zeros(0, 3, dtype=torch.complex64)]),  # its strides allow no view as bytes
        ("aten._add_batch_dim.default", [torch.zeros(2, 3), 0, 1]),
        ("quantized.linear_prepack_fp16.default", [torch.ones(8, 4), None]),
    ],
)
def test_a_result_of_any_kind_is_compared_with_the_other_one(name, arguments):
    attempt = attempts_of(resolve(name), name)
    assert attempt(arguments, {}, "test") is None


def test_an_out_overload_that_resizes_and_reads_outside_of_its_argument_is_not_kept():
    name = "aten._reshape_alias_copy.out"
    attempt = attempts_of(resolve(name), name)
    out = {"out": torch.zeros((), dtype=torch.int64)}
    assert isinstance(attempt([torch.tensor(3), [1, 3, 4], [12, 4, 1]], out, "test"), ReadsOutside)
    assert attempt([torch.arange(12), [1, 3, 4], [12, 4, 1]], out, "test") is None


def test_a_call_that_resizes_an_empty_argument_is_kept_unless_it_reads_outside_of_another(library):
    library.define("fills(Tensor x, int past, *, Tensor(a!) out) -> Tensor(a!)")

    def fills(x, past, out):
        return out.resize_(1).fill_(ctypes.c_int64.from_address(x.data_ptr() + past).value)

    library.impl("fills", fills, "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.fills.default, "sweep_derived.fills.default")
    x = torch.arange(4)
    assert attempt([x, 0], {"out": torch.zeros(0, dtype=torch.int64)}, "test") is None
    assert isinstance(attempt([x, x.nbytes], {"out": torch.zeros(0, dtype=torch.int64)}, "test"), ReadsOutside)


def test_an_address_is_no_answer_that_depends_on_what_lies_outside():
    name = "aten.fbgemm_pack_gemm_matrix_fp16.default"
    answers = iter([1, 2, 2, 1])  # addresses come again in any order

    def pack(weight):
        return torch.tensor([next(answers, 0)])

    op = type("Packs", (), {"_schema": resolve(name)._schema, "__call__": staticmethod(pack)})()
    attempt = attempts_of(op, name)
    assert attempt([torch.ones(2, 2)], {}, "test") is None


def test_a_call_whose_answer_depends_on_what_lies_outside_of_its_tensors_is_not_kept(library):
    library.define("curious(Tensor x, int past) -> int")
    library.impl("curious", lambda x, past: ctypes.c_int64.from_address(x.data_ptr() + past).value, "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.curious.default, "sweep_derived.curious.default")
    x = torch.arange(4)
    assert attempt([x, x.nbytes - 8], {}, "test") is None
    assert "reads outside" in str(attempt([x, x.nbytes], {}, "test"))
    assert "reads outside" in str(attempt([x, -8], {}, "test"))
    assert len(attempt.kept) == 1


@pytest.mark.parametrize("name", ["aten.empty.memory_format", "aten.rand.default", "aten.empty_like.default"])
def test_an_answer_that_differs_by_chance_is_no_reading_outside(name):
    attempt = attempts_of(resolve(name), name)
    for size in range(1, 40):
        assert attempt([torch.ones(size) if "like" in name else [size]], {}, "test") is None
    assert len(attempt.kept) == 39


def test_a_recurrent_layer_that_reads_expanded_batch_sizes_as_if_they_were_contiguous_is_not_kept():
    name = "aten.rnn_tanh.data"
    attempt = attempts_of(resolve(name), name)
    weights = [torch.ones(2, 2), torch.ones(2, 2)]
    data, start = torch.ones(9, 2), torch.ones(1, 3, 2)
    rest = [start, weights, False, 1, 0.0, False, False]
    assert attempt([data, torch.tensor([3, 3, 3]), *rest], {}, "test") is None
    for held in ([3], [3, 0, 0]):  # a storage that goes on is none of the call's arguments
        refused = attempts_of(resolve(name), name)([data, torch.tensor(held).as_strided((3,), (0,)), *rest], {}, "test")
        assert isinstance(refused, ReadsOutside)


def test_what_most_calls_are_refused_for_is_told_in_a_sentence(library):
    def kernel(x):
        raise RuntimeError(
            f'x > 0 INTERNAL ASSERT FAILED at "/build/a.cpp":{len(x)}, please report a bug to PyTorch. Expected it'
            if len(x) > 1
            else "odd"
        )

    library.define("refuses(Tensor x) -> Tensor")
    library.impl("refuses", kernel, "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.refuses.default, "sweep_derived.refuses.default")
    assert attempt.most_frequent_refusal() == ""
    for size in (1, 2, 3):
        attempt([torch.ones(size)], {}, "test")
    assert attempt.most_frequent_refusal() == "RuntimeError: x > 0 INTERNAL ASSERT FAILED"


def test_what_was_accepted_before_too_many_deaths_is_kept():
    attempt = Attempts("aten.neg.default", aten.neg.default, "cpu", plan=AttemptPlan(skip=(1,), stop=3))
    refused = [attempt([torch.ones(n)], {}, "test") for n in range(1, 7)]
    assert [r is None for r in refused] == [True, False, True, False, False, False]
    assert len(attempt.kept) == 2


def test_a_storage_ends_where_its_tensors_do():
    attempt = attempts_of(aten.add.Tensor, "aten.add.Tensor")
    whole = torch.arange(12.0)
    assert attempt([whole[2:5], whole[4:7]], {}, "test") is None
    assert attempt([whole.narrow(0, 0, 0), whole[0]], {}, "test") is None
    assert attempt([whole[2:2], whole[2:2].clone()], {}, "test") is None
    assert [s["nbytes"] for c in attempt.kept for s in c.storages] == [7 * 4, 4, 2 * 4, 0]


def on_accelerator(op, name, activities):
    """Attempts for an accelerator: of one that is always there, and is given tensors that it has to leave where they are."""
    return Attempts(name, op, "meta", Progress(beat=lambda _, phase: activities.append(phase.activity)))


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (IndexError("anything"), False),
        (RuntimeError("index 7 is out of bounds for dimension 0 with size 3"), False),
        (RuntimeError("expected scalar type Float"), True),
        (NotImplementedError("no kernel for index 3"), True),
    ],
)
def test_what_the_cpu_refuses_for_its_values_is_not_tried_on_an_accelerator(library, error, tried):
    library.define("bounded(Tensor x) -> Tensor")

    def bounded(x):
        raise error

    library.impl("bounded", bounded, "CPU")
    activities = []
    attempt = on_accelerator(torch.ops.sweep_derived.bounded.default, "sweep_derived.bounded.default", activities)
    refused = attempt([torch.zeros(2)], {}, "test")
    assert isinstance(refused, type(error) if tried else ValuesRefused)
    assert activities == [Activity.ATTEMPT_ON_CPU, *([Activity.ATTEMPT] if tried else [])]


def test_a_call_that_the_cpu_accepts_is_made_on_an_accelerator_too():
    activities = []
    attempt = on_accelerator(aten.neg.default, "aten.neg.default", activities)
    assert attempt([torch.ones(2)], {}, "test") is None
    assert activities == [Activity.ATTEMPT_ON_CPU, Activity.ATTEMPT]
    assert len(attempt.kept) == 1


def test_a_call_that_needs_memory_of_torchs_own_is_kept():
    name = "aten._lazy_clone.default"
    attempt = attempts_of(resolve(name), name)
    assert attempt([torch.ones(2, 3)], {}, "test") is None


def test_a_call_that_is_accepted_for_what_lies_behind_its_tensor_is_not_kept(library):
    library.define("lucky(Tensor x) -> Tensor")

    def lucky(x):
        if x.untyped_storage().nbytes() == x.nbytes and x.untyped_storage().resizable():  # nothing known lies behind it
            return x.clone()
        raise RuntimeError("no luck with what lies there")

    library.impl("lucky", lucky, "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.lucky.default, "sweep_derived.lucky.default")
    assert "lies outside" in str(attempt([torch.arange(4)], {}, "test"))
    assert attempt.kept == []


def test_an_attempt_that_changes_the_process_changes_nothing_for_the_next(library):
    library.define("changes(Tensor x) -> ()")
    library.impl("changes", lambda x: torch.set_default_dtype(torch.float64), "CPU")
    attempt = attempts_of(torch.ops.sweep_derived.changes.default, "sweep_derived.changes.default")
    assert attempt([torch.zeros(1)], {}, "test") is None
    assert torch.get_default_dtype() is torch.float32


def test_an_overload_keeps_the_names_of_its_forms_apart():
    assert overload_variants._base("aten.add_.Tensor") == overload_variants._base("aten.add.out") == "aten.add"
    assert overload_variants._base("aten.view_copy.out") == overload_variants._base("aten.view.default")
    assert form_signature(resolve("aten.neg.out")) == form_signature(resolve("aten.neg_.default"))


def test_what_only_the_fake_path_refuses_says_so_too(library, tmp_path):
    def meta(x):
        raise ValueError("expected 4D. Or else")

    library.define("picky(Tensor x) -> Tensor")
    library.impl("picky", lambda x: x.clone(), "CPU")
    library.impl("picky", meta, "Meta")
    attempt = attempts_of(torch.ops.sweep_derived.picky.default, "sweep_derived.picky.default")
    schema_guesses.run("sweep_derived.picky.default", no_calls(tmp_path), attempt)
    assert (attempt.kept, attempt.most_frequent_refusal()) == ([], "ValueError: expected 4D")


def test_a_call_that_is_derived_from_a_guess_is_one(tmp_path):
    calls = recorded_calls(tmp_path, "aten.neg.default", (torch.ones(2, 3),), module="schema_guesses", guessed=True)
    for run, name in ((overload_variants.run, "aten.neg.out"), (tensor_variants.run, "aten.neg.default")):
        attempt = attempts_of(resolve(name), name)
        run(name, calls, attempt)
        assert attempt.kept
        assert attempt.kept_guesses == [True] * len(attempt.kept)


@pytest.mark.parametrize(("module", "is_task"), [("recording", True), ("overload_variants", False)])
def test_an_out_overload_that_has_carried_calls_is_no_task_again(tmp_path, module, is_task):
    (tmp_path / "shards").mkdir()
    out = encode("aten.neg.out", (torch.ones(2),), {"out": torch.ones(2)}, device="cpu", source="test")
    functional = encode("aten.neg.default", (torch.ones(2),), {}, device="cpu", source="test")
    write_shard(tmp_path / "shards" / "000000.shard", [ShardCall.of(call) for call in (out, functional)])
    Merger(tmp_path).add(tmp_path / "shards", module)
    assert ("aten.neg.out" in overload_variants.tasks(RecordedCalls(tmp_path, "cpu"))) is is_task


def test_an_attempt_leaves_the_random_generator_and_the_algorithms_as_they_were():
    attempt = attempts_of(aten.neg.default, "aten.neg.default")
    state = torch.default_generator.get_state()
    assert attempt([torch.ones(2)], {}, "test") is None
    assert torch.equal(torch.default_generator.get_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
