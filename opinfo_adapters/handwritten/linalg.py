"""Linear algebra that no sample calls: helpers of ``torch.linalg``, and older names of its functions."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

_BATCHES = ((), (2,), (2, 1), (0,))
_REAL = (torch.float32, torch.float64)
_FLOATING = (*_REAL, torch.complex64, torch.complex128)


def _matrices(device, dtype, n=3):
    """Well-conditioned square matrices, the last ones column-major and empty."""
    dense = [torch.randn(*batch, n, n, dtype=dtype, device=device) + 3 * torch.eye(n, device=device) for batch in _BATCHES]
    return [*dense, dense[1].mT, torch.zeros(0, 0, dtype=dtype, device=device)]


@family
def of_a_square_matrix(device):
    for dtype in _FLOATING:
        for matrix in _matrices(device, dtype):
            yield call(aten.slogdet.default, matrix)
            yield call(aten._linalg_eigvals.default, matrix)
            yield call(aten.matrix_exp_backward.default, matrix, torch.ones_like(matrix))


@family
def cholesky_solve(device):
    for dtype, upper in itertools.product(_FLOATING, (False, True)):
        for matrix in _matrices(device, dtype):
            factor = matrix.triu() if upper else matrix.tril()
            for columns in (1, 4):
                right = torch.randn(*matrix.shape[:-1], columns, dtype=dtype, device=device)
                yield call(aten._cholesky_solve_helper.default, right, factor, upper)
        yield call(aten._cholesky_solve_helper.default, torch.ones_like(factor).mT, factor, upper)


@family
def powsum(device):
    for dtype in (torch.bfloat16, *_REAL, torch.complex64):
        dense = torch.randn(2, 3, 4, device=device).to(dtype)
        for x in (dense, dense.transpose(0, 2), dense[:0], dense[0, 0, 0]):
            yield call(aten.linalg__powsum.default, x)
            yield call(aten.linalg__powsum.default, x, 0.5)
            yield call(aten.linalg__powsum.default, x, 3, [-1], True)
        yield call(aten.linalg__powsum.default, dense, 1, [0, 2])
        yield call(aten.linalg__powsum.default, dense, 2, dtype=torch.complex128 if dtype.is_complex else torch.float64)


@family
def vander(device):
    for dtype in (torch.int64, torch.float32, torch.complex64):
        x = torch.arange(1, 5, device=device).to(dtype)
        for vector in (x, x[::2], x[:0]):
            yield call(aten.vander.default, vector)
            for n, increasing in ((2, False), (3, True), (1, True), (0, False)):
                yield call(aten.vander.default, vector, n, increasing)
