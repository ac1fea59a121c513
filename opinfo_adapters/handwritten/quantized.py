"""Quantized tensors: creating them, their attributes, and the operators of ``quantized`` that take only them."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
tasks, run = family.tasks, family.run

aten, quantized, _quantized = ops.aten, ops.quantized, ops._quantized
SCALE, ZERO = 0.1, 3


def quantize(*shape, dtype=torch.quint8, channels_last=False):
    """A quantized tensor of random values."""
    values = torch.randn(shape)
    if channels_last:
        values = values.contiguous(memory_format=torch.channels_last)
    return torch.quantize_per_tensor(values, SCALE, 0 if dtype is torch.qint32 else ZERO, dtype)


def per_channel(*shape, dtype=torch.qint8, axis=0):
    """A tensor that is quantized per channel."""
    channels = shape[axis]
    zeros = torch.zeros(channels, dtype=torch.int64)
    return torch.quantize_per_channel(torch.randn(shape), torch.full((channels,), SCALE), zeros, axis, dtype)


def _tensors():
    for dtype in (torch.quint8, torch.qint8, torch.qint32):
        yield quantize(3, 4, dtype=dtype)
    yield quantize(2, 3, 4, 4, channels_last=True)
    yield per_channel(3, 4)
    yield per_channel(2, 3, 4, dtype=torch.quint8, axis=1)


@family
def quantizing(device):
    for dtype in (torch.quint8, torch.qint8, torch.qint32):
        for x in (torch.randn(3, 4), torch.randn(0, 4), torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)):
            yield call(aten.quantize_per_tensor.default, x, SCALE, ZERO, dtype)
            yield call(aten.quantize_per_tensor.tensor_qparams, x, torch.tensor(SCALE), torch.tensor(ZERO), dtype)
            yield call(aten.quantize_per_tensor.tensors, [x, x], torch.tensor([SCALE, 0.2]), torch.tensor([ZERO, 0]), dtype)
        for axis in (0, 1):
            scales, zeros = torch.full((3,), SCALE), torch.zeros(3, dtype=torch.int64)
            yield call(aten.quantize_per_channel.default, torch.randn(3, 3, 2), scales, zeros, axis, dtype)
        integers = torch.zeros(3, 4, dtype={torch.quint8: torch.uint8, torch.qint8: torch.int8}.get(dtype, torch.int32))
        yield call(aten._make_per_tensor_quantized_tensor.default, integers, SCALE, ZERO)
        yield call(aten._make_per_channel_quantized_tensor.default, integers, torch.ones(3), torch.zeros(3, dtype=torch.int64), 0)
    for dtype in (torch.quint8, torch.qint8):
        for reduce_range in (False, True):
            yield call(aten.quantize_per_tensor_dynamic.default, torch.randn(3, 4), dtype, reduce_range)
    yield call(aten.choose_qparams_optimized.default, torch.randn(8), 8, 200, 0.16, 8)
    for reduce_range in (False, True):
        yield call(aten._choose_qparams_per_tensor.default, torch.randn(3, 4), reduce_range)


@family
def asking(device):
    for x in _tensors():
        for name in ("int_repr", "qscheme", "dequantize.self", "clone", "is_same_size", "equal"):
            packet, _, overload = name.partition(".")
            others = (x,) if name in ("is_same_size", "equal") else ()
            yield call(getattr(getattr(aten, packet), overload or "default"), x, *others)
    for x in (quantize(3, 4), quantize(2, dtype=torch.qint8)):
        yield call(aten.q_scale.default, x)
        yield call(aten.q_zero_point.default, x)
        yield call(aten.dequantize.tensors, [x, x])
    for x in (per_channel(3, 4), per_channel(2, 3, axis=1)):
        for packet in (aten.q_per_channel_scales, aten.q_per_channel_zero_points, aten.q_per_channel_axis):
            yield call(packet.default, x)


@family
def empty(device):
    for dtype in (torch.quint8, torch.qint8, torch.qint32):
        options = {"dtype": dtype, "device": device}
        yield call(aten._empty_affine_quantized.default, [3, 4], scale=SCALE, zero_point=ZERO, **options)
        scales, zeros = torch.ones(3), torch.zeros(3, dtype=torch.int64)
        yield call(aten._empty_per_channel_affine_quantized.default, [3, 4], scales=scales, zero_points=zeros, axis=0, **options)
    for x in (quantize(3, 4), quantize(2, dtype=torch.qint8)):
        yield call(aten.empty_quantized.default, [5, 2], x)


@family
def arithmetic(device):
    for shape, channels_last in (((3, 4), False), ((0, 4), False), ((2, 3, 4, 4), True)):
        a, b = quantize(*shape, channels_last=channels_last), quantize(*shape, channels_last=channels_last)
        for name in ("add", "add_relu", "mul", "mul_relu"):
            packet = getattr(quantized, name)
            yield call(packet.default, a, b, SCALE, ZERO)
            yield call(packet.out, a, b, quantize(*shape, channels_last=channels_last))
            yield call(packet.Scalar, a, 0.5)
            yield call(packet.Scalar2, 0.5, a)
            yield call(packet.Scalar_out, a, 0.5, quantize(*shape, channels_last=channels_last))
            yield call(getattr(quantized, f"{name}_out").default, a, b, quantize(*shape, channels_last=channels_last))
        for name in ("add_scalar", "add_scalar_relu", "mul_scalar", "mul_scalar_relu"):
            for overload, scalar in (("default", 2), ("Tensor", torch.tensor(2.0))):
                yield call(getattr(getattr(quantized, name), overload), a, scalar)
                out = quantize(*shape, channels_last=channels_last)
                yield call(getattr(getattr(quantized, f"{name}_out"), overload), a, scalar, out)
        yield call(_quantized.add.default, a, b, SCALE, ZERO)
    for size in ((2, 3), (1, 4)):
        yield call(quantized.matmul.default, quantize(*size), quantize(*size[::-1]), SCALE, ZERO)


@family
def activations(device):
    for x in (quantize(3, 4), quantize(2, 3, 4, 4, channels_last=True), quantize(0, 4)):
        yield call(quantized.celu.default, x, SCALE, ZERO, 1.5)
        yield call(quantized.elu.default, x, SCALE, ZERO, 1.0, 1.0, 1.0)
        yield call(quantized.hardswish.default, x, SCALE, ZERO)
        yield call(quantized.sigmoid.default, x, SCALE, ZERO)
        yield call(quantized.softmax.default, x, -1, SCALE, ZERO)
        yield call(quantized.threshold.default, x, 0.1, 0.0)
        yield call(quantized.clamp.default, x, -0.5, 0.5)
        yield call(quantized.dropout.default, x, SCALE, ZERO)
        yield call(quantized.prelu.default, x, quantize(1), SCALE, ZERO)
        for inplace in (False, True):
            yield call(quantized.relu6.default, x, inplace)
            yield call(quantized.leaky_relu.default, x, 0.1, inplace, SCALE, ZERO)


@family
def shapes(device):
    for dim, channels_last in ((0, False), (1, True)):
        parts = [quantize(2, 3, 4, 4, channels_last=channels_last) for _ in range(2)]
        whole = torch.cat([p.dequantize() for p in parts], dim)
        for name in ("cat", "cat_relu"):
            yield call(getattr(quantized, name).default, parts, dim, SCALE, ZERO)
            yield call(getattr(quantized, name).default, parts, dim, None, None)
            yield call(
                getattr(quantized, f"{name}_out").default, parts, dim, torch.quantize_per_tensor(whole, SCALE, ZERO, torch.quint8)
            )
    x = quantize(2, 3, 8)
    yield call(quantized.max_pool1d.default, x, [2], [2], [0], [1], False)
    yield call(aten.quantized_max_pool1d.default, x, [2], [1], [1], [1], True)
    for channels_last in (False, True):
        x = quantize(2, 3, 8, 8, channels_last=channels_last)
        yield call(quantized.max_pool2d.default, x, [2, 2], [2, 2], [0, 0], [1, 1], False)
        yield call(aten.quantized_max_pool2d.default, x, [3, 3], [2, 2], [1, 1], [1, 1], True)
    yield call(aten.quantized_max_pool3d.default, quantize(1, 2, 4, 4, 4), [2, 2, 2], [2, 2, 2], [0, 0, 0], [1, 1, 1], False)


@family
def norms(device):
    ones = torch.ones(3)
    for rank, names in (
        (3, ("batch_norm1d", "batch_norm")),
        (4, ("batch_norm2d", "batch_norm")),
        (5, ("batch_norm3d", "batch_norm")),
    ):
        x = quantize(2, 3, *(4,) * (rank - 2))
        for name in names:
            for suffix in ("", "_relu"):
                for weight in (ones, None):
                    op = getattr(quantized, name + suffix).default
                    yield call(op, x, weight, None if weight is None else torch.zeros(3), torch.zeros(3), ones, 1e-5, SCALE, ZERO)
    x = quantize(2, 4, 6, 6)
    for weight in (torch.ones(4), None):
        yield call(aten.quantized_batch_norm.default, x, weight, weight, torch.zeros(4), torch.ones(4), 1e-5, SCALE, ZERO)
        yield call(quantized.group_norm.default, x, 2, weight, weight, 1e-5, SCALE, ZERO)
        yield call(quantized.instance_norm.default, x, weight, weight, 1e-5, SCALE, ZERO)
    for weight in (torch.ones(6), None):
        yield call(quantized.layer_norm.default, x, [6], weight, weight, 1e-5, SCALE, ZERO)


@family
def bfloat16(device):
    for shape in ((3, 4), (0, 4)):
        x = torch.randn(shape)
        packed = yield call(ops.quantization._FloatToBfloat16Quantized.default, x)
        yield call(ops.quantization._Bfloat16QuantizedToFloat.default, packed)
