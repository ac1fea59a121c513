"""Strided nested tensors: making them from lists, buffers, masks and padded tensors, their sizes, padding, and gradients.

Jagged nested tensors are a subclass that decomposes itself in Python: no operator here gets one.
"""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

#: The sizes of the tensors in a nested one; its padded size is their maximum.
_SIZES = ([(2, 3), (4, 3)], [(2, 3), (4, 1), (1, 5)], [(1,), (3,)], [(2, 0), (1, 3)], [(2, 2, 3)], [(3, 1, 4), (2, 1, 4)])


def _list(device, dtype, sizes):
    return [torch.arange(1, 1 + torch.Size(size).numel(), device=device).to(dtype).view(size) for size in sizes]


def _nested(device, dtype, sizes):
    return aten._nested_tensor_from_tensor_list(_list(device, dtype, sizes))


def _ragged(device, dtype):
    """The two of ``_SIZES`` that differ only in the first dimension, as sequences of a batch do, nested and padded."""
    for sizes in (_SIZES[0], _SIZES[5]):
        yield _nested(device, dtype, sizes), torch.randn(len(sizes), *map(max, *sizes), device=device).to(dtype)


@family
def from_a_list(device):
    op = aten._nested_tensor_from_tensor_list.default
    for dtype in (torch.bool, torch.int64, torch.float32):
        for sizes in _SIZES:
            yield call(op, _list(device, dtype, sizes))
    tensors = _list(device, torch.float32, _SIZES[0])
    yield call(op, tensors, torch.float64, torch.strided, torch.device(device), False)
    yield call(op, [tensor.t().contiguous().t() for tensor in tensors])
    yield call(op, [])


@family
def metadata(device):
    attributes = (aten._nested_tensor_size, aten._nested_tensor_strides, aten._nested_tensor_storage_offsets)
    for dtype in (torch.bool, torch.float32):
        for sizes in _SIZES:
            nested = _nested(device, dtype, sizes)
            for tensor in (nested, nested.transpose(1, 2)) if nested.dim() > 2 else (nested,):
                for attribute in attributes:
                    yield call(attribute.default, tensor)
    for sizes in ([[2, 3], [4, 3]], [[2, 0, 3]], [[5]]):
        yield call(aten._nested_compute_contiguous_strides_offsets.default, torch.tensor(sizes))


@family
def from_a_buffer(device):
    for dtype in (torch.int32, torch.float32):
        for sizes in _SIZES:
            nested = _nested(device, dtype, sizes)
            layout = nested._nested_tensor_size(), nested._nested_tensor_strides(), nested._nested_tensor_storage_offsets()
            for op in (aten._nested_view_from_buffer, aten._nested_view_from_buffer_copy):
                yield call(op.default, nested.values().clone(), *layout)
        buffer = torch.arange(20, device=device).to(dtype)
        layout = torch.tensor([[3, 2], [3, 4]]), torch.tensor([[1, 3], [1, 3]]), torch.tensor([1, 8])
        for op in (aten._nested_view_from_buffer, aten._nested_view_from_buffer_copy):
            yield call(op.default, buffer, *layout)


@family
def from_padded(device):
    for dtype in (torch.float32, torch.float16, torch.float64):
        for nested, padded in _ragged(device, dtype):
            yield call(aten._nested_from_padded.default, padded, nested._nested_tensor_size())
            yield call(aten._nested_from_padded_and_nested_example.default, padded, nested)
        heads = torch.randn(2, 2, 4, 3, device=device).to(dtype)
        yield call(aten._nested_from_padded.default, heads, torch.tensor([[2, 6], [4, 6]]), True)


@family
def from_a_mask(device):
    left_aligned = torch.tensor(
        [[True, True, False, False], [True, True, True, True], [True, False, False, False]], device=device
    )
    for dtype in (torch.float32, torch.float64):
        tensor = torch.randn(3, 4, 2, dtype=dtype, device=device)
        for padded in (tensor, tensor.mT.contiguous().mT, tensor[:, :, :0]):
            yield call(aten._nested_tensor_from_mask.default, padded, left_aligned)
            yield call(aten._nested_tensor_from_mask_left_aligned.default, padded, left_aligned)
        yield call(aten._nested_tensor_from_mask.default, tensor, left_aligned.flip(1), mask_check=False)
        yield call(aten._nested_tensor_from_mask_left_aligned.default, tensor, left_aligned.flip(1))


@family
def to_padded(device):
    for dtype in (torch.bool, torch.float32, torch.float64):
        for sizes in _SIZES:
            nested = _nested(device, dtype, sizes)
            yield call(aten.to_padded_tensor.default, nested, 0.0)
            yield call(aten.nested_to_padded_tensor.default, nested, 1.0)
        for op in (aten.to_padded_tensor, aten.nested_to_padded_tensor):
            yield call(op.default, _nested(device, dtype, _SIZES[0]), -1.0, [2, 5, 4])
            yield call(op.default, _nested(device, dtype, _SIZES[0]), 0.0, [3, 4, 3])


@family
def backward(device):
    for dtype in (torch.float32, torch.float64):
        for nested, _ in _ragged(device, dtype):
            for index, tensor in enumerate(nested.unbind()):
                yield call(aten._nested_select_backward.default, torch.ones_like(tensor), nested, 0, index)
            sums = [tensor.sum(-1) for tensor in nested.unbind()]
            yield call(aten._nested_sum_backward.default, aten._nested_tensor_from_tensor_list(sums), nested, [-1])
            kept = aten._nested_tensor_from_tensor_list([tensor.unsqueeze(-1) for tensor in sums])
            yield call(aten._nested_sum_backward.default, kept, nested, [nested.dim() - 1], True)


@family
def products_backward(device):
    for dtype in (torch.float32, torch.float64):
        x = _nested(device, dtype, [(2, 3), (4, 3)])
        grad = _nested(device, dtype, [(2, 5), (4, 5)])
        weight = torch.randn(5, 3, dtype=dtype, device=device)
        for mask in ([True, True, True], [True, True, False], [False, True, False]):
            yield call(aten.linear_backward.default, x, grad, weight, mask)
        other = _nested(device, dtype, [(3, 5), (3, 5)])
        for mask in ([True, True], [True, False], [False, True]):
            yield call(aten.matmul_backward.default, grad, x, other, mask)


@family
def attention_softmax(device):
    for dtype in (torch.float32, torch.float64):
        for sizes in ([(2, 3), (4, 3)], [(1, 2), (1, 2), (3, 2)]):
            length = max(rows for rows, _ in sizes)
            scores = torch.randn(len(sizes), 2, length, length, dtype=dtype, device=device)
            yield call(aten._nested_tensor_softmax_with_shape.default, scores, _nested(device, dtype, sizes))


@family.alone
def into_tensors(device):
    """Forms that return a nested tensor in one that is given. It has no sizes which that could take."""
    out = torch.zeros(0, device=device)
    nested = _nested(device, torch.float32, _SIZES[0])
    layout = nested._nested_tensor_size(), nested._nested_tensor_strides(), nested._nested_tensor_storage_offsets()
    padded = torch.ones(2, 4, 3, device=device)
    yield call(aten._nested_tensor_from_tensor_list.out, _list(device, torch.float32, _SIZES[0]), out=out)
    yield call(aten._nested_tensor_from_mask.out, padded, torch.ones(2, 4, dtype=torch.bool, device=device), out=out)
    yield call(aten._nested_from_padded.out, padded, layout[0], out=out)
    yield call(aten._nested_view_from_buffer_copy.out, nested.values().clone(), *layout, out=out)
