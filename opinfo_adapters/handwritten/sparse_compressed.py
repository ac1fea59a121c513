"""Compressed sparse tensors (CSR, CSC, BSR, BSC): parts, construction, checks, and conversions between layouts."""

import torch

from opinfo_adapters.handwritten import Family, call, ops
from sweep.calls.tensors import parts_of

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

_BLOCK = {torch.sparse_csr: (), torch.sparse_csc: (), torch.sparse_bsr: (2, 1), torch.sparse_bsc: (2, 1)}
_MAKERS = {
    torch.sparse_csr: (aten.sparse_csr_tensor.crow_col_value, aten.sparse_csr_tensor.crow_col_value_size),
    torch.sparse_csc: (aten.sparse_csc_tensor.ccol_row_value, aten.sparse_csc_tensor.ccol_row_value_size),
    torch.sparse_bsr: (aten.sparse_bsr_tensor.crow_col_value, aten.sparse_bsr_tensor.crow_col_value_size),
    torch.sparse_bsc: (aten.sparse_bsc_tensor.ccol_row_value, aten.sparse_bsc_tensor.ccol_row_value_size),
}
_UNCHECKED = {
    torch.sparse_csr: (aten._sparse_csr_tensor_unsafe, aten._validate_sparse_csr_tensor_args),
    torch.sparse_csc: (aten._sparse_csc_tensor_unsafe, aten._validate_sparse_csc_tensor_args),
    torch.sparse_bsr: (aten._sparse_bsr_tensor_unsafe, aten._validate_sparse_bsr_tensor_args),
    torch.sparse_bsc: (aten._sparse_bsc_tensor_unsafe, aten._validate_sparse_bsc_tensor_args),
}


def _by_row(layout):
    return layout in (torch.sparse_csr, torch.sparse_bsr)


def _compress(dense, layout, dense_dim=0):
    """A dense tensor in a layout, with blocks of 2x1 if the layout has blocks."""
    if not _BLOCK[layout]:
        return dense.to_sparse(layout=layout, dense_dim=dense_dim)
    return dense.to_sparse(layout=layout, blocksize=_BLOCK[layout], dense_dim=dense_dim)


def _dense(device, dtype):
    """Dense tensors and their numbers of dense dimensions: a matrix, a batch of two, a hybrid, an empty one, zeros."""
    matrix = torch.tensor([[0, 1, 0], [2, 0, 3], [0, 0, 4], [0, 5, 0]], device=device).to(dtype)
    empty = torch.zeros(0, 3, dtype=dtype, device=device)
    return [
        (matrix, 0),
        (torch.stack([matrix, matrix]), 0),
        (matrix[:, :, None].repeat(1, 1, 2), 1),
        (empty, 0),
        (empty.new_zeros(2, 4), 0),
    ]


def _tensors(device, dtype, layouts=tuple(_BLOCK)):
    return [_compress(dense, layout, dense_dim) for layout in layouts for dense, dense_dim in _dense(device, dtype)]


@family
def parts(device):
    for dtype in (torch.bool, torch.float32):
        for tensor in _tensors(device, dtype):
            yield call(aten._nnz.default, tensor)
            by_row = (aten.crow_indices, aten.col_indices, aten.crow_indices_copy, aten.col_indices_copy)
            by_column = (aten.ccol_indices, aten.row_indices, aten.ccol_indices_copy, aten.row_indices_copy)
            for attribute in by_row if _by_row(tensor.layout) else by_column:
                yield call(attribute.default, tensor)


@family
def construction(device):
    for dtype in (torch.float32, torch.int32):
        given = {} if dtype is torch.float32 else {"dtype": dtype}  # the default is not the dtype of the values
        for tensor in _tensors(device, dtype):
            layout, size, parts = tensor.layout, tensor.shape, tuple(parts_of(tensor).values())
            from_parts, with_size = _MAKERS[layout]
            unsafe, _ = _UNCHECKED[layout]
            if tensor.numel():
                yield call(from_parts, *parts, layout=layout, device=device, **given)
            yield call(with_size, *parts, size, device=device, **given)
            yield call(unsafe.default, *parts, size, **given)
            yield call(unsafe.default, parts[0].int(), parts[1].int(), parts[2], size, layout=layout, device=device, dtype=dtype)


@family
def with_dims(device):
    op = aten._sparse_compressed_tensor_with_dims.default
    for layout, block in _BLOCK.items():
        yield call(op, 0, 0, (4, 3), block, torch.int64, layout=layout, device=device)
        yield call(op, 5, 0, (4, 3), block, torch.int32, layout=layout, dtype=torch.complex64, device=device)
        yield call(op, 2, 1, (2, 4, 3, 2), block, torch.int64, layout=layout, dtype=torch.bool, device=device)


