"""Arguments are built again from their plain form as they were, and print as Python that makes the same call."""

from __future__ import annotations

import pytest
import torch

from sweep.calls.call import Unrecordable
from sweep.calls.codec import KEPT_BYTES, LARGEST_BYTES, build, encode, signature
from sweep.calls.printing import arguments, expression
from sweep.calls.recipes import remember, was_built
from sweep.operators import process_group


def recorded(*args, **kwargs):
    return encode("aten.test.default", args, kwargs, device="cpu", source="test")


def metadata(t):
    return (t.dtype, tuple(t.shape), t.stride(), t.storage_offset(), t.layout, t.is_conj(), t.is_neg())


class Subclass(torch.Tensor):
    pass


BASE = torch.arange(60.0)
TENSORS = {
    "contiguous": torch.arange(6).view(2, 3),
    "transposed": torch.arange(6.0).view(2, 3).t(),
    "sliced": BASE[5:].view(5, 11)[::2, 1:9:3],
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
    "empty": torch.empty(0, 4),
    "scalar": torch.tensor(3.5, dtype=torch.bfloat16),
    "bool": torch.tensor([True, False]),
    "complex": torch.tensor([1 + 2j, complex(float("nan"), -0.0)]),
    "conj": torch.tensor([1 + 2j]).conj(),
    "neg": torch.tensor([1 + 2j]).conj().imag,
}

NESTED = torch.nested.as_nested_tensor([torch.zeros(2, 3), torch.ones(4, 3)])


@pytest.mark.parametrize("name", sorted(TENSORS))
@pytest.mark.parametrize("own", [True, False])
def test_tensors_are_built_with_their_metadata_and_values(name, own):
    tensor = TENSORS[name]
    [rebuilt], _ = build(recorded(tensor), "cpu", own=own)
    assert metadata(rebuilt) == metadata(tensor)
    assert torch.equal(
        torch.nan_to_num(rebuilt.resolve_neg().resolve_conj()), torch.nan_to_num(tensor.resolve_neg().resolve_conj())
    )


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_sparse_tensors_are_built_again(layout):
    tensor = torch.tensor([[0.0, 1], [2, 0]]).to_sparse(layout=layout)
    [rebuilt], _ = build(recorded(tensor), "cpu")
    assert rebuilt.layout == layout
    assert torch.equal(rebuilt.to_dense(), tensor.to_dense())


def test_a_nested_tensor_is_built_with_its_memory_layout():
    [rebuilt], _ = build(recorded(NESTED.transpose(1, 2)), "cpu")
    assert [(metadata(part), part.tolist()) for part in rebuilt.unbind()] == [
        (metadata(part), part.tolist()) for part in NESTED.transpose(1, 2).unbind()
    ]


def test_scalars_and_containers_keep_their_types():
    args = (1, True, 2.0, float("inf"), 1j, None, "mode", [1, 2], torch.float16, torch.strided, torch.channels_last)
    rebuilt, kwargs = build(recorded(*args, device=torch.device("cpu"), pair=(1, 2)), "cpu")
    assert [(type(v), v) for v in rebuilt] == [(type(v), v) for v in args]
    assert kwargs == {"device": torch.device("cpu"), "pair": (1, 2)}


def test_aliasing_between_arguments_is_kept():
    base = torch.arange(12.0)
    left, right = base[:6], base[3:9]
    (a, b, c, d), _ = build(recorded(left, right, left, torch.zeros(2)), "cpu")
    assert a is c
    assert a.untyped_storage()._cdata == b.untyped_storage()._cdata != d.untyped_storage()._cdata
    a.fill_(7)
    assert b[:3].tolist() == [7, 7, 7]


def test_built_arguments_have_memory_of_their_own():
    call = recorded(torch.zeros(3))
    build(call, "cpu")[0][0].fill_(5)
    assert build(call, "cpu")[0][0].tolist() == [0, 0, 0]


def test_an_encoded_tensor_can_still_be_resized():
    tensor = torch.zeros(2)
    recorded(tensor)
    assert tensor.resize_(100).shape == (100,)


