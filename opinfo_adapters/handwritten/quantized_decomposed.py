"""Quantization in the form of a graph: plain integer tensors with scales and zero points beside them."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

_LIMITS = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-(2**15), 2**15 - 1)}


def _inputs(device):
    x = torch.linspace(-3, 3, 24, device=device)
    yield from (x.view(4, 6), x.view(6, 4).t(), x.view(2, 3, 4), x.view(2, 3, 4).transpose(0, 2), x.view(4, 6)[:, ::2], x)


@family
def per_tensor(device):
    q = ops.quantized_decomposed
    scale, zero = torch.tensor([0.1], device=device), torch.tensor([3], device=device)
    for x in _inputs(device):
        for dtype, (low, high) in _LIMITS.items():
            limits = torch.tensor(low, device=device), torch.tensor(high, device=device)
            quantized = yield call(q.quantize_per_tensor.default, x, 0.1, 3, low, high, dtype)
            yield call(q.quantize_per_tensor.tensor, x, scale, zero, low, high, dtype)
            yield call(q.quantize_per_tensor.tensor2, x, scale, zero, *limits, dtype)
            for out in ({}, {"out_dtype": torch.bfloat16}):
                yield call(q.dequantize_per_tensor.default, quantized, 0.1, 3, low, high, dtype, **out)
                yield call(q.dequantize_per_tensor.tensor, quantized, scale, zero, low, high, dtype, **out)
                yield call(q.dequantize_per_tensor.tensor2, quantized, scale, zero, *limits, dtype, **out)
            yield call(q.choose_qparams.tensor, x, low, high, 1e-5, dtype)
            yield call(q.choose_qparams_symmetric.tensor, x, low, high, 1e-5, dtype)
    yield call(q.quantize_per_tensor.default, torch.ones(2, 3, device=device).bfloat16(), 0.1, 3, 0, 255, torch.uint8)


@family
def per_channel(device):
    q = ops.quantized_decomposed
    for x in _inputs(device):
        for axis in range(x.dim()):
            scales = torch.linspace(0.1, 0.2, x.size(axis), device=device)
            zeros = torch.arange(x.size(axis), device=device)
            for dtype, (low, high) in _LIMITS.items():
                quantized = yield call(q.quantize_per_channel.default, x, scales, zeros, axis, low, high, dtype)
                for points in (zeros, None):
                    yield call(q.dequantize_per_channel.default, quantized, scales, points, axis, low, high, dtype)
                half = {"out_dtype": torch.float16}
                yield call(q.dequantize_per_channel.default, quantized, scales, zeros, axis, low, high, dtype, **half)


@family
def per_channel_group(device):
    q = ops.quantized_decomposed
    for x in (torch.randn(3, 8, device=device), torch.randn(8, 3, device=device).t(), torch.randn(3, 16, device=device)[:, ::2]):
        for group in (2, 4, 8):
            scales = torch.full((3, 8 // group), 0.1, device=device)
            zeros = torch.zeros(3, 8 // group, device=device, dtype=torch.int32)
            rest = (-8, 7, torch.int8, group)
            quantized = yield call(q.quantize_per_channel_group.default, x, scales, zeros, *rest)
            for dtype in (torch.float32, torch.bfloat16):
                yield call(q.dequantize_per_channel_group.default, quantized, scales, zeros, *rest, dtype)
                yield call(q.dequantize_per_channel_group.default, quantized, scales, None, *rest, dtype)


@family
def per_token(device):
    q = ops.quantized_decomposed
    for x in _inputs(device):
        symmetric = yield call(q.choose_qparams_per_token.default, x, torch.int8)
        asymmetric = yield call(q.choose_qparams_per_token_asymmetric.default, x, torch.int8)
        for parameters in (symmetric, asymmetric):
            quantized = yield call(q.quantize_per_token.default, x, *parameters, -128, 127, torch.int8)
            for dtype in (torch.float32, torch.float16):
                yield call(q.dequantize_per_token.default, quantized, *parameters, -128, 127, torch.int8, dtype)
