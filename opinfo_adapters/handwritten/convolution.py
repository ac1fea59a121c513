"""Convolutions under the names that only torch's own kernels and decompositions use, and similar operators."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten
_DTYPES = (torch.float32, torch.float64)


def _tensors(rank, dtype, device):
    options = {"dtype": dtype, "device": device}
    x, weight = torch.randn(2, 3, *(6,) * rank, **options), torch.randn(4, 3, *(3,) * rank, **options)
    return x, weight, torch.zeros(4, **options)


@family
def general(device):
    for rank, dtype, biased in itertools.product((1, 2, 3), _DTYPES, (True, False)):
        x, weight, bias = _tensors(rank, dtype, device)
        ones, zeros = [1] * rank, [0] * rank
        arguments = (x, weight, bias if biased else None, ones, zeros, ones, False, zeros, 1, False, False, True)
        yield call(aten._convolution.default, *arguments, True)
        yield call(aten._convolution.deprecated, *arguments)


@family
def slow(device):
    for dtype in _DTYPES:
        for rank in (2, 3):
            x, weight, bias = _tensors(rank, dtype, device)
            size, ones, zeros = [3] * rank, [1] * rank, [0] * rank
            for b in (bias, None):
                yield call(getattr(aten, f"slow_conv_dilated{rank}d").default, x, weight, size, b, ones, zeros, [2] * rank)
                turned = weight.transpose(0, 1).contiguous()
                packet = getattr(aten, f"slow_conv_transpose{rank}d")
                yield call(packet.default, x, turned, size, b, ones, zeros, zeros, ones)
        x, weight, bias = _tensors(2, dtype, device)
        for b in (bias, None):
            yield call(aten._slow_conv2d_forward.default, x, weight, [3, 3], b, [1, 1], [0, 0])
        grad = torch.ones(2, 4, 4, 4, dtype=dtype, device=device)
        arguments = (grad, x, weight, [3, 3], [1, 1], [0, 0])
        yield call(aten._slow_conv2d_backward.output_mask, *arguments, [True, True, True])
        yield call(aten._slow_conv2d_backward.output_mask, *arguments, [True, False, True])
        outputs = [torch.zeros_like(t) for t in (x, weight, bias)]
        names = ("grad_input", "grad_weight", "grad_bias")
        yield call(aten._slow_conv2d_backward.grad_input, *arguments, **dict(zip(names, outputs, strict=True)))
        output = torch.zeros(2, 4, 4, 4, dtype=dtype, device=device)
        yield call(aten._slow_conv2d_forward.output, x, weight, [3, 3], bias, [1, 1], [0, 0], output=output)


@family
def temporal(device):
    for dtype, padding in itertools.product(_DTYPES, (0, 1)):
        options = {"dtype": dtype, "device": device}
        x, weight, bias = torch.randn(7, 2, 3, **options), torch.randn(3, 3, 4, **options), torch.zeros(4, **options)
        made = yield call(aten.conv_tbc.default, x, weight, bias, padding)
        yield call(aten.conv_tbc_backward.default, made, x, weight, bias, padding)


@family
def resampling(device):
    for dtype in _DTYPES:
        options = {"dtype": dtype, "device": device}
        for size in ([2, 3, 4, 5], [2, 3, 2, 4, 5]):
            theta = torch.randn(2, len(size) - 2, len(size) - 1, **options)
            for corners in (True, False):
                yield call(aten.affine_grid_generator.default, theta, size, corners)
                grad = torch.ones(2, *size[2:], len(size) - 2, **options)
                yield call(aten.affine_grid_generator_backward.default, grad, size, corners)
        for name in ("_upsample_bicubic2d_aa_backward", "_upsample_lanczos2d_aa_backward"):
            grad = torch.ones(1, 3, 6, 8, **options)
            for corners in (True, False):
                yield call(getattr(aten, name).default, grad, [6, 8], [1, 3, 4, 4], corners)
        if dtype is not torch.float32 or torch.device(device).type != "cpu":
            continue  # the operators below have a kernel for the CPU only, whatever the device of their arguments
        x, grid = torch.randn(2, 3, 4, 4, **options), torch.rand(2, 5, 5, 2, **options)
        for mode, padding in itertools.product(range(3), range(3)):
            yield call(aten._grid_sampler_2d_cpu_fallback.default, x, grid, mode, padding, False)
            grad = torch.ones(2, 3, 5, 5, **options)
            yield call(aten._grid_sampler_2d_cpu_fallback_backward.default, grad, x, grid, mode, padding, False)
