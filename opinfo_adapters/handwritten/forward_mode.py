"""Forward-mode automatic differentiation: unpacking dual tensors, with and without a tangent, and kernels below autograd.

Autograd answers ``_make_dual`` itself. The kernel below it is reached in inference mode, in which there are no tangents.
"""

import torch
from torch.autograd import forward_ad

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run


@family
def unpack_dual(device):
    for dtype in (torch.float32, torch.complex64):
        dense = torch.randn(2, 3, dtype=dtype, device=device)
        with forward_ad.dual_level():
            for primal in (dense, dense.t(), dense[:, 1:], dense[:0], dense[0, 0]):
                yield call(ops.aten._unpack_dual.default, primal, 0)
            yield call(ops.aten._unpack_dual.default, forward_ad.make_dual(dense, dense.clone()), 0)


@family.alone
def in_inference_mode(device):
    for dtype in (torch.float32, torch.complex64, torch.int64):
        with torch.inference_mode():
            dense = torch.arange(6, device=device).view(2, 3).to(dtype)
            tensors = dense, dense.t(), dense[:, 1:], dense[:0], dense[0, 0]
        for primal in tensors:
            yield call(ops.aten._fw_primal_copy.default, primal, 0)
            for make in (ops.aten._make_dual, ops.aten._make_dual_copy):
                yield call(make.default, primal, primal, 0)