@family
def validation(device):
    for dtype in (torch.int8, torch.float32):
        for tensor in _tensors(device, dtype):
            layout, size, parts = tensor.layout, tensor.shape, tuple(parts_of(tensor).values())
            _, validate = _UNCHECKED[layout]
            yield call(validate.default, *parts, size)
            yield call(validate.default, parts[0].int(), parts[1].int(), parts[2], size, True)
            yield call(aten._validate_sparse_compressed_tensor_args.default, *parts, size, layout)
            yield call(aten._validate_sparse_compressed_tensor_args.default, *parts, size, layout, False)
            compressed, plain, _ = parts
            batch = compressed.dim() - 1
            rows, columns = (n // b for n, b in zip(size[batch : batch + 2], _BLOCK[layout] or (1, 1), strict=True))
            dims = (rows, columns) if _by_row(layout) else (columns, rows)
            yield call(aten._validate_compressed_sparse_indices.default, _by_row(layout), compressed, plain, *dims, tensor._nnz())


@family
def conversion(device):
    """From every layout to all but CSR, which OpInfo's samples cover; of a batch, not from a compressed layout to blocks."""
    to_csc = (aten.to_sparse_csc, aten._to_sparse_csc)
    to_blocks = (aten.to_sparse_bsr, aten._to_sparse_bsr, aten.to_sparse_bsc, aten._to_sparse_bsc)
    for dtype in (torch.bool, torch.float32):
        for dense, dense_dim in _dense(device, dtype):
            matrix = dense.dim() == 2
            for tensor in (dense, dense.to_sparse(), dense.mT.contiguous().mT) if matrix else (dense,):
                for op in to_csc:
                    yield call(op.default, tensor, dense_dim or None)
                for op in to_blocks:
                    yield call(op.default, tensor, (2, 1), dense_dim or None)
            csr, csc, bsr, bsc = (_compress(dense, layout, dense_dim) for layout in _BLOCK)
            for op in to_csc:
                yield call(op.default, csr)
            for tensor in (csr, csc) if matrix or dense_dim else ():
                for op in to_blocks:
                    yield call(op.default, tensor, (2, 1))
            yield call(aten._to_sparse_bsc.default, bsr, (2, 1))
            yield call(aten._to_sparse_bsr.default, bsc, (2, 1))


@family
def indices(device):
    """Only valid indices: the kernels do not check them, and an index out of range would write anywhere."""
    for dtype in (torch.int32, torch.int64):
        sorted_rows = torch.tensor([0, 0, 1, 2], dtype=dtype, device=device)
        crow = torch.tensor([0, 2, 3, 4], dtype=dtype, device=device)
        columns = torch.tensor([0, 1, 1, 0], dtype=dtype, device=device)
        for out_int32 in (False, True):
            yield call(aten._convert_indices_from_coo_to_csr.default, sorted_rows, 3, out_int32=out_int32)
            yield call(aten._convert_indices_from_coo_to_csr.default, sorted_rows[:0], 3, out_int32=out_int32)
            for transpose in (False, True):
                options = {"out_int32": out_int32, "transpose": transpose}
                yield call(aten._convert_indices_from_csr_to_coo.default, crow, columns, **options)
                yield call(aten._convert_indices_from_csr_to_coo.default, crow.repeat(2, 1), columns.repeat(2, 1), **options)


@family
def to_dense(device):
    for dtype in (torch.bool, torch.float16, torch.complex64):
        for tensor in _tensors(device, dtype):
            yield call(aten.to_dense.default, tensor)
            yield call(aten._to_dense.default, tensor, masked_grad=dtype is torch.bool)
            if tensor.dim() == 2:
                grad = torch.ones(tensor.shape, dtype=dtype, device=device)
                yield call(aten.to_dense_backward.default, grad, tensor)
                yield call(aten.to_dense_backward.default, grad, tensor, False)


@family
def resizing(device):
    for layout in _BLOCK:
        dense = torch.eye(4, device=device)
        tensor, other = _compress(dense, layout), _compress(torch.ones(6, 2, device=device), layout)
        for template in (tensor, other, _compress(torch.zeros(2, 2, device=device), layout)):
            yield call(aten.resize_as_sparse.default, tensor, template)
            yield call(aten.resize_as_sparse_.default, tensor.clone(), template)


@family
def products(device):
    for dtype in (torch.float32, torch.complex64):
        dense = torch.randn(3, 2, dtype=dtype, device=device)
        for layout in (torch.sparse_csr, torch.sparse_csc):
            matrix = _compress(_dense(device, dtype)[0][0], layout)
            yield call(aten._sparse_addmm.default, torch.ones(4, 2, dtype=dtype, device=device), matrix, dense)
            yield call(aten._sparse_addmm.default, torch.ones(2, dtype=dtype, device=device), matrix, dense, beta=0.5, alpha=2)
