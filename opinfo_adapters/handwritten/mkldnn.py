"""oneDNN: opaque ``mkldnn`` tensors, weights reordered for its kernels, and its fused and quantized operators."""

import torch

from opinfo_adapters.handwritten import Family, call, ops

family = Family(__name__)
run = family.run

aten, mkldnn, onednn = ops.aten, ops.mkldnn, ops.onednn


def tasks(device):
    available = torch.device(device).type == "cpu" and torch.backends.mkldnn.is_available()
    return family.tasks(device) if available else []


def _opaque(*size):
    return torch.randn(size).to_mkldnn()


@family
def opaque_tensors(device):
    for x in (_opaque(2, 3, 4, 4), _opaque(2, 6)):
        yield call(aten._mkldnn_reshape.default, x, [x.shape[0], -1])
        yield call(aten._mkldnn_transpose.default, x, 0, 1)
        yield call(mkldnn._nbytes.default, x)
        yield call(mkldnn.data_ptr.default, x)
        yield call(mkldnn._get_mkldnn_serialized_md.default, x)


@family
def pooling(device):
    x = _opaque(1, 3, 8, 8)
    yield call(aten.mkldnn_max_pool2d.default, x, [2, 2], [2, 2])
    yield call(aten.mkldnn_max_pool2d.default, x, [3, 3], [2, 2], [1, 1], [1, 1], True)
    yield call(aten.mkldnn_max_pool3d.default, _opaque(1, 3, 4, 4, 4), [2, 2, 2], [2, 2, 2])
    yield call(aten.mkldnn_adaptive_avg_pool2d.default, x, [2, 2])
    yield call(aten.mkldnn_adaptive_avg_pool2d_backward.default, _opaque(1, 3, 2, 2), x)


@family.alone
def pooling_backward(device):
    """The result of a pooling that is differentiated has a workspace, which says where each maximum was."""
    flat, deep = (1, 3, 8, 8), (1, 3, 4, 4, 4)
    for pool, backward, size, window in (
        (aten.mkldnn_max_pool2d, aten.mkldnn_max_pool2d_backward, flat, ([2, 2], [2, 2])),
        (aten.mkldnn_max_pool2d, aten.mkldnn_max_pool2d_backward, flat, ([3, 3], [2, 2], [1, 1], [1, 1], True)),
        (aten.mkldnn_max_pool3d, aten.mkldnn_max_pool3d_backward, deep, ([2, 2, 2], [2, 2, 2])),
    ):
        x = _opaque(*size).requires_grad_()
        result = yield call(pool.default, x, *window)
        gradient = torch.ones(result.shape).to_mkldnn()
        with torch.no_grad():
            yield call(backward.default, gradient, result, x, *window)
            yield call(backward.out, gradient, result, x, *window, out=_opaque(*size))


@family
def linear(device):
    for bias in (torch.zeros(4), None):
        x, weight = _opaque(3, 8), torch.randn(4, 8)
        yield call(aten.mkldnn_linear.default, x, weight, bias)
        for x in (torch.randn(3, 8), torch.randn(2, 3, 8)):
            packed = yield call(mkldnn._reorder_linear_weight.default, weight, x.shape[0])
            packed = weight.to_mkldnn() if packed is None else packed
            for attribute in ("none", "relu", "sigmoid"):
                yield call(mkldnn._linear_pointwise.default, x, packed, bias, attribute, [], "")
            for attribute in ("add", "sub", "mul"):
                yield call(mkldnn._linear_pointwise.binary, x, torch.randn(*x.shape[:-1], 4), packed, bias, attribute)
    yield call(aten.mkldnn_linear_backward_input.default, [3, 8], _opaque(3, 4), torch.randn(4, 8))
    yield call(aten.mkldnn_linear_backward_weights.default, _opaque(3, 4), _opaque(3, 8), torch.randn(4, 8), True)
    yield call(aten.mkldnn_linear_backward.default, _opaque(3, 8), _opaque(3, 4), torch.randn(4, 8), [True, True, True])


