"""Copies that change only the dtype, the device or the memory."""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

_CASTS = ("_cast_Byte", "_cast_Char", "_cast_Double", "_cast_Float", "_cast_Half", "_cast_Int", "_cast_Long", "_cast_Short")


def _tensors(device):
    dense = torch.arange(6.0, device=device).view(2, 3)
    return [
        dense,
        dense.t(),
        dense[:, ::2],
        torch.zeros(1, 3, 2, 2, device=device).contiguous(memory_format=torch.channels_last),
        dense[0].expand(2, 3),
        dense.to(torch.int64),
        dense > 2,
        dense.to(torch.complex64).conj(),
        torch.empty(0, 3, dtype=torch.float64, device=device),
        torch.tensor(2, dtype=torch.uint8, device=device),
    ]


@family
def casts(device):
    real = [t for t in _tensors(device) if not t.is_complex()]
    for name, tensor in itertools.product(_CASTS, real):
        yield call(getattr(aten, name).default, tensor)
        yield call(getattr(aten, name).default, tensor, True)


@family
def autocast(device):
    is_cuda = torch.device(device).type == "cuda"
    reduced, full = aten._autocast_to_reduced_precision.default, aten._autocast_to_full_precision.default
    for tensor, enabled in itertools.product(_tensors(device), (True, False)):
        flags = (enabled and is_cuda, enabled and not is_cuda)
        for dtype in (torch.bfloat16, torch.float16):
            yield call(reduced, tensor, *flags, torch.float16, dtype)
            yield call(full, tensor.to(dtype), *flags)


@family
def clones(device):
    for copy in (aten.lift, aten.lift_fresh, aten.lift_fresh_copy, aten._lazy_clone, aten._foobar):
        for tensor in _tensors(device):
            yield call(copy.default, tensor)
    yield call(aten._foobar.default, torch.zeros(2, device=device), False, arg3=False)


@family
def to_cpu(device):
    tensors = _tensors(device)
    for these in ([], tensors[:1], tensors):
        yield call(aten._to_cpu.default, these)


@family
def reshapes(device):
    for tensor in _tensors(device):
        yield call(aten._reshape_copy.default, tensor, [-1] if tensor.numel() else [0])
        yield call(aten._reshape_copy.default, tensor, [1, *tensor.shape])
        yield call(aten._reshape_copy.default, tensor, list(tensor.shape[::-1]))
    for size, shape in (((2, 3), [3, -1]), ((6,), [1, 6]), ((0, 2), [2, 0]), ((1,), [])):
        for dtype in (torch.float32, torch.int64):
            tensor = torch.zeros(size, dtype=dtype, device=device)
            yield call(aten._reshape_from_tensor.default, tensor, torch.tensor(shape, dtype=torch.int64))


@family
def pinned(device):
    if torch.device(device).type == "cpu":
        return  # memory is only pinned for an accelerator
    for size in ((2, 3), (0,), ()):
        yield call(aten._pin_memory.default, torch.zeros(size))
        yield call(aten.pin_memory.default, torch.zeros(size))
