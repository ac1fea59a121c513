"""Sparse COO tensors: parts, construction, copies, resizing, conversions, softmax, products, and sparse gradients."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


def _coo(device, dtype, size, indices, dense=(), is_coalesced=True):
    """A tensor with values 1, 2, ... at some coordinates, which are sorted if it is coalesced."""
    at = torch.tensor(indices, dtype=torch.int64, device=device).view(len(indices), len(size)).t().contiguous()
    values = torch.arange(1, 1 + at.shape[1] * torch.Size(dense).numel(), device=device).to(dtype).view(at.shape[1], *dense)
    return torch.sparse_coo_tensor(at, values, (*size, *dense), is_coalesced=is_coalesced, check_invariants=True)


def _matrices(device, dtype):
    """3x4 matrices: coalesced, with a coordinate that occurs twice, and without any element."""
    return [
        _coo(device, dtype, (3, 4), [(0, 1), (1, 0), (1, 3), (2, 2)]),
        _coo(device, dtype, (3, 4), [(2, 0), (0, 1), (2, 0)], is_coalesced=False),
        _coo(device, dtype, (3, 4), []),
    ]


def _tensors(device, dtype):
    """Tensors of every rank, hybrid ones included."""
    return [
        *_matrices(device, dtype),
        _coo(device, dtype, (3,), [0, 2], dense=(2, 2)),
        _coo(device, dtype, (3, 2), [(0, 1), (2, 0), (2, 0)], dense=(2,), is_coalesced=False),
        _coo(device, dtype, (2, 2, 2), [(0, 0, 1), (1, 1, 0)]),
        _coo(device, dtype, (0, 3), []),
        _coo(device, dtype, (), [()]),
    ]


@family
def parts(device):
    for dtype in (torch.bool, torch.int64, torch.float32):
        for tensor in _tensors(device, dtype):
            for attribute in (aten._dimI, aten._dimV, aten._nnz, aten.sparse_dim, aten.dense_dim):
                yield call(attribute.default, tensor)


@family
def construction(device):
    for size, sparse_dim, dtype in itertools.product(((2, 3), (0, 4), (2, 3, 1)), (0, 1, 2), (None, torch.float64, torch.bool)):
        kwargs = {"device": device, "layout": torch.sparse_coo} if dtype is None else {"device": device, "dtype": dtype}
        dims = (sparse_dim, len(size) - sparse_dim)
        yield call(aten._sparse_coo_tensor_with_dims.default, *dims, size, **{"layout": torch.sparse_coo, **kwargs})
    for dtype in (torch.int8, torch.complex64):
        for tensor in _tensors(device, dtype):
            args = tensor._indices(), tensor._values(), tensor.shape
            yield call(aten._validate_sparse_coo_tensor_args.default, *args)
            yield call(aten._validate_sparse_coo_tensor_args.default, *args, False, check_pinning=False)
            if tensor.is_coalesced():
                yield call(aten._validate_sparse_coo_tensor_args.default, *args, True, True)


@family
def diagonals(device):
    if torch.device(device).type != "cpu":
        return
    for dtype, layout in ((torch.int64, None), (torch.float32, torch.sparse_csr), (torch.float64, torch.sparse_csc)):
        rows = torch.arange(12, device=device).to(dtype).view(3, 4)
        for shape in ((3, 3), (4, 6), (5, 3)):
            yield call(aten._spdiags.default, rows, torch.tensor([-1, 0, 2]), shape, layout)
        yield call(aten._spdiags.default, rows.t()[:2], torch.tensor([1, 0]), (3, 4), layout)
        yield call(aten._spdiags.default, rows[0], torch.tensor(-1), (4, 4), layout)


@family
def copying(device):
    for dtype in (torch.int32, torch.float32):
        for own, source in itertools.product(_matrices(device, dtype), _matrices(device, torch.float64)):
            yield call(aten.copy_sparse_to_sparse.default, own, source, True)
            yield call(aten.copy_sparse_to_sparse_.default, own.clone(), source)
        for tensor in _tensors(device, dtype):
            yield call(aten.copy_sparse_to_sparse.default, tensor, tensor.clone())


@family
def resizing(device):
    for dtype in (torch.float32, torch.int64):
        matrix, _, empty = _matrices(device, dtype)
        hybrid = _coo(device, dtype, (3,), [0, 2], dense=(2, 2))
        scalar = _coo(device, dtype, (), [()])
        for op in (aten.sparse_resize, aten.sparse_resize_, aten.sparse_resize_and_clear, aten.sparse_resize_and_clear_):
            yield call(op.default, matrix.clone(), (3, 4), 2, 0)
            yield call(op.default, matrix.clone(), (5, 4), 2, 0)
            yield call(op.default, hybrid.clone(), (4, 2, 3), 1, 2)
            yield call(op.default, empty.clone(), (2, 0, 3), 1, 2)
            yield call(op.default, scalar.clone(), (), 0, 0)
        for op in (aten.sparse_resize_and_clear, aten.sparse_resize_and_clear_):
            yield call(op.default, matrix.clone(), (2, 2), 2, 0)
            yield call(op.default, hybrid.clone(), (2, 2, 3), 2, 1)
        for op in (aten.resize_as_sparse, aten.resize_as_sparse_):
            for tensor, template in itertools.product((matrix, empty, hybrid), (matrix, hybrid, _coo(device, dtype, (4, 5), []))):
                if not tensor._nnz() or tensor.sparse_dim() == template.sparse_dim():
                    yield call(op.default, tensor.clone(), template)


@family
def to_dense(device):
    for dtype in (torch.bool, torch.float16, torch.complex64):
        for tensor in _tensors(device, dtype):
            for op in (aten.to_dense, aten._to_dense):
                yield call(op.default, tensor, masked_grad=None if tensor.is_coalesced() else False)
            grad = torch.ones(tensor.shape, dtype=dtype, device=device)
            for masked_grad in (None, True, False) if dtype is torch.complex64 else (None,):
                yield call(aten.to_dense_backward.default, grad, tensor, masked_grad)
    dense = torch.randn(2, 3, device=device)
    yield call(aten.to_dense.default, dense)
    yield call(aten.to_dense.default, dense.t(), torch.float64)
    yield call(aten.to_dense_backward.default, dense, dense.t().contiguous().t())
    if torch.device(device).type == "cpu" and torch.backends.mkldnn.is_available():
        packed = dense.to_mkldnn()
        yield call(aten.to_dense.default, packed)
        yield call(aten._to_dense.default, packed)
        yield call(aten.to_dense_backward.default, dense, packed)


@family
def softmax(device):
    forward = aten._sparse_softmax, aten._sparse_log_softmax
    backward = aten._sparse_softmax_backward_data, aten._sparse_log_softmax_backward_data
    for dtype in (torch.float32, torch.float64):
        for tensor in _tensors(device, dtype)[:-1]:
            for dim in range(tensor.dim()):
                for op, gradient in zip(forward, backward, strict=True):
                    output = yield call(op.default, tensor, dim, False)
                    yield call(op.int, tensor, dim)
                    if output is not None:
                        yield call(gradient.default, output.clone(), output, dim, tensor)
        yield call(aten._sparse_softmax.int, _matrices(device, torch.float32)[0], -1, dtype)
        yield call(aten._sparse_log_softmax.int, _matrices(device, torch.float32)[0], -2, dtype)
    one, other, _ = _matrices(device, torch.float32)
    for gradient in backward:
        yield call(gradient.default, other.coalesce(), one, 1, one)


@family
def products(device):
    for dtype in (torch.float32, torch.float64, torch.complex64):
        for left, right in itertools.product(_matrices(device, dtype), repeat=2):
            yield call(aten._sparse_sparse_matmul.default, left, right.t())
        for matrix in _matrices(device, dtype):
            dense = torch.randn(4, 2, dtype=dtype, device=device)
            yield call(aten.hspmm.default, matrix, dense)
            yield call(aten.smm.default, matrix, dense)
            for added in (_coo(device, dtype, (3, 2), [(0, 1), (2, 0)]), _coo(device, dtype, (3, 2), [])):
                yield call(aten.sspaddmm.default, added, matrix, dense)
                yield call(aten.sspaddmm.default, added, matrix, dense, beta=2, alpha=3)
            yield call(aten._sparse_addmm.default, torch.ones(3, 2, dtype=dtype, device=device), matrix, dense)
            yield call(aten._sparse_addmm.default, torch.ones(2, dtype=dtype, device=device), matrix, dense, beta=0.5, alpha=2)
            yield call(aten._sparse_addmm.default, torch.ones(3, 1, dtype=dtype, device=device), matrix, dense[:, :0], beta=0)


@family
def mask_projection(device):
    for dtype in (torch.float32, torch.float64):
        for tensor, mask in itertools.product((m.coalesce() for m in _matrices(device, dtype)), repeat=2):
            for accumulate_matches in (False, True):
                yield call(aten._sparse_mask_projection.default, tensor, mask, accumulate_matches)
        hybrid = _coo(device, dtype, (3,), [0, 2], dense=(2,))
        yield call(aten._sparse_mask_projection.default, hybrid, _coo(device, dtype, (3,), [1, 2], dense=(2,)))


@family
def sum_backward(device):
    for dtype, tensors in ((torch.float32, _tensors), (torch.float64, _matrices)):
        for tensor in tensors(device, dtype)[:6]:
            for count in range(1, tensor.dim() + 1):
                for dim in itertools.combinations(range(tensor.dim()), count):
                    grad = aten._sparse_sum.dim(tensor.coalesce(), dim)
                    yield call(aten._sparse_sum_backward.default, grad.coalesce() if grad.is_sparse else grad, tensor, dim)


@family
def gather_backward(device):
    for dtype in (torch.float32, torch.complex128):
        tensor = torch.zeros(3, 4, dtype=dtype, device=device)
        index = torch.tensor([[0, 1], [1, 3], [0, 0]], device=device)
        grad = torch.randn(2, 3, dtype=dtype, device=device).t()
        yield call(aten._gather_sparse_backward.default, tensor, 1, index, grad)
        yield call(aten._gather_sparse_backward.default, tensor, -2, index[:2].clamp(max=2), grad[:2])
        yield call(aten._gather_sparse_backward.default, tensor, 0, index[:0], grad[:0])
        yield call(aten._gather_sparse_backward.default, tensor[0, 0], 0, index[0, 0], grad[0, 0])
        yield call(aten._gather_sparse_backward.default, tensor[0], 0, index[0, 1], grad[0, 0])


@family
def embedding_backward(device):
    for dtype in (torch.float32, torch.float64):
        for size in ((4,), (2, 2), (1,), (0,)):
            indices = torch.arange(torch.Size(size).numel(), device=device).view(size)
            for padding_idx in (-1, 1):
                grad = torch.randn(*size, 3, dtype=dtype, device=device)
                yield call(aten.embedding_sparse_backward.default, grad, indices, 5, padding_idx, False)


@family
def embedding_bag_backward(device):
    op = aten._embedding_bag_sparse_backward.default
    sizes = torch.tensor([2, 0, 3], device=device)
    offsets, bags = sizes.cumsum(0) - sizes, torch.arange(3, device=device).repeat_interleave(sizes)
    indices = torch.tensor([1, 4, 0, 1, 1], device=device)
    for dtype in (torch.float32, torch.float64):
        grad, weights = torch.randn(3, 2, dtype=dtype, device=device), torch.rand(5, dtype=dtype, device=device)
        for mode, padding_idx in itertools.product((0, 1), (-1, 1)):
            yield call(op, grad, indices, offsets, bags, sizes, 6, False, mode, None, padding_idx)
        yield call(op, grad, indices, offsets, bags, sizes, 6, False, 0, weights)
        yield call(op, grad, indices.int(), offsets.int(), bags.int(), sizes.int(), 6, False, 1, None)
        yield call(op, grad[:1], indices[:0], offsets[:1], bags[:0], sizes[1:2], 6, False, 0, None)
