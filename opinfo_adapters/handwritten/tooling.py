"""Operators of code that torch.compile generates, of the profiler, the debugger and the dispatcher's tests."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run


@family
def inductor(device):
    library = ops.inductor
    pool = torch.zeros(256, device=device, dtype=torch.uint8)
    for dtype, offset in ((torch.float32, 0), (torch.float64, 64), (torch.int64, 8)):
        yield call(library._alloc_from_pool.default, pool, offset, dtype, [2, 3], [3, 1])
    for x in (torch.zeros(4, 3, device=device), torch.zeros(4, 3, device=device, dtype=torch.int64)):
        yield call(library._reinterpret_tensor.default, x, [3, 2], [1, 3], 2)
        yield call(library._reinterpret_tensor.default, x, [12], [1])
        yield call(library.resize_storage_bytes_.default, x.clone(), 0)
        yield call(library.resize_storage_bytes_.default, x.clone(), 256)
    for dtype in (torch.float32, torch.float64):
        a, b = torch.ones(3, 4, device=device, dtype=dtype), torch.ones(4, 2, device=device, dtype=dtype)
        yield call(library._mm_plus_mm.default, a, b, a, b, torch.zeros(3, 2, device=device, dtype=dtype))


@family
def profiler(device):
    library = ops.profiler
    for arguments in (("name",), ("name", "what it is given")):
        handle = yield call(library._record_function_enter.default, *arguments)
        yield call(library._record_function_exit.default, handle)
        record = yield call(library._record_function_enter_new.default, *arguments)
        yield call(library._record_function_exit._RecordFunction, record)


@family
def dispatcher(device):
    for x in (torch.ones(2, 3, device=device), torch.zeros(0, device=device)):
        yield call(ops._test.cat.default, [x, x])
        yield call(ops._test.leaky_relu.default, x)
        yield call(ops._test.leaky_relu.default, x, 0.5)
    yield call(ops._test.get_first.default, [["a", "b"], ["c"]])
    yield call(ops.debug_mode_ops.annotate.default, "tag")
