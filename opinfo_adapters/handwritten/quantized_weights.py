"""Operators on packed quantized weights: linear, convolutions, embeddings, recurrent cells, packing, unpacking.

What is not marked otherwise runs under the default engine (``torch.backends.quantized.engine``). Operators that only oneDNN has
run under that (see ``sweep.operators.requirements``), with weights that are packed for it.
"""

import torch

from opinfo_adapters.handwritten import Family, call, ops
from opinfo_adapters.handwritten.quantized import SCALE, ZERO, per_channel, quantize
from sweep.operators.required_state import quantized_engine

family = Family(__name__)
tasks, run = family.tasks, family.run

# The forms of a convolution differ by its number of dimensions, hence the ``hasattr`` below.
quantized, _quantized = torch.ops.quantized, torch.ops._quantized


def _int8(*shape):
    """Weights that every packing accepts: symmetric, since some kernels refuse others."""
    return torch.quantize_per_tensor(torch.randn(shape), SCALE, 0, torch.qint8)


@family
def linear(device):
    for weight in (_int8(4, 8), per_channel(4, 8)):
        for bias in (torch.zeros(4), None):
            packed = yield call(quantized.linear_prepack.default, weight, bias)
            yield call(_quantized.linear_prepack.default, weight, bias)
            yield call(quantized.linear_unpack.default, packed)
            for batch in ((3,), (2, 5)):
                x = quantize(*batch, 8)
                for op in (quantized.linear, quantized.linear_relu, _quantized.linear):
                    yield call(op.default, x, packed, SCALE, ZERO)
                floats = torch.randn(*batch, 8)
                for op in (quantized.linear_dynamic, quantized.linear_relu_dynamic, _quantized.linear_dynamic):
                    yield call(op.default, floats, packed)
                    yield call(op.default, floats, packed, True)
                for suffix in ("", "_relu"):
                    op = getattr(quantized, f"linear_with_input_q_dq_qweight_dq{suffix}_output_fp32")
                    yield call(op.default, floats, SCALE, ZERO, packed)


@family
def linear_fp16(device):
    for bias in (torch.zeros(4), None):
        packed = yield call(quantized.linear_prepack_fp16.default, torch.randn(4, 8), bias)
        yield call(_quantized.linear_prepack_fp16.default, torch.randn(4, 8), bias)
        yield call(quantized.linear_unpack_fp16.default, packed)
        for x in (torch.randn(3, 8), torch.randn(2, 5, 8)):
            yield call(quantized.linear_dynamic_fp16.default, x, packed)
            yield call(quantized.linear_relu_dynamic_fp16.default, x, packed)
            yield call(quantized.linear_dynamic_fp16_unpacked_weight.default, x, torch.randn(4, 8), bias)


@family
def wrapped_linear(device):
    scale, zero = torch.tensor(SCALE), torch.tensor(ZERO)
    for rows in (3, 1):
        x, weight, bias = torch.randn(rows, 8), torch.randn(4, 8), torch.zeros(4)
        yield call(
            _quantized.wrapped_quantized_linear.default, x, scale, zero, weight, scale, torch.tensor(0), bias, scale, zero, 4
        )


