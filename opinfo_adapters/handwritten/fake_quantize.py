"""Fake quantization, as quantization-aware training inserts it, with fixed, learnable and observed parameters."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten
_LIMITS = (0, 255)


@family
def per_channel(device):
    for dtype, axis in itertools.product((torch.float32, torch.bfloat16), (0, 1)):
        x = torch.randn(3, 4, device=device, dtype=dtype)
        channels = x.shape[axis]
        scale = torch.full((channels,), 0.1, device=device)
        for zero_dtype in (torch.int32, torch.float32):
            zero = torch.zeros(channels, device=device, dtype=zero_dtype)
            yield call(aten.fake_quantize_per_channel_affine.default, x, scale, zero, axis, *_LIMITS)
            yield call(aten.fake_quantize_per_channel_affine_cachemask.default, x, scale, zero, axis, *_LIMITS)
        zero = torch.zeros(channels, device=device)
        yield call(aten._fake_quantize_learnable_per_channel_affine.default, x.float(), scale, zero, axis, *_LIMITS, 1.0)


@family
def observed(device):
    for per_row in (False, True):
        x = torch.randn(3, 4, device=device)
        rows = 3 if per_row else 1

        def state(rows=rows):
            on = torch.ones(1, dtype=torch.int64, device=device)
            limits = (torch.zeros(rows, device=device), torch.ones(rows, device=device))
            return (on, on.clone(), *limits, torch.ones(rows, device=device), torch.zeros(rows, dtype=torch.int32, device=device))

        last = (0.01, *_LIMITS, 0, per_row, False)
        for packet in (
            aten._fused_moving_avg_obs_fq_helper,
            aten._fused_moving_avg_obs_fq_helper_functional,
            aten.fused_moving_avg_obs_fake_quant,
        ):
            yield call(packet.default, x, *state(), *last)
