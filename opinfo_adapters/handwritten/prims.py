"""Primitives that no reference implementation reaches: new tensors, moving data, tokens, and the limits of a dtype."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

prims = ops.prims

_DTYPES = (torch.bool, torch.int32, torch.bfloat16, torch.float64, torch.complex64)


@family
def new(device):
    place = torch.device(device)
    for dtype in _DTYPES:
        value = True if dtype is torch.bool else 3
        for shape in ([], [0, 2], [2, 3, 4]):
            backwards = list(range(len(shape)))[::-1]
            for grad in (False, True) if dtype.is_floating_point or dtype.is_complex else (False,):
                kwargs = {"dtype": dtype, "device": place, "requires_grad": grad}
                yield call(prims.empty.default, shape, **kwargs)
                yield call(prims.empty_permuted.default, shape, backwards, **kwargs)
                yield call(prims.full.default, shape, value, **kwargs)
                for like in (torch.zeros(shape, device=device), torch.empty_permuted(shape, backwards, device=device).zero_()):
                    yield call(prims.full_like.default, like, value, **kwargs)
    yield call(prims.empty_permuted.default, [2, 3, 4], [1, 2, 0], dtype=torch.float32, device=place, requires_grad=False)


@family
def shapes(device):
    for dtype in (torch.float32, torch.int64):
        x = torch.arange(24, device=device).to(dtype).view(2, 3, 4)
        for tensor in (x, x.transpose(0, 2), x[:, ::2], x[:0]):
            yield call(prims.reshape.default, tensor, [tensor.numel()])
            yield call(prims.reshape.default, tensor, [1, *tensor.shape])
            yield call(prims.reshape.default, tensor, list(tensor.shape[::-1]))
            yield call(prims.copy_strided.default, tensor, [1, tensor.size(0), tensor.size(0) * tensor.size(1)])
            yield call(prims.copy_strided.default, tensor, list(tensor.stride()))
            for shape in ([2, 3], [tensor.numel()], [0], [5, 5]):
                yield call(prims.resize.default, tensor.clone(memory_format=torch.contiguous_format), shape)
            for start, end in ((0, 1), (1, 2), (0, 2), (1, 1)):
                yield call(prims.collapse.default, tensor, start, end)


@family
def values(device):
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        x = torch.linspace(-8, 8, 6, device=device).to(dtype).view(2, 3)
        for tensor in (x, x.t(), x[:, ::2], x[:0], x[0, 0]):
            yield call(prims.cbrt.default, tensor)
    for dtype in (*_DTYPES[:-1], torch.uint8, torch.float32):
        yield call(prims.maximum_value.default, dtype)
        yield call(prims.minimum_value.default, dtype)


@family
def movement(device):
    place = torch.device(device)
    x = torch.randn(2, 3, device=device)
    for tensor in (x, x.t(), x[:, ::2], x.to(torch.int64), x[:0], x[0, 0]):
        yield call(prims.device_put.default, tensor, place)
        yield call(prims.device_put.default, tensor, torch.device("cpu"), True)
        yield call(prims.device_put.default, tensor.cpu(), place, False)


@family
def tokens(device):
    token = yield call(prims._make_token.default)
    for tokens in ([], [token], [token, torch.empty(0)]):
        yield call(prims._sink_tokens.default, tokens)


@family
def inductor(device):
    """What Inductor's decompositions put in place of random operators; the device's own generator gives the numbers."""
    seeds = yield call(prims.inductor_seeds.default, 3, torch.device(device))
    for size in ([], [0], [2, 3], [4, 1, 2]):
        for mode in ("rand", "randn"):
            yield call(prims.inductor_random.default, size, seeds[0], mode)
        yield call(prims.inductor_randint.default, -3, 7, size, seeds[1])
    for kernel, stride, padding, dilation in (([2, 2], [2, 2], [0, 0], [1, 1]), ([3, 2], [2, 1], [1, 0], [1, 2])):
        for x in (torch.randn(2, 3, 8, 8, device=device), torch.randn(3, 8, 8, device=device).transpose(1, 2)):
            for ceil in (False, True):
                window = (kernel, stride, padding, dilation)
                pooled = yield call(prims._low_memory_max_pool_with_offsets.default, x, *window, ceil)
                if pooled is not None:
                    rest = (kernel, list(x.shape[-2:]), stride, padding, dilation)
                    yield call(prims._low_memory_max_pool_offsets_to_indices.default, pooled[1], *rest)


@family.alone
def only_in_inductor(device):
    yield call(prims.xor_sum.default, torch.arange(6, device=device).view(2, 3), [0])
