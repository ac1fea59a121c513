"""Helpers that only derivative formulas call, and a few overloads that samples do not reach."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten
_DTYPES = (torch.float32, torch.float64)


@family
def embeddings(device):
    for dtype in _DTYPES:
        grad = torch.ones(2, 4, dtype=dtype, device=device)
        indices, offsets = torch.tensor([0, 2, 1, 5], device=device), torch.tensor([0, 2], device=device)
        bags, sizes = torch.tensor([0, 0, 1, 1], device=device), torch.tensor([2, 2], device=device)
        most = torch.zeros(0, dtype=torch.int64, device=device)
        for mode in (0, 1):
            arguments = (False, mode, None, -1)
            yield call(aten._embedding_bag_dense_backward.default, grad, indices, bags, sizes, most, 10, *arguments)
            yield call(aten._embedding_bag_sparse_backward.default, grad, indices, offsets, bags, sizes, 10, *arguments)
        yield call(aten.embedding_sparse_backward.default, torch.ones(4, 4, dtype=dtype, device=device), indices, 10, -1, False)


@family
def norms(device):
    for dtype in (*_DTYPES, torch.complex64):
        x = torch.randn(3, 4, dtype=dtype, device=device).to_sparse()
        yield call(aten.native_norm.default, x, 2)
        yield call(aten.native_norm.ScalarOpt_dim_dtype, x, 2, [], False, None)
        matrix = torch.randn(2, 3, 4, dtype=dtype, device=device)
        yield call(aten.nuclear_norm.dim, matrix, [1, 2])
        yield call(aten.nuclear_norm.dim, matrix, [0, 2], True)
        square = torch.eye(3, dtype=dtype, device=device)
        for name in ("fro", "nuc"):
            yield call(aten.linalg_cond.p_str, square, name)


@family
def scalars(device):
    for name, inplace in itertools.product(("_foreach_addcdiv", "_foreach_addcmul"), (False, True)):
        for dtype in _DTYPES:
            lists = [[torch.ones(3, dtype=dtype, device=device), torch.ones(2, 2, dtype=dtype, device=device)] for _ in range(3)]
            packet = getattr(aten, name + "_" * inplace)
            yield call(packet.Tensor, *lists, torch.tensor([1.0, 2.0], dtype=dtype))


@family
def differences(device):
    for dtype in _DTYPES:
        x = torch.randn(4, 5, dtype=dtype, device=device)
        rows, columns = (torch.arange(n, dtype=dtype, device=device) for n in (4, 5))
        yield call(aten.gradient.tensorarrayint, x, spacing=[rows], dim=0)
        yield call(aten.gradient.tensorarray, x, spacing=[rows, columns], dim=[0, 1])
