"""Linear layers with sparse quantized weights: packing, unpacking, and running with static and dynamic quantization.

FBGEMM has the static kernels and QNNPACK the dynamic ones. Weights are packed for the engine that is active.
"""

import torch

from opinfo_adapters.handwritten import Family, call, ops
from opinfo_adapters.handwritten.quantized import SCALE, ZERO, per_channel, quantize
from sweep.operators.required_state import quantized_engine

family = Family(__name__)
run = family.run

sparse = ops.sparse

_ROWS, _COLUMNS = 8, 16


def tasks(device):
    return family.tasks(device) if torch.device(device).type == "cpu" else []


def _weights():
    """Weights of which every second block of four is zero."""
    dense = torch.randn(_ROWS, _COLUMNS)
    dense.view(_ROWS, -1, 4)[:, ::2] = 0
    yield torch.quantize_per_tensor(dense, SCALE, 0, torch.qint8)
    yield per_channel(_ROWS, _COLUMNS)


@family.alone
def static(device):
    for weight in _weights():
        for bias in (torch.zeros(_ROWS), None):
            packed = yield call(sparse.qlinear_prepack.default, weight, bias, 1, 4)
            yield call(sparse.qlinear_unpack.default, packed)
            for batch in ((3,), (2, 5), (0,)):
                x = quantize(*batch, _COLUMNS)
                yield call(sparse.qlinear.default, x, packed, SCALE, ZERO)
                yield call(sparse.qlinear_relu.default, x, packed, SCALE, ZERO)


@family.alone
def dynamic(device):
    for weight in _weights():
        for bias in (torch.zeros(_ROWS), None):
            with quantized_engine(["qnnpack"]):
                packed = yield call(sparse.qlinear_prepack.default, weight, bias, 1, 4)
            for batch in ((3,), (2, 5)):
                x = torch.randn(*batch, _COLUMNS)
                yield call(sparse.qlinear_dynamic.default, x, packed)
                yield call(sparse.qlinear_relu_dynamic.default, x, packed)
