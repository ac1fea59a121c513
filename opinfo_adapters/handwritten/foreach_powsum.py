"""``_foreach_powsum``: the sum of powers of each tensor of a list, which a norm over all of them is made from."""

import torch

from opinfo_adapters.handwritten import Family, call

family = Family(__name__)
tasks, run = family.tasks, family.run


@family
def foreach_powsum(device):
    op = torch.ops.aten._foreach_powsum.Scalar
    for dtype in (torch.bfloat16, torch.float32, torch.float64, torch.complex64):
        dense = torch.randn(2, 3, device=device).to(dtype)
        for tensors in ([dense], [dense, dense.t(), dense[:, ::2]], [dense[0, 0], dense[:0], dense[0]]):
            yield call(op, tensors)
            for order in (0, 1, 3.0):
                yield call(op, tensors, order)
        yield call(op, tensors, 2, dtype=torch.complex128 if dtype.is_complex else torch.float64)
