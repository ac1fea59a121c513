"""New tensors on the memory of another one, and tensors that change their memory."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


def _tensors(device):
    dense = torch.randn(2, 3, device=device)
    return [
        dense,
        dense.t(),
        dense[1:, ::2],
        dense.to(torch.complex64),
        dense.to(torch.complex64).conj(),
        torch.randn((), dtype=torch.float64, device=device),
        torch.empty(0, 3, device=device),
    ]


@family
def views(device):
    for view in (aten.conj, aten._neg_view, aten._neg_view_copy, aten.data):
        for tensor in (*_tensors(device), torch.arange(4, device=device)):
            yield call(view.default, tensor)
    for tensor in _tensors(device):
        yield call(aten._fw_primal.default, tensor, 0)


@family
def reshape_alias(device):
    dense = torch.arange(12.0, device=device).view(3, 4)
    for view in (aten._reshape_alias, aten._reshape_alias_copy):
        yield call(view.default, dense, [12], [1])
        yield call(view.default, dense, [3, 2, 2], [4, 2, 1])
        yield call(view.default, dense.to(torch.int64), [1, 3, 4], [12, 4, 1])
        yield call(view.default, dense.t(), [2, 2, 3], [2, 1, 4])
        yield call(view.default, dense[1:, ::2], [2, 1, 2], [4, 4, 2])
        yield call(view.default, dense[0, 0], [1], [1])
        yield call(view.default, dense[:0], [0, 2, 2], [4, 2, 1])


@family
def slice_inverse(device):
    for dtype, base_size in itertools.product((torch.float32, torch.int64), ((6,), (4, 6), (2, 5, 3))):
        base = torch.zeros(base_size, dtype=dtype, device=device)
        for dim, start, end, step in ((0, None, None, 1), (0, 1, None, 1), (-1, 0, 2, 1), (-1, 1, 5, 2), (0, 1, 1, 1)):
            part = aten.slice.Tensor(base, dim, start, end, step)
            yield call(aten.slice_inverse.default, part, base, dim, start, end, step)
    base = torch.zeros(4, 6, device=device).t()
    yield call(aten.slice_inverse.default, base[1:3], base, 0, 1, 3)


@family
def batch_dims(device):
    for tensor in _tensors(device):
        for dim in range(tensor.dim()):
            yield call(aten._add_batch_dim.default, tensor, dim, 1)
        for batch_size in (4, 0):  # a tensor of another level than `level` is expanded
            yield call(aten._remove_batch_dim.default, tensor, 1, batch_size, 0)


@family
def set_storage(device):
    for dtype, into in itertools.product((torch.float32, torch.int64), ((0,), (2, 2))):
        tensor, source = torch.zeros(into, dtype=dtype, device=device), torch.arange(12, device=device).to(dtype)
        storage = source.untyped_storage()
        for change in (aten.set, aten.set_):
            yield call(change.default, tensor.clone())
            yield call(change.source_Storage, tensor.clone(), storage)
            yield call(change.source_Storage, tensor.clone(), torch.UntypedStorage(0, device=device))
            for view in (source, source.view(3, 4).t(), source[2::3], source[:0]):
                yield call(change.source_Tensor, tensor.clone(), view)
            for layout in ((0, [12]), (0, [3, 4], [1, 3]), (2, [2, 3], [4, 1]), (3, [], []), (0, [0, 3], [3, 1])):
                yield call(change.source_Storage_storage_offset, tensor.clone(), storage, *layout)
                if change is aten.set_:
                    yield call(change.source_Tensor_storage_offset, tensor.clone(), source, *layout)


@family
def autograd_metadata(device):
    for tensor in _tensors(device):
        yield call(aten.requires_grad_.default, tensor.clone())
        yield call(aten.requires_grad_.default, tensor.clone(), False)
        for new in (torch.ones_like(tensor), torch.ones(4, 2, device=device).t(), torch.arange(3, device=device)):
            yield call(aten.set_data.default, tensor.clone(), new)
    yield call(aten.requires_grad_.default, torch.arange(3, device=device), False)
