"""Random numbers: distributions, and integers of a range, with the default generator of the device and with another one."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

_SIZES = ((), (0, 3), (5,), (2, 3))


def _positive(device, dtype):
    """Tensors of positive numbers, the last one not contiguous."""
    dense = [torch.rand(size, device=device).add(0.5).to(dtype) for size in _SIZES]
    return [*dense, dense[-1].t()]


@family
def poisson(device):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for rate in _positive(device, dtype):
            yield call(aten.poisson.default, rate)
        yield call(aten.poisson.default, rate, torch.Generator(device))


@family
def binomial(device):
    for dtype in (torch.float32, torch.float64):
        for count in _positive(device, dtype):
            probability = torch.rand_like(count)
            yield call(aten.binomial.default, count.mul(10).floor(), probability)
        yield call(aten.binomial.default, count.floor(), probability, generator=torch.Generator(device))


@family
def dirichlet(device):
    for dtype in (torch.float32, torch.float64):
        for size in ((4,), (2, 3), (0, 3), (2, 1, 3)):
            alpha = torch.rand(size, device=device, dtype=dtype).add(0.5)
            total = alpha.sum(-1, keepdim=True).expand(size)
            for concentration in (alpha, alpha.mT.contiguous().mT) if alpha.dim() > 1 else (alpha,):
                yield call(aten._sample_dirichlet.default, concentration)
                yield call(aten._dirichlet_grad.default, alpha / total, concentration, total)
        yield call(aten._sample_dirichlet.default, alpha, torch.Generator(device))


@family
def integers(device):
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64):
        dense = [torch.zeros(size, dtype=dtype, device=device) for size in _SIZES]
        for tensor in (*dense, dense[-1].t(), dense[-1][:, ::2]):
            for fill in (aten.random, aten.random_):
                yield call(fill.default, tensor.clone())
                yield call(fill.to, tensor.clone(), 2)
                yield call(getattr(fill, "from"), tensor.clone(), 0, None)
                yield call(getattr(fill, "from"), tensor.clone(), 0 if dtype in (torch.bool, torch.uint8) else -7, 2)
    tensor = torch.zeros(2, 3, dtype=torch.int32, device=device)
    for fill in (aten.random, aten.random_):
        yield call(fill.default, tensor.clone(), generator=torch.Generator(device))
        yield call(fill.to, tensor.clone(), 2**31 - 1, generator=torch.Generator(device))
        yield call(getattr(fill, "from"), tensor.clone(), -1, 5, generator=torch.Generator(device))


@family
def randperm(device):
    for length, dtype in itertools.product((0, 1, 7), (None, torch.int32, torch.uint8, torch.float16)):
        kwargs = {"device": device} if dtype is None else {"device": device, "dtype": dtype}
        yield call(aten.randperm.default, length, **kwargs)
        yield call(aten.randperm.generator, length, generator=torch.Generator(device), **kwargs)
        yield call(aten.randperm.generator, length, generator=None, **kwargs)


@family
def rrelu(device):
    op = aten.rrelu_with_noise_functional.default
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        for size in _SIZES:
            x = torch.randn(size, device=device).to(dtype)
            noise = torch.zeros_like(x)
            yield call(op, x, noise)
            yield call(op, x, noise, 0.1, 0.3, True)
    yield call(op, x.t(), noise.t(), 0.1, 0.1, True, torch.Generator(device))


@family.alone
def philox(device):
    key = torch.tensor(1, device=device), torch.tensor(0, device=device)
    yield call(ops.rngprims.philox_rand.default, [2, 3], *key, None, torch.device(device), torch.float32)
