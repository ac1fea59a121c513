"""Attention layers and their parts, as ``torch.nn`` calls them in inference."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten
_WIDTH, _HEADS = 8, 2


@family
def heads(device):
    for dtype, (needed, averaged) in itertools.product(
        (torch.float32, torch.float64), ((True, True), (True, False), (False, False))
    ):
        options = {"dtype": dtype, "device": device}
        x = torch.randn(2, 5, _WIDTH, **options)
        weights = (torch.randn(3 * _WIDTH, _WIDTH, **options), torch.zeros(3 * _WIDTH, **options))
        project = (torch.randn(_WIDTH, _WIDTH, **options), torch.zeros(_WIDTH, **options))
        op = aten._native_multi_head_attention.default
        yield call(op, x, x, x, _WIDTH, _HEADS, *weights, *project, None, needed, averaged)
        mask = torch.zeros(5, 5, dtype=torch.bool, device=device)
        yield call(op, x, x, x, _WIDTH, _HEADS, *weights, *project, mask, needed, averaged, 0)


@family
def rescaling(device):
    for dtype in (torch.float32, torch.float64):
        options = {"dtype": dtype, "device": device}
        for batch, length in ((2, 5), (1, 16)):
            qkv = torch.randn(batch, length, 3 * _WIDTH, **options)
            yield call(aten._transform_bias_rescale_qkv.default, qkv, torch.zeros(3 * _WIDTH, **options), _HEADS)


@family
def packed_weights(device):
    x = torch.randn(3, 64, device=device, dtype=torch.bfloat16)
    weight = torch.randint(-128, 127, (32, 64), device=device, dtype=torch.int8)
    yield call(aten._weight_int8pack_mm.default, x, weight, torch.ones(32, device=device, dtype=torch.bfloat16))
    if torch.device(device).type != "cpu":
        return
    for group in (32, 64):
        numbers = torch.randint(0, 15, (32, 64), dtype=torch.int32)
        packed = yield call(aten._convert_weight_to_int4pack_for_cpu.default, numbers, 1)
        scales = torch.ones(64 // group, 32, 2, dtype=torch.bfloat16)
        yield call(aten._weight_int4pack_mm_for_cpu.default, x, packed, group, scales)
        yield call(ops.quantized.int4mm_packed_weight_cpu.default, x, packed, torch.tensor(group), scales)


@family
def grouped(device):
    for dtype in (torch.bfloat16, torch.float32):
        options = {"dtype": dtype, "device": device}
        ends = torch.tensor([8, 16], dtype=torch.int32, device=device)
        yield call(aten._grouped_mm.default, torch.randn(16, 16, **options), torch.randn(2, 16, 8, **options), ends)
        yield call(aten._grouped_mm.default, torch.randn(2, 8, 16, **options), torch.randn(2, 16, 8, **options))


@family.alone
def of_a_backend(device):
    """Overloads that a backend outside of torch implements."""
    x = torch.randn(1, _HEADS, 5, _WIDTH, device=device)
    yield call(aten._scaled_dot_product_fused_attention_overrideable.default, x, x, x)