def test_large_floating_point_storages_are_refilled_within_their_range():
    tensor = torch.rand(KEPT_BYTES // 4 + 1) + 3
    call = recorded(tensor)
    assert len(call.data) == 0
    [first], _ = build(call, "cpu")
    assert metadata(first) == metadata(tensor)
    assert 3 <= first.min() < 3.1
    assert 3.9 < first.max() <= 4
    assert torch.equal(first, build(call, "cpu")[0][0])


def test_arguments_without_a_plain_form_are_refused_with_the_reason():
    with pytest.raises(Unrecordable, match="tensor subclass"):
        recorded(torch.zeros(2).as_subclass(Subclass))
    with pytest.raises(Unrecordable, match="argument of type object"):
        recorded(object())
    with pytest.raises(Unrecordable, match="bytes of values"):
        recorded(torch.zeros(LARGEST_BYTES // 8 + 1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1,), (True,)),
        ((1,), (1.0,)),
        (([1],), ((1,),)),
        ((torch.zeros(2, 3),), (torch.zeros(3, 2).t(),)),
        ((torch.zeros(2),), (torch.zeros(2, dtype=torch.int32),)),
        ((torch.zeros(4)[:2],), (torch.zeros(4)[1:3],)),
        ((torch.zeros(2), torch.zeros(2)), (t := torch.zeros(2), t)),
        ((torch.zeros(2, dtype=torch.complex64),), (torch.zeros(2, dtype=torch.complex64).conj(),)),
        ((NESTED,), (NESTED.transpose(1, 2),)),
    ],
)
def test_different_calls_have_different_signatures_and_keys(one, other):
    assert signature(one, {}) != signature(other, {})
    assert recorded(*one).as_json()["id"] != recorded(*other).as_json()["id"]


def test_values_of_tensors_are_not_part_of_the_identity():
    assert signature((torch.zeros(2),), {"a": 1.5}) == signature((torch.ones(2),), {"a": 1.5})
    assert recorded(torch.zeros(2)).as_json()["id"] == recorded(torch.ones(2)).as_json()["id"]


@pytest.mark.parametrize("name", sorted(TENSORS))
@pytest.mark.parametrize("fill", ["zeros", "ones", "exact"])
def test_a_printed_call_makes_the_same_call(name, fill):
    tensor = TENSORS[name]
    text = expression(recorded([tensor, 2], scale=1.5), "cpu", fill, callee="capture")
    ([rebuilt, two],), kwargs = eval(text, {"torch": torch, "capture": lambda *a, **k: (a, k)})
    # The printed storage begins where the tensor's does and ends with the last element that it reaches.
    assert metadata(rebuilt) == metadata(tensor)
    assert (two, kwargs) == (2, {"scale": 1.5})
    if fill == "exact":
        assert torch.equal(
            torch.nan_to_num(rebuilt.resolve_conj().resolve_neg()), torch.nan_to_num(tensor.resolve_conj().resolve_neg())
        )


def test_a_printed_call_keeps_shared_storages():
    base = torch.arange(4.0)
    text = expression(recorded(base[:2], base[2:], base), "cpu", "exact", callee="capture")
    a, b, c = eval(text, {"torch": torch, "capture": lambda *a: a})
    assert a.untyped_storage()._cdata == b.untyped_storage()._cdata == c.untyped_storage()._cdata
    assert (a.tolist(), b.tolist()) == ([0, 1], [2, 3])


def test_a_call_prints_with_the_device_where_it_is_not_the_cpu():
    assert (
        expression(recorded(torch.zeros(2)), "cuda", "zeros")
        == "torch.ops.aten.test.default(torch.zeros((2,), dtype=torch.float32, device='cuda'))"
    )


# --- construction recipes and quantized tensors ---------------------------------------------------------------------------------


def quantized_by_channel():
    scales, zeros = torch.tensor([0.1, 0.2]), torch.tensor([0, 3])
    return torch.quantize_per_channel(torch.randn(2, 3), scales, zeros, 0, torch.quint8)


QUANTIZED = {
    "per tensor": lambda: torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 3, torch.quint8),
    "signed": lambda: torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 0, torch.qint8),
    "wide": lambda: torch.quantize_per_tensor(torch.randn(0, 3), 0.1, 0, torch.qint32),
    "channels last": lambda: torch.quantize_per_tensor(
        torch.randn(1, 2, 3, 4).contiguous(memory_format=torch.channels_last), 0.1, 3, torch.quint8
    ),
    "per channel": quantized_by_channel,
}


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_tensors_are_built_again(name):
    tensor = QUANTIZED[name]()
    call = recorded(tensor)
    [rebuilt], _ = build(call, "cpu")
    assert metadata(rebuilt) == metadata(tensor)
    assert rebuilt.qscheme() == tensor.qscheme()
    assert torch.equal(rebuilt.dequantize(), tensor.dequantize())
    printed = eval(expression(call, "cpu", "exact", callee="(lambda x: x)"))
    assert torch.equal(printed.dequantize(), tensor.dequantize())


def test_a_quantized_tensor_with_other_strides_is_refused():
    with pytest.raises(Unrecordable, match="neither contiguous nor channels-last"):
        recorded(torch.quantize_per_tensor(torch.randn(2, 3), 0.1, 3, torch.quint8).t())


def test_the_scale_of_a_quantized_tensor_is_part_of_the_identity():
    first, second = (torch.quantize_per_tensor(torch.zeros(2), scale, 0, torch.quint8) for scale in (0.1, 0.2))
    assert signature((first,), {}) != signature((second,), {})
    assert recorded(first).key() != recorded(second).key()


def packed():
    weight = torch.quantize_per_tensor(torch.randn(4, 8), 0.1, 0, torch.qint8)
    prepack = torch.ops.quantized.linear_prepack.default
    args = (weight, torch.zeros(4))
    result = prepack(*args)
    remember(result, "quantized.linear_prepack.default", args, {})
    return result, weight


