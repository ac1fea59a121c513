"""Elementwise operators that no sample calls."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


@family
def add_relu(device):
    for dtype in (torch.float32, torch.float64, torch.int64):
        x = torch.arange(-6, 6, device=device).to(dtype).view(3, 4)
        for one, other in ((x, x), (x, x[0]), (x.t(), x.t()), (x[:, ::2], x[:, 1::2]), (x[:0], x[:0]), (x[1, 1], x[0, 0])):
            yield call(aten._add_relu.Tensor, one, other)
            yield call(aten._add_relu.Tensor, one, other, alpha=2)
            yield call(aten._add_relu_.Tensor, one.clone(), other)
            yield call(aten._add_relu_.Tensor, one.clone(), other, alpha=2)
            yield call(aten._add_relu.Scalar, one, 3)
            yield call(aten._add_relu.Scalar, one, 1, 2)
            yield call(aten._add_relu_.Scalar, one.clone(), 3)
            yield call(aten._add_relu_.Scalar, one.clone(), 1, 2)
