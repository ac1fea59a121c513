"""Streams and events in code that ``torch.compile`` generates, which refers to them by index, and copies that overlap with it.

Their table has a stream and an event of the device (see ``sweep.operators.required_state``). The CPU's only stream can be waited
for; to record an event, to switch streams and to copy beside another stream takes an accelerator.
"""

import torch

from opinfo_adapters.handwritten import Family, call, ops
from sweep.operators.required_state import EVENT, STREAM

family = Family(__name__)
tasks, run = family.tasks, family.run


@family.alone
def streams(device):
    library = ops.streams
    place = torch.device(device)
    yield call(library.synchronize_stream.default, STREAM)
    yield call(library.wait_stream.default, STREAM, STREAM)
    yield call(library.fork.default, STREAM, STREAM)
    yield call(library.join.default, STREAM, STREAM)
    yield call(library.synchronize_device.default, place.type, place.index or 0)
    for dtype in (torch.float32, torch.int64):
        for tensor in (torch.zeros(2, 3, device=device, dtype=dtype), torch.zeros(3, 2, device=device, dtype=dtype).t()):
            yield call(library.record_stream.default, tensor, STREAM)


@family.alone
def events(device):
    library = ops.streams
    yield call(library.record_event.default, EVENT, STREAM)
    yield call(library.wait_event.default, EVENT, STREAM)
    yield call(library.synchronize_event.default, EVENT)
    for dtype in (torch.float32, torch.int64):
        dense = torch.zeros(2, 3, device=device, dtype=dtype)
        for tensor in (dense, dense.t(), dense[:, 1:], dense[:0]):
            yield call(library.sync_dealloc.default, EVENT, STREAM, tensor)


@family.alone
def offloading(device):
    for dtype in (torch.float32, torch.int64):
        offloaded = yield call(ops.ao.offload.default, torch.ones(2, 3, device=device, dtype=dtype))
        yield call(ops.ao.wait_tensor.default, torch.ones(2, 3, dtype=dtype) if offloaded is None else offloaded)
        yield call(ops.ao.reload.default, torch.ones(2, 3, dtype=dtype), torch.device(device))
