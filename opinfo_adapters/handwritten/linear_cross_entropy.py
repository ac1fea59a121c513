"""A linear layer and the cross entropy of its output in chunks, so that the output is never there as a whole."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run


@family
def batch_chunked(device):
    op = ops.torch_nn._linear_cross_entropy_batch_chunked.default
    target = torch.tensor([0, 2, 4, 1, 3, -100], device=device)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.randn(6, 3, device=device).to(dtype)
        accumulated = torch.float32 if dtype is torch.bfloat16 else dtype
        weight = torch.randn(5, 3, device=device).to(dtype)
        bias, classes = torch.randn(5, device=device).to(dtype), torch.rand(5, device=device).to(dtype)
        for tensor in (x, x.t().contiguous().t()):
            for given, reduction, chunk in ((None, "mean", 2), (bias, "sum", 4), (bias, "mean", 6)):
                for policy in ("balanced", "compact", "accurate"):
                    for flags in ((True, True, given is not None), (False, False, False)):
                        for factors in (None, classes):
                            rest = (reduction, -100, 0.0, chunk, policy, accumulated, False, *flags)
                            yield call(op, tensor, weight, target, given, factors, *rest)
