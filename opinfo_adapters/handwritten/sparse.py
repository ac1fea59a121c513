"""Sparse tensors: what only COO and compressed ones can be asked and told, in every layout, and the operators between them."""

import torch

from opinfo_adapters.handwritten import Family, call

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = torch.ops.aten
_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
_DTYPES = (torch.float32, torch.float64, torch.complex64)


def _dense(*size, dtype=torch.float32, device="cpu"):
    """A tensor with every third element zero."""
    count = torch.Size(size).numel()
    values = torch.arange(1, count + 1, device=device)
    return (values * (values % 3 != 0)).reshape(size).to(dtype)


def _coo(*size, dtype=torch.float32, device="cpu", sparse_dim=None):
    return _dense(*size, dtype=dtype, device=device).to_sparse(sparse_dim or len(size))


def _compressed(layout, dtype=torch.float32, device="cpu"):
    block = (2, 2) if layout in (torch.sparse_bsr, torch.sparse_bsc) else None
    return _dense(4, 6, dtype=dtype, device=device).to_sparse(layout=layout, blocksize=block)


@family
def coo(device):
    for dtype in _DTYPES:
        for x in (_coo(4, 6, dtype=dtype, device=device), _coo(2, 3, 4, dtype=dtype, device=device, sparse_dim=2)):
            for packet in (aten._dimI, aten._dimV, aten._nnz, aten.sparse_dim, aten.dense_dim):
                yield call(packet.default, x)
            yield call(aten._to_dense.default, x)
            yield call(aten.copy_sparse_to_sparse_.default, x.clone(), x)
            yield call(aten.resize_as_sparse_.default, torch.sparse_coo_tensor(x.shape, dtype=dtype, device=device), x)
            size = [s + 1 for s in x.shape]
            yield call(aten.sparse_resize_.default, torch.sparse_coo_tensor(x.shape, dtype=dtype, device=device), size, *_dims(x))
            yield call(aten.sparse_resize_and_clear_.default, x.clone(), size, *_dims(x))
            mask = _coo(*x.shape, dtype=dtype, device=device, sparse_dim=x.sparse_dim()).coalesce()
            yield call(aten._sparse_mask_projection.default, x, mask)
            yield call(aten._sparse_mask_projection.default, x, mask, True)
            yield call(aten._validate_sparse_coo_tensor_args.default, x._indices(), x._values(), list(x.shape))
        options = {"dtype": dtype, "device": device, "layout": torch.sparse_coo}
        yield call(aten._sparse_coo_tensor_with_dims.default, 2, 0, [3, 4], **options)
        yield call(aten._sparse_coo_tensor_with_dims.default, 1, 1, [3, 4], **options)


def _dims(x):
    return x.sparse_dim(), x.dense_dim()


@family
def compressed(device):
    for layout in _COMPRESSED:
        for dtype in _DTYPES:
            x = _compressed(layout, dtype, device)
            rows = layout in (torch.sparse_csr, torch.sparse_bsr)
            names = ("crow_indices", "col_indices") if rows else ("ccol_indices", "row_indices")
            for name in names:
                yield call(getattr(aten, name).default, x)
                yield call(getattr(aten, f"{name}_copy").default, x)
            yield call(aten._nnz.default, x)
            yield call(aten._to_dense.default, x)
            parts = (getattr(x, names[0])(), getattr(x, names[1])(), x.values())
            yield call(aten._validate_sparse_compressed_tensor_args.default, *parts, list(x.shape), layout)
            short = str(layout).removeprefix("torch.sparse_")
            yield call(getattr(aten, f"_validate_sparse_{short}_tensor_args").default, *parts, list(x.shape))
            packet = getattr(aten, f"sparse_{short}_tensor")
            options = {"dtype": dtype, "device": device}
            for overload in packet.overloads():
                size = [list(x.shape)] if overload.endswith("size") else []
                yield call(getattr(packet, overload), *parts, *size, **options)
            plain, blocked = (x.shape[0], x.shape[1]), layout in (torch.sparse_bsr, torch.sparse_bsc)
            if not blocked:
                arguments = (rows, *parts[:2], *(plain if rows else plain[::-1]), x._nnz())
                yield call(aten._validate_compressed_sparse_indices.default, *arguments)
            options = {"dtype": dtype, "device": device, "layout": layout}
            block = [2, 2] if blocked else []
            yield call(aten._sparse_compressed_tensor_with_dims.default, 0, 0, [4, 6], block, torch.int64, **options)


@family
def products(device):
    for dtype in _DTYPES:
        x, y = _coo(4, 6, dtype=dtype, device=device), _dense(6, 3, dtype=dtype, device=device)
        yield call(aten.hspmm.default, x, y)
        yield call(aten.smm.default, x, y)
        yield call(aten.sspaddmm.default, _coo(4, 3, dtype=dtype, device=device), x, y)
        yield call(aten.sspaddmm.default, _coo(4, 3, dtype=dtype, device=device), x, y, beta=2, alpha=3)
        yield call(aten._sparse_sparse_matmul.default, x, y.to_sparse())
        grad = _dense(4, dtype=dtype, device=device)
        yield call(aten._sparse_sum_backward.default, grad.to_sparse(), x, [1])
        yield call(aten._sparse_sum_backward.default, _dense(6, dtype=dtype, device=device).to_sparse(), x, [0])
        offsets = torch.tensor([0, 1], device=device)
        yield call(aten._spdiags.default, _dense(2, 4, dtype=dtype, device=device), offsets, [4, 4])
        yield call(aten._spdiags.default, _dense(2, 4, dtype=dtype, device=device), offsets, [4, 4], torch.sparse_csr)


@family
def softmax(device):
    for dtype in (torch.float32, torch.float64):
        for x in (_coo(4, 6, dtype=dtype, device=device), _coo(2, 3, 4, dtype=dtype, device=device, sparse_dim=2)):
            for name in ("_sparse_softmax", "_sparse_log_softmax"):
                packet = getattr(aten, name)
                for dim in (0, 1):
                    yield call(packet.default, x, dim, False)
                    yield call(packet.int, x, dim)
                    yield call(packet.int, x, dim, torch.float64)
                    output = getattr(torch.sparse, name.removeprefix("_sparse_"))(x, dim)
                    yield call(getattr(aten, f"{name}_backward_data").default, x, output, dim, x)
