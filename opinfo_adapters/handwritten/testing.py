"""``aten::_test_*``: operators for PyTorch's own tests of code generation, autograd and dispatch."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten


def _tensors(device):
    dense = torch.arange(6.0, device=device).view(2, 3)
    return dense, dense.t(), dense[:0], dense[0, 0].double(), dense[:, ::2].to(torch.complex64), dense.bfloat16()


@family
def of_a_tensor(device):
    for tensor in _tensors(device):
        yield call(aten._test_autograd_multiple_dispatch.fullcoverage, tensor)
        yield call(aten._test_autograd_multiple_dispatch.ntonly, tensor, True)
        yield call(aten._test_warn_in_autograd.default, tensor)
        yield call(aten._test_serialization_subcmul.default, tensor, tensor.clone())
        yield call(aten._test_serialization_subcmul.default, tensor, tensor.clone(), 2)
        for skip_first in (False, True):
            yield call(aten._test_parallel_materialize.default, tensor, 2, skip_first)
        if tensor.is_contiguous():
            yield call(aten._test_autograd_multiple_dispatch_view.default, tensor)
            yield call(aten._test_autograd_multiple_dispatch_view_copy.default, tensor)
    yield call(aten._test_check_tensor.default, torch.tensor(True, device=device))


@family
def defaults(device):
    """Operators that refuse any value but the default."""
    for tensor in _tensors(device):
        yield call(aten._test_string_default.default, tensor)
        yield call(aten._test_string_default.default, tensor, "\"'\\", b="\"'\\")
        yield call(aten._test_ambiguous_defaults.a, tensor)
        yield call(aten._test_ambiguous_defaults.a, tensor, 1, b=1)
        yield call(aten._test_ambiguous_defaults.b, tensor)
        yield call(aten._test_ambiguous_defaults.b, tensor, 2, b="2")


@family
def on_the_cpu(device):
    if torch.device(device).type != "cpu":
        return
    integers = torch.arange(4, dtype=torch.int32).view(2, 2)
    for values in (integers[0], integers[:, 0], integers[0, :0]):
        addends = list(range(values.numel()))
        for op in (aten._test_optional_intlist, aten._test_optional_filled_intlist):
            yield call(op.default, values, None)
        yield call(aten._test_optional_intlist.default, values, addends)
        if addends:
            yield call(aten._test_optional_filled_intlist.default, values, addends)
            yield call(aten._test_optional_filled_intlist.default, values, 3)
        yield call(aten._test_optional_floatlist.default, values.float(), None)
        yield call(aten._test_optional_floatlist.default, values.float(), [a + 0.5 for a in addends])
    for tensor in _tensors(device):
        yield call(aten._test_functorch_fallback.default, tensor, tensor.clone())
