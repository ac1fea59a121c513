"""Indexing with tensors, with and without bounds checks, and writing to a diagonal."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


def _indexed(device):
    """Tensors, and indices for them, all within bounds."""
    rows, columns = torch.tensor([2, 0], device=device), torch.tensor([[1], [3]], device=device)
    mask = torch.tensor([True, False, True], device=device)
    x = torch.arange(24.0, device=device).view(3, 4, 2)
    for dtype in (torch.float32, torch.int64, torch.complex64):
        yield x.to(dtype), [rows]
        yield x.to(dtype), [rows, columns]
    yield x, [None, rows]
    yield x, [rows, None, rows.remainder(2)]
    yield x.transpose(0, 1).contiguous().transpose(0, 1), [rows.to(torch.int32), columns.to(torch.int32)]
    yield x, [mask]
    yield x[:, ::2], [None, rows.remainder(2)]
    yield x, [rows[:0]]
    yield x[..., :0], [rows]


@family
def index(device):
    for x, indices in _indexed(device):
        if not any(
            i is not None and i.dtype is torch.bool for i in indices
        ):  # the number of indexed elements would depend on values
            yield call(aten._unsafe_index.Tensor, x, indices)


@family
def index_put(device):
    for (x, indices), accumulate in itertools.product(_indexed(device), (False, True)):
        picked = aten.index.Tensor(x, indices)
        for values in (torch.ones_like(picked), torch.ones((), dtype=x.dtype, device=device)):
            yield call(aten._unsafe_index_put.default, x, indices, values, accumulate)
            yield call(aten._index_put_impl.default, x, indices, values, accumulate)
            yield call(aten._index_put_impl_.default, x.clone(), indices, values, accumulate)
        yield call(aten._index_put_impl.default, x, indices, torch.ones_like(picked), accumulate, True)
        yield call(aten._index_put_impl_.default, x.clone(), indices, torch.ones_like(picked), accumulate, True)


@family
def fill_diagonal(device):
    for dtype in (torch.float32, torch.int64, torch.bool):
        for size in ((3, 3), (7, 2), (2, 5), (0, 0), (3, 3, 3)):
            x = torch.zeros(size, dtype=dtype, device=device)
            yield call(aten.fill_diagonal_.default, x, 1)
            yield call(aten.fill_diagonal_.default, x.clone(), 1, True)
    yield call(aten.fill_diagonal_.default, torch.zeros(4, 6, device=device).t(), 0.5, True)
    yield call(aten.fill_diagonal_.default, torch.zeros(4, 6, device=device)[:, ::2], -1.5)
