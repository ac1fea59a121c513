"""Lists of tensors: joining them, splitting a tensor into one, and a number for each tensor of one."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


@family
def stack(device):
    dense = torch.randn(2, 3, device=device)
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        x = dense.to(dtype)
        for tensors in ([x], [x, x + 1, x], [x.t(), x.t()], [x, x.t().contiguous().t()], [x[:0], x[:0]], [x[0, 0], x[1, 1]]):
            for dim in {0, -1, x.dim() if tensors[0].dim() else 0}:
                yield call(aten._stack.default, tensors, dim)
    yield call(aten._stack.default, [dense, dense.to(torch.float64)])


@family
def flatten_dense_tensors(device):
    for dtype in (torch.float32, torch.float16, torch.int64):
        x = torch.arange(12, device=device).to(dtype).view(3, 4)
        for tensors in ([x], [x, x[0]], [x.t(), x[:, ::2], x[1, 1]], [x, x[:0]]):
            flat = yield call(aten.flatten_dense_tensors.default, tensors)
            yield call(aten.unflatten_dense_tensors.default, flat, tensors)


@family
def unsafe_split_with_sizes(device):
    for dtype in (torch.float32, torch.int64):
        x = torch.arange(24, device=device).to(dtype).view(2, 3, 4)
        for tensor in (x, x.transpose(0, 2), x[:, :, ::2]):
            first, last = tensor.size(0), tensor.size(-1)
            yield call(aten.unsafe_split_with_sizes.default, tensor, [1, first - 1])
            yield call(aten.unsafe_split_with_sizes.default, tensor, [last], -1)
            yield call(aten.unsafe_split_with_sizes.default, tensor, [0, 1, 2], 1 if tensor.size(1) == 3 else 0)


@family
def powsum(device):
    op = aten._foreach_powsum.Scalar
    for dtype in (torch.bfloat16, torch.float32, torch.float64, torch.complex64):
        dense = torch.randn(2, 3, device=device).to(dtype)
        for tensors in ([dense], [dense, dense.t(), dense[:, ::2]], [dense[0, 0], dense[:0], dense[0]]):
            yield call(op, tensors)
            for order in (0, 1, 3.0):
                yield call(op, tensors, order)
        yield call(op, tensors, 2, dtype=torch.complex128 if dtype.is_complex else torch.float64)