def test_an_object_is_encoded_as_its_construction_recipe():
    result, weight = packed()
    call = recorded(result)
    [rebuilt], _ = build(call, "cpu")
    assert torch.equal(torch.ops.quantized.linear_unpack(rebuilt)[0].dequantize(), weight.dequantize())
    assert expression(call, "cpu", "exact").startswith("torch.ops.aten.test.default(torch.ops.quantized.linear_prepack.default(")
    assert signature((result,), {}) == signature((rebuilt,), {})


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_the_device_mesh_of_the_process_group_is_built_again_and_another_one_is_refused():
    mesh = process_group.mesh("cpu")
    call = recorded(mesh)
    [rebuilt], _ = build(call, "cpu")
    assert rebuilt is mesh
    [printed], _ = arguments(expression(call, "cpu", "exact"))
    assert printed == mesh
    assert signature((printed,), {}) == signature((mesh,), {})
    with pytest.raises(Unrecordable, match="another device mesh"):
        recorded(mesh["x"])


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
def test_a_pooling_result_with_a_workspace_is_encoded_as_its_construction_recipe():
    x, window = torch.randn(1, 2, 4, 4).to_mkldnn().requires_grad_(), ([2, 2], [2, 2])
    result = torch.ops.aten.mkldnn_max_pool2d.default(x, *window)
    remember(result, "aten.mkldnn_max_pool2d.default", (x, *window), {})
    gradient = torch.ones(1, 2, 2, 2).to_mkldnn()
    backward = torch.ops.aten.mkldnn_max_pool2d_backward.default
    call = recorded(gradient, result, x, *window)
    printed, _ = arguments(expression(call, "cpu", "zeros"))
    copy = result.detach().to_dense().to_mkldnn()
    with torch.no_grad():
        assert torch.equal(backward(*build(call, "cpu")[0]).to_dense(), backward(gradient, result, x, *window).to_dense())
        assert backward(*printed).shape == x.shape
        with pytest.raises(RuntimeError):
            backward(gradient, copy, x, *window)
    assert not was_built(copy)


def test_an_object_without_a_construction_recipe_is_refused():
    unseen = torch.ops.quantized.linear_prepack(torch.quantize_per_tensor(torch.randn(4, 8), 0.1, 0, torch.qint8), None)
    with pytest.raises(Unrecordable, match=r"object of class quantized\.LinearPackedParamsBase"):
        recorded(unseen)


def test_the_name_of_a_variant_is_stored_and_not_part_of_the_identity():
    plain, variant = (
        encode("aten.abs.default", (torch.zeros(2),), {}, device="cpu", source="", variant=x) for x in ("", "sliced")
    )
    assert variant.as_json()["variant"] == "sliced"
    assert plain.as_json()["id"] == variant.as_json()["id"]


def address_tensor():
    """A tensor whose bytes are an address, and the weight at that address."""
    pack, weight = torch.ops.aten.fbgemm_pack_gemm_matrix_fp16.default, torch.randn(4, 8)
    result = pack(weight)
    remember(result, "aten.fbgemm_pack_gemm_matrix_fp16.default", (weight,), {})
    return result, weight


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="needs FBGEMM")
def test_a_tensor_that_holds_an_address_is_encoded_as_its_construction_recipe():
    result, weight = address_tensor()
    call = recorded(result)
    assert call.number_of_elements() == weight.numel()
    [rebuilt], _ = build(call, "cpu")
    x, bias = torch.randn(3, 8), torch.zeros(4)
    linear = torch.ops.aten.fbgemm_linear_fp16_weight.default
    assert torch.equal(linear(x, rebuilt, bias), linear(x, result, bias))
    with pytest.raises(RuntimeError):
        linear(x, result.clone(), bias)
    assert was_built(rebuilt)
    assert was_built(result.detach())
    assert not was_built(result.clone())
    assert not was_built(weight.to_sparse())
    assert signature((result,), {}) == signature((rebuilt,), {})


def test_a_tensor_of_a_packed_dtype_is_encoded_as_its_construction_recipe():
    args = (torch.randn(10, 8), torch.full((10,), 0.1), torch.zeros(10), 0, torch.quint4x2)
    result = torch.ops.aten.quantize_per_channel.default(*args)
    with pytest.raises(Unrecordable, match="quantized tensor, quint4x2"):
        recorded(result)
    remember(result, "aten.quantize_per_channel.default", args, {})
    [rebuilt], _ = build(recorded(result), "cpu")
    assert rebuilt.dtype is torch.quint4x2
    rows = [
        torch.ops.quantized.embedding_4bit(torch.ops.quantized.embedding_bag_prepack(weight), torch.tensor([0, 7, 9]))
        for weight in (rebuilt, result)
    ]
    assert torch.equal(*rows)


def test_a_built_tensor_has_version_0():
    call = encode("aten._version.default", (torch.zeros(2, 3).mT,), {}, device="cpu", source="test")
    [tensor], _ = build(call, "cpu")
    assert tensor._version == 0