@family
def convolution(device):
    ones, zeros = [1, 1], [0, 0]
    for bias in (torch.zeros(4), None):
        x, weight = torch.randn(1, 3, 6, 6), torch.randn(4, 3, 3, 3)
        yield call(aten.mkldnn_convolution.default, x, weight, bias, zeros, ones, ones, 1)
        yield call(aten.mkldnn_convolution.default, x.to_mkldnn(), weight.to_mkldnn(), bias, zeros, ones, ones, 1)
        packed = yield call(mkldnn._reorder_convolution_weight.default, weight, zeros, ones, ones, 1, list(x.shape))
        packed = weight if packed is None else packed
        for attribute in ("none", "relu"):
            yield call(mkldnn._convolution_pointwise.default, x, packed, bias, zeros, ones, ones, 1, attribute, [], "")
        other = torch.randn(1, 4, 4, 4)
        yield call(
            mkldnn._convolution_pointwise.binary, x, other, packed, bias, zeros, ones, ones, 1, "add", None, None, [], None
        )
        yield call(
            mkldnn._convolution_pointwise_.binary, other, x, packed, bias, zeros, ones, ones, 1, "add", None, "relu", [], None
        )
        transposed = torch.randn(3, 4, 3, 3)
        arguments = (zeros, zeros, ones, ones, 1)
        packed = yield call(mkldnn._reorder_convolution_transpose_weight.default, transposed, *arguments, list(x.shape))
        packed = transposed if packed is None else packed
        yield call(mkldnn._convolution_transpose_pointwise.default, x, packed, bias, *arguments, "none", [], "")
        prepacked = yield call(
            ops.mkldnn_prepacked.conv2d_prepack.default, weight, bias, ones, zeros, ones, 1, list(x.shape), "none"
        )
        yield call(ops.mkldnn_prepacked.conv2d_run.default, x, prepacked)
    for size, packet in (((4, 3, 3, 3), aten.mkldnn_reorder_conv2d_weight), ((4, 3, 3, 3, 3), aten.mkldnn_reorder_conv3d_weight)):
        yield call(packet.default, _opaque(*size))


@family
def quantized_linear(device):
    scale, zero = torch.tensor(0.1), torch.tensor(3)
    x = torch.randint(0, 255, (3, 8), dtype=torch.uint8)
    weight = torch.randint(-128, 127, (4, 8), dtype=torch.int8)
    packed = yield call(onednn.qlinear_prepack.default, weight, [3, 8])
    scales, zeros = torch.full((4,), 0.1), torch.zeros(4, dtype=torch.int64)
    for bias in (torch.zeros(4), None):
        for dtype in (torch.float32, torch.bfloat16, torch.uint8):
            output = (0.2, 1, dtype) if dtype is torch.uint8 else (1.0, 0, dtype)
            for post in ("none", "relu"):
                tail = (bias, *output, post, [], "")
                yield call(onednn.qlinear_pointwise.default, x, 0.1, 3, packed, scales, zeros, *tail)
                yield call(onednn.qlinear_pointwise.tensor, x, scale, zero, packed, scales, zeros, *tail)
        for post in ("sum", "add"):
            tail = (torch.zeros(3, 4), bias, 1.0, 0, torch.float32, 1.0, 0, post, 1.0, "none", [], "")
            yield call(onednn.qlinear_pointwise.binary, x, 0.1, 3, packed, scales, zeros, *tail)
            yield call(onednn.qlinear_pointwise.binary_tensor, x, scale, zero, packed, scales, zeros, *tail)


@family
def quantized_convolution(device):
    scale, zero = torch.tensor(0.1), torch.tensor(3)
    scales, zeros = torch.full((4,), 0.1), torch.zeros(4, dtype=torch.int64)
    for rank in (1, 2, 3):
        one, none = [1] * rank, [0] * rank
        x = torch.randint(0, 255, (1, 3, *(6,) * rank), dtype=torch.uint8)
        weight = torch.randint(-128, 127, (4, 3, *(3,) * rank), dtype=torch.int8)
        packed = yield call(onednn.qconv_prepack.default, weight, scales, 0.1, 3, one, none, one, 1, list(x.shape))
        for bias in (torch.zeros(4), None):
            for dtype in (torch.float32, torch.uint8):
                output = (0.2, 1, dtype) if dtype is torch.uint8 else (1.0, 0, dtype)
                tail = (bias, one, none, one, 1, *output, "none", [], "")
                packets = {1: (onednn.qconv1d_pointwise,), 3: (onednn.qconv3d_pointwise,), 2: (onednn.qconv2d_pointwise,)}[rank]
                for packet in (*packets, onednn.qconv_pointwise):
                    yield call(packet.default, x, 0.1, 3, packed, scales, zeros, *tail)
                yield call(onednn.qconv_pointwise.tensor, x, scale, zero, packed, scales, zeros, *tail)
                if rank == 2:
                    yield call(onednn.qconv2d_pointwise.tensor, x, scale, zero, packed, scales, zeros, *tail)
            if rank == 2:
                tail = (bias, one, none, one, 1, 1.0, 0, torch.float32, 1.0, 0, "sum", 1.0, "none", [], "")
                for unary in ("none", "relu"):
                    tail = (*tail[:-3], unary, [], "")
                    for overload, first in (("binary", (0.1, 3)), ("binary_tensor", (scale, zero))):
                        accumulated = torch.zeros(1, 4, 4, 4).contiguous(memory_format=torch.channels_last)
                        op = getattr(onednn.qconv2d_pointwise, overload)
                        yield call(op, x, *first, packed, scales, zeros, accumulated, *tail)


@family
def half(device):
    for bias in (torch.zeros(4), None):
        packed = yield call(onednn.linear_prepack_fp16.default, torch.randn(4, 8).half(), [3, 8])
        for op in (onednn.linear_dynamic_fp16, onednn.linear_relu_dynamic_fp16):
            yield call(op.default, torch.randn(3, 8), packed, bias)
