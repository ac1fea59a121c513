"""Nested tensors of the strided kind: making them, their sizes, padding, and what attention does with them."""

import torch

from opinfo_adapters.handwritten import Family, call

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = torch.ops.aten


def _nested(*sizes, dtype=torch.float32, device="cpu"):
    return torch.nested.nested_tensor([torch.ones(s, dtype=dtype, device=device) for s in sizes], layout=torch.strided)


@family
def sizes(device):
    for dtype in (torch.float32, torch.float64):
        for x in (_nested((2, 4), (3, 4), dtype=dtype, device=device), _nested((2,), (5,), (1,), dtype=dtype, device=device)):
            for name in ("_nested_tensor_size", "_nested_tensor_strides", "_nested_tensor_storage_offsets"):
                yield call(getattr(aten, name).default, x)
            parts = (x._nested_tensor_size(), x._nested_tensor_strides(), x._nested_tensor_storage_offsets())
            for packet in (aten._nested_view_from_buffer, aten._nested_view_from_buffer_copy):
                yield call(packet.default, x.values(), *parts)
            yield call(aten._nested_compute_contiguous_strides_offsets.default, parts[0])
            yield call(aten.nested_to_padded_tensor.default, x, 0.0)
            yield call(aten.to_padded_tensor.default, x, 0.5)
            yield call(aten.to_padded_tensor.default, x, 0.0, [x.size(0), 7, *([6] if x.dim() == 3 else [])])


@family
def padding(device):
    x = _nested((2, 4), (3, 4), device=device)
    padded = torch.ones(2, 3, 4, device=device)
    yield call(aten._nested_from_padded.default, padded, x._nested_tensor_size())
    yield call(aten._nested_from_padded_and_nested_example.default, padded, x)
    mask = torch.tensor([[True, True, False], [True, True, True]], device=device)
    for check in (True, False):
        yield call(aten._nested_tensor_from_mask.default, padded, mask, check)
    yield call(aten._nested_tensor_from_mask_left_aligned.default, padded, mask)
    yield call(aten._nested_tensor_from_tensor_list.default, [torch.ones(2, 4, device=device), torch.ones(1, 4, device=device)])


@family
def gradients(device):
    x = _nested((2, 4), (3, 4), device=device)
    yield call(aten._nested_select_backward.default, torch.ones(2, 4, device=device), x, 0, 0)
    yield call(aten._nested_tensor_softmax_with_shape.default, x, x)
