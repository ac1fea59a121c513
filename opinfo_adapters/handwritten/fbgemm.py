"""FBGEMM's packed weights as tensors of bytes that hold an address: the older form of packed weights, and the one for export."""

import torch

from opinfo_adapters.handwritten import Family, call, ops
from opinfo_adapters.handwritten.quantized import SCALE, ZERO

family = Family(__name__)
run = family.run

aten, _quantized = ops.aten, ops._quantized
_FEATURES, _HIDDEN, _BATCH = 8, 4, 3


def tasks(device):
    available = torch.device(device).type == "cpu" and "fbgemm" in torch.backends.quantized.supported_engines
    return family.tasks(device) if available else []


@family
def half(device):
    weight, bias = torch.randn(_HIDDEN, _FEATURES), torch.zeros(_HIDDEN)
    packed = yield call(aten.fbgemm_pack_gemm_matrix_fp16.default, weight)
    for_export = yield call(_quantized.wrapped_fbgemm_pack_gemm_matrix_fp16.default, weight)
    for x in (torch.randn(_BATCH, _FEATURES), torch.randn(2, 5, _FEATURES)):
        yield call(aten.fbgemm_linear_fp16_weight.default, x, packed, bias)
        yield call(aten.fbgemm_linear_fp16_weight_fp32_activation.default, x, packed, bias)
        yield call(_quantized.wrapped_fbgemm_linear_fp16_weight.default, x, for_export, bias, _HIDDEN)


def _quantize(rows, columns):
    """Integers, their packed form, column offsets, scale and zero point of some weights."""
    integers, offsets, scale, zero = yield call(aten.fbgemm_linear_quantize_weight.default, torch.randn(rows, columns))
    packed = yield call(aten.fbgemm_pack_quantized_matrix.default, integers)
    return integers, packed, offsets, scale, zero


@family
def int8(device):
    integers, packed, offsets, scale, zero = yield from _quantize(_HIDDEN, _FEATURES)
    yield call(aten.fbgemm_pack_quantized_matrix.KN, integers, _FEATURES, _HIDDEN)
    for x in (torch.randn(_BATCH, _FEATURES), torch.randn(2, 5, _FEATURES)):
        for op in (aten.fbgemm_linear_int8_weight, aten.fbgemm_linear_int8_weight_fp32_activation):
            yield call(op.default, x, integers, packed, offsets, scale, zero, torch.zeros(_HIDDEN))


@family
def cells(device):
    x, state = torch.randn(_BATCH, _FEATURES), torch.zeros(_BATCH, _HIDDEN)
    for name, gates in (("lstm", 4), ("gru", 3), ("rnn_relu", 1), ("rnn_tanh", 1)):
        inner = yield from _quantize(gates * _HIDDEN, _FEATURES)
        outer = yield from _quantize(gates * _HIDDEN, _HIDDEN)
        bias = torch.zeros(gates * _HIDDEN)
        states = [state, state] if name == "lstm" else state
        integers, packed, *others = zip(inner, outer, strict=True)
        others = [value for pair in others for value in pair]
        yield call(getattr(aten, f"quantized_{name}_cell").default, x, states, *integers, bias, bias, *packed, *others)


@family
def prepacked(device):
    scale, zero = torch.tensor(SCALE), torch.tensor(ZERO)
    for namespace in (aten, _quantized):
        weight, bias = torch.randn(_HIDDEN, _FEATURES), torch.zeros(_HIDDEN)
        packed = yield call(namespace._wrapped_linear_prepack.default, weight, scale, torch.tensor(0), bias)
        op = namespace._wrapped_quantized_linear_prepacked.default
        yield call(op, torch.randn(_BATCH, _FEATURES), scale, zero, packed, scale, zero, _HIDDEN)
