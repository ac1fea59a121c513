"""New tensors from numbers, from a file, or of the size of another tensor."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


@family
def ranges(device):
    for start, end in ((0, 3), (1.5, 4.2), (2, 2), (-3, 0)):
        yield call(aten.range.default, start, end, device=device)
        for dtype in (torch.float64, torch.int64, torch.float16):
            yield call(aten.range.default, start, end, dtype=dtype, device=device)
        for step in (1, 0.5, 10):
            yield call(aten.range.step, start, end, step, device=device)
    yield call(aten.range.step, 5, 0, -2, dtype=torch.int32, device=device)
    yield call(aten.range.step, 1, 0, -0.25, dtype=torch.float64, layout=torch.strided, device=device, pin_memory=False)


@family
def frequencies(device):
    for frequencies in (aten.fft_fftfreq, aten.fft_rfftfreq):
        for length in (0, 1, 8, 9):
            yield call(frequencies.default, length, device=device)
            yield call(frequencies.default, length, 0.5, device=device)
            for dtype in (torch.float64, torch.bfloat16):
                yield call(frequencies.default, length, 2.0, dtype=dtype, device=device)


@family
def from_file(device):
    if torch.device(device).type != "cpu":
        return
    for dtype in (None, torch.float64, torch.uint8, torch.bool):
        kwargs = {} if dtype is None else {"dtype": dtype}
        for shared in (True, False, None):  # a shared file is created if it does not exist, and the other calls open it
            yield call(aten.from_file.default, "values", shared, 6, **kwargs)
            yield call(aten.from_file.default, "values", shared, 1, **kwargs)


@family
def after_another(device):
    dense = torch.randn(2, 3, 4, device=device)
    for tensor in (dense, dense.transpose(0, 2), dense.to(torch.int64), dense[:0], dense[:, ::2]):
        for dim in (0, 2, -2):
            yield call(aten._dim_arange.default, tensor, dim)
        op = aten._new_zeros_with_same_feature_meta.default
        yield call(op, dense, tensor)
        yield call(op, tensor, dense[0, 0])
        yield call(op, dense, tensor, self_num_batch_dims=1)
        yield call(op, dense, tensor[0] if len(tensor) else tensor, self_num_batch_dims=3)
