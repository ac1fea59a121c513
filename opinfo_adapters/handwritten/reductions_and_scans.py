"""Reductions and scans along a dimension: aminmax, all, any, a cumulative log-sum-exp, runs of equal slices."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


def _tensors(device, dtype):
    dense = torch.arange(24, device=device).remainder(7).to(dtype).view(2, 3, 4)
    return [dense, dense.transpose(0, 2), dense[:, ::2], dense[0, 0], dense[0, 0, 0]]


@family
def aminmax(device):
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        for x in _tensors(device, dtype):
            yield call(aten._aminmax.default, x)
            for dim, keepdim in itertools.product({0, -1}, (False, True)):
                yield call(aten._aminmax.dim, x, dim, keepdim)
        yield call(aten._aminmax.dim, x.new_empty(0, 3), 1)


@family
def truth(device):
    for op in (aten._is_all_true, aten._is_any_true):
        for x in (*_tensors(device, torch.bool), torch.zeros(2, 0, dtype=torch.bool, device=device)):
            yield call(op.default, x)
            yield call(op.default, torch.ones_like(x))


@family
def logcumsumexp(device):
    for dtype in (torch.float16, torch.float32, torch.float64, torch.complex64):
        for x in (*_tensors(device, dtype), torch.zeros(0, 3, dtype=dtype, device=device)):
            for dim in {0, -1}:
                yield call(aten._logcumsumexp.default, x, dim)


@family
def unique_consecutive(device):
    for dtype in (torch.int64, torch.float32, torch.bool):
        rows = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 2], [1, 1, 0]], device=device).to(dtype)
        for x in (rows, rows.t(), rows[::2], rows[:0], rows[:, 0]):
            for dim, inverse, counts in itertools.product(range(x.dim()), (False, True), (False, True)):
                if x.numel() or not x.size(dim):
                    yield call(aten.unique_dim_consecutive.default, x, dim, inverse, counts)
        yield call(aten.unique_dim_consecutive.default, rows, -1)
