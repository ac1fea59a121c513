"""Assertions that hold: about values, metadata and the range of a size, with and without the token that orders them."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


@family
def values(device):
    token = torch.zeros((), device=device)
    for value in (1, True, 2.5, -1):
        yield call(aten._assert_scalar.default, value, "value")
        yield call(aten._functional_assert_scalar.default, value, "value", token)
    for value in (1, True, 2.5, 1j):
        yield call(aten._functional_assert_async.msg, torch.tensor(value, device=device), "value", token)
    yield call(aten._functional_assert_async.msg, torch.ones(1, 1, dtype=torch.bfloat16, device=device), "", token)


@family
def metadata(device):
    op, place = aten._assert_tensor_metadata.default, torch.device(device)
    dense = torch.zeros(2, 3, device=device)
    for tensor in (dense, dense.t(), dense[:, ::2].to(torch.int64), torch.tensor(1.0, device=device), dense[:0]):
        yield call(op, tensor)
        yield call(op, tensor, list(tensor.shape))
        yield call(op, tensor, None, list(tensor.stride()))
        yield call(op, tensor, None, None, tensor.dtype)
        yield call(op, tensor, list(tensor.shape), list(tensor.stride()), tensor.dtype, layout=torch.strided)
        if place.type == "cpu" or place.index is not None:
            yield call(op, tensor, device=place, layout=tensor.layout)
    yield call(op, dense.to_sparse(), None, None, torch.float32, layout=torch.sparse_coo)


@family
def ranges(device):
    token = torch.zeros((), device=device)
    for limits in ((None, None), (0, None), (None, 8), (2, 8), (5, 5)):
        for functional in (aten._functional_sym_constrain_range, aten._functional_sym_constrain_range_for_size):
            yield call(functional.default, 5, *limits, token)
        for check in (aten.sym_constrain_range, aten.sym_constrain_range_for_size):
            yield call(check.default, 5, min=limits[0], max=limits[1])
    yield call(aten.sym_constrain_range.default, -3, min=-4, max=0)


@family
def tokens(device):
    yield call(aten._make_dep_token.default)
    yield call(aten._make_dep_token.default, device=device)
    yield call(aten._make_dep_token.default, dtype=torch.float64, layout=torch.strided, device=device, pin_memory=False)


@family
def printing(device):
    for text in ("", "printed\n"):
        yield call(aten._print.default, text)