@family
def dynamic_4bit(device):
    aten, rows = ops.aten, 4
    for columns, block in ((32, 32), (64, 32), (64, 64)):
        nibbles = torch.randint(0, 255, (rows, columns // 2), dtype=torch.uint8)
        for bias in (torch.zeros(rows), None):
            scales = torch.ones(rows, columns // block)
            packed = yield call(aten._dyn_quant_pack_4bit_weight.default, nibbles, scales, bias, block, columns, rows)
            for batch in (1, 3):
                x = torch.randn(batch, columns)
                yield call(aten._dyn_quant_matmul_4bit.default, x, packed, block, columns, rows)


def _convolution(rank, *, transposed=False):
    """Calls of a convolution of one spatial rank: packing, running, attributes, unpacking."""
    name = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    ones, zeros = [1] * rank, [0] * rank
    x = torch.randn(1, 4, *(6,) * rank)
    for weight in (_int8(4, 4, *(3,) * rank), per_channel(4, 4, *(3,) * rank)):
        for bias in (torch.zeros(4), None):
            padding = (zeros, zeros) if transposed else (zeros,)
            packed = yield call(getattr(quantized, f"{name}_prepack").default, weight, bias, ones, *padding, ones, 1)
            if packed is None:
                continue
            if hasattr(_quantized, f"{name}_prepack"):
                yield call(getattr(_quantized, f"{name}_prepack").default, weight, bias, ones, *padding, ones, 1)
            quantum = torch.quantize_per_tensor(x, SCALE, ZERO, torch.quint8)
            for suffix in ("", "_relu"):
                packet = getattr(quantized, name + suffix, None)
                overloads = () if packet is None else packet.overloads()
                if "new" in overloads:
                    yield call(packet.new, quantum, packed, SCALE, ZERO)
                    yield call(packet.default, quantum, packed, ones, zeros, ones, 1, SCALE, ZERO)
                elif overloads:
                    yield call(packet.default, quantum, packed, SCALE, ZERO)
                if hasattr(_quantized, name + suffix):
                    yield call(getattr(_quantized, name + suffix).default, quantum, packed, SCALE, ZERO)
            if rank == 2 and not transposed:
                yield call(quantized.conv2d_unpack_sizes.default, packed)
                yield call(quantized.conv_prepack.default, weight, bias, ones, zeros, ones, 1)
                yield call(quantized.conv_unpack.default, packed)
            yield call(getattr(quantized, f"{name}_dynamic").default, x, packed)
            yield call(getattr(quantized, f"{name}_unpack").default, packed)
            for what in ("stride", "padding", "output_padding", "dilation", "groups", "transpose"):
                if hasattr(quantized, f"{name}_{what}"):
                    yield call(getattr(quantized, f"{name}_{what}").default, packed)


@family
def conv1d(device):
    yield from _convolution(1)


@family
def conv2d(device):
    yield from _convolution(2)


@family
def conv3d(device):
    yield from _convolution(3)


@family
def conv_transpose1d(device):
    yield from _convolution(1, transposed=True)


@family
def conv_transpose2d(device):
    yield from _convolution(2, transposed=True)


@family
def conv_transpose3d(device):
    yield from _convolution(3, transposed=True)


@family
def embeddings(device):
    indices, offsets = torch.tensor([0, 2, 1, 4]), torch.tensor([0, 2])
    for bits, dtype in (("byte", torch.quint8), ("4bit", torch.quint4x2)):
        scales, zeros = torch.full((10,), SCALE), torch.zeros(10)
        weight = yield call(ops.aten.quantize_per_channel.default, torch.randn(10, 8), scales, zeros, 0, dtype)
        packed = yield call(quantized.embedding_bag_prepack.default, weight)
        yield call(quantized.embedding_bag_unpack.default, packed)
        yield call(getattr(quantized, f"embedding_{bits}").default, packed, indices)
        for last in (False, True):
            ends = torch.tensor([0, 2, 4]) if last else offsets
            yield call(getattr(quantized, f"embedding_bag_{bits}").default, packed, indices, ends, include_last_offset=last)
    for bits in ("byte", "4bit", "2bit"):
        weight = torch.randn(10, 8)
        packed = yield call(getattr(quantized, f"embedding_bag_{bits}_prepack").default, weight)
        limits = torch.stack([weight.amin(1), weight.amax(1)], 1)
        yield call(getattr(quantized, f"embedding_bag_{bits}_prepack_with_rowwise_min_max").default, weight, limits)
        yield call(getattr(quantized, f"embedding_bag_{bits}_unpack").default, packed)
        op = getattr(quantized, f"embedding_bag_{bits}_rowwise_offsets").default
        yield call(op, packed, indices, offsets)
        yield call(op, packed, indices, offsets, per_sample_weights=torch.ones(4))


@family
def recurrent(device):
    batch, features, hidden = 3, 8, 4
    for gates, cells in ((4, ("lstm",)), (3, ("gru",)), (1, ("rnn_relu", "rnn_tanh"))):
        inner = yield call(quantized.linear_prepack.default, _int8(gates * hidden, features), torch.zeros(gates * hidden))
        outer = yield call(quantized.linear_prepack.default, _int8(gates * hidden, hidden), torch.zeros(gates * hidden))
        bias = torch.zeros(gates * hidden)
        for cell in cells:
            state = torch.zeros(batch, hidden)
            states = [state, state] if cell == "lstm" else state
            op = getattr(quantized, f"quantized_{cell}_cell_dynamic").default
            yield call(op, torch.randn(batch, features), states, inner, outer, bias, bias)
        for reduce_range in (False, True):
            params = yield call(quantized.make_quantized_cell_params_dynamic.default, inner, outer, bias, bias, reduce_range)
            yield from _layer(gates, params, batch, features, hidden)
        inner = yield call(quantized.linear_prepack_fp16.default, torch.randn(gates * hidden, features), bias)
        outer = yield call(quantized.linear_prepack_fp16.default, torch.randn(gates * hidden, hidden), bias)
        params = yield call(quantized.make_quantized_cell_params_fp16.default, inner, outer)
        yield from _layer(gates, params, batch, features, hidden)
        weights = torch.randn(gates * hidden, features), torch.randn(gates * hidden, hidden)
        yield call(quantized.make_quantized_cell_params.default, *weights, bias, bias)


def _layer(gates, params, batch, features, hidden):
    """A layer of cells that share packed weights, on a padded batch and on a packed sequence."""
    x, state = torch.randn(5, batch, features), torch.zeros(1, batch, hidden)
    data, sizes = torch.randn(7, features), torch.tensor([3, 2, 2])
    if gates == 4:
        last = (1, 0.0, False, False)
        options = {"dtype": torch.qint8, "use_dynamic": True}
        yield call(ops.aten.quantized_lstm.input, x, [state, state], [params], True, *last, False, **options)
        yield call(ops.aten.quantized_lstm.data, data, sizes, [state, state], [params], True, *last, **options)
    elif gates == 3:
        yield call(ops.aten.quantized_gru.input, x, state, [params], True, 1, 0.0, False, False, False)
        yield call(ops.aten.quantized_gru.data, data, sizes, state, [params], True, 1, 0.0, False, False)


@family.alone
def onednn_linear(device):
    for weight in (_int8(4, 8), per_channel(4, 8)):
        for bias in (torch.zeros(4), None):
            with quantized_engine(["onednn"]):
                packed = yield call(quantized.linear_prepack.default, weight, bias)
            for batch in ((3,), (2, 5), (0,)):
                x = quantize(*batch, 8)
                yield call(quantized.linear_tanh.default, x, packed, SCALE, ZERO)
                yield call(quantized.linear_leaky_relu.default, x, packed, SCALE, ZERO, 0.1)


@family.alone
def onednn_convolution(device):
    for weight in (_int8(4, 4, 3, 3), per_channel(4, 4, 3, 3)):
        for bias in (torch.zeros(4), None):
            with quantized_engine(["onednn"]):
                packed = yield call(quantized.conv2d_prepack.default, weight, bias, [1, 1], [0, 0], [1, 1], 1)
            for channels_last in (False, True):
                x = quantize(1, 4, 6, 6, channels_last=channels_last)
                accumulated = quantize(1, 4, 4, 4, channels_last=channels_last)
                yield call(quantized.conv2d_add.default, x, accumulated, packed, SCALE, ZERO)
                yield call(quantized.conv2d_add_relu.default, x, accumulated, packed, SCALE, ZERO)


@family.alone
def no_longer_supported(device):
    yield call(quantized.linear_prepack_legacy.default, _int8(4, 8), torch.zeros(4))
