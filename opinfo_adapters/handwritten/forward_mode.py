"""Forward-mode automatic differentiation: unpacking dual tensors, with and without a tangent."""

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
