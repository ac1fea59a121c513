"""Attributes of tensors: sizes, strides, offset, flags of dtype, autograd and memory; and comparisons of the attributes of two.

They are operators too, called from C++ and ``torch.ops``; the properties in Python do not reach the dispatcher.
"""

import itertools

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten = ops.aten

_OF_A_TENSOR = (
    *(
        aten.dim,
        aten.numel,
        aten.sym_numel,
        aten.storage_offset,
        aten.sym_storage_offset,
        aten._shape_as_tensor,
        aten.is_contiguous,
    ),
    *(aten.is_floating_point, aten.is_complex, aten.is_signed, aten.is_conj, aten.is_neg, aten._is_zerotensor),
    *(aten.get_device, aten.is_pinned, aten.is_distributed, aten.cudnn_is_acceptable, aten._debug_has_internal_overlap),
    *(aten.is_leaf, aten.is_inference, aten.output_nr, aten.retains_grad, aten._version),
)
_OF_A_DIMENSION = (aten.size, aten.stride, aten.sym_size, aten.sym_stride)
_OF_TWO = (aten.is_same_size, aten.is_set_to, aten._has_same_storage_numel, aten._has_compatible_shallow_copy_type)


def _tensors(device):
    """Tensors of different rank, size, stride, offset, dtype, conj and neg bit."""
    dense = torch.arange(24.0, device=device).view(2, 3, 4)
    values = torch.randn(3, 2, dtype=torch.complex64, device=device)
    return [
        torch.tensor(1.5, dtype=torch.float64, device=device),
        torch.empty(0, 3, dtype=torch.bfloat16, device=device),
        dense,
        dense.transpose(0, 2),
        dense[:, 1:, ::2],
        torch.arange(3, device=device).expand(2, 3),
        torch.tensor([True, False], device=device),
        torch.arange(3, dtype=torch.uint8, device=device),
        values.conj(),
        values.conj().imag,
    ]


@family
def of_a_tensor(device):
    for attribute, tensor in itertools.product(_OF_A_TENSOR, _tensors(device)):
        yield call(attribute.default, tensor)


@family
def of_a_dimension(device):
    for attribute, tensor in itertools.product(_OF_A_DIMENSION, _tensors(device)):
        for dim in {0, tensor.dim() - 1, -1} if tensor.dim() else ():
            yield call(attribute.int, tensor, dim)


@family
def is_contiguous(device):
    formats = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
    for size in ((2, 3), (2, 3, 4, 5), (2, 1, 1, 1), (1, 3, 2, 2, 2), (0, 3, 4, 4)):
        dense = torch.zeros(size, device=device)
        last = [dense.contiguous(memory_format=f) for f in formats[1:] if dense.dim() == (4 if f is formats[1] else 5)]
        for tensor, memory_format in itertools.product((dense, *last), formats):
            yield call(aten.is_contiguous.memory_format, tensor, memory_format)


@family
def of_two(device):
    tensor = torch.zeros(2, 3, device=device)
    others = (tensor, tensor.detach(), tensor.view(3, 2), tensor[:1], torch.zeros(2, 3, device=device), tensor.to(torch.int64))
    for attribute, other in itertools.product(_OF_TWO, (*others, torch.empty(0, device=device))):
        yield call(attribute.default, tensor, other)
    yield call(aten._has_compatible_shallow_copy_type.default, tensor, tensor.to_sparse())


@family
def of_no_tensor(device):
    for one, other in itertools.combinations_with_replacement((torch.bool, torch.uint8, torch.int64, torch.float16), 2):
        yield call(aten.promote_types.default, one, other)
    yield call(aten.promote_types.default, torch.bfloat16, torch.float16)
    yield call(aten.promote_types.default, torch.complex64, torch.float64)
    yield call(aten.is_vulkan_available.default)
