"""torchvision's operators with calls of their own: ``pytest sweep/ --import tests.torchvision_calls --results DIR``.

It stands for a module that the authors of a library would ship with it. Regions have fixed coordinates ``(batch index, x1, y1,
x2, y2)``, since the kernels do not check them. Backward operators are reached by running backward through the forward ones.
"""

import tempfile
from pathlib import Path

import torch
import torchvision  # noqa: F401  registers the operators

from opinfo_adapters.handwritten import Family, call

family = Family(__name__)
tasks, run = family.tasks, family.run

vision = torch.ops.torchvision
image = torch.ops.image

FLOATS = (torch.float16, torch.float32, torch.float64)


def features(device, dtype, channels):
    """A batch of two maps of 8 by 6."""
    n = 2 * channels * 8 * 6
    return torch.linspace(-1, 1, n, device=device).to(dtype).view(2, channels, 8, 6).requires_grad_()


def regions(device, dtype):
    """Three regions in the maps of ``features``, the last one partly outside."""
    return torch.tensor([[0, 0, 0, 4, 4], [1, 1, 2, 5, 7], [1, 3, 3, 9, 9]], device=device, dtype=dtype)


def backward(output):
    """The call that runs backward through the first of an operator's outputs."""
    first = output[0] if isinstance(output, tuple) else output
    return call(torch.autograd.backward, [first], [torch.ones_like(first)])


@family
def regions_of_interest(device):
    for dtype in FLOATS:
        for rois in (regions(device, dtype), regions(device, dtype)[:0]):
            for pooled in ((1, 1), (2, 3)):
                plain, sensitive = features(device, dtype, 3), features(device, dtype, 2 * pooled[0] * pooled[1])
                outputs = [
                    (yield call(vision.roi_align, plain, rois, 1.0, *pooled, -1, False)),
                    (yield call(vision.roi_align, plain, rois, 0.5, *pooled, 2, True)),
                    (yield call(vision.roi_pool, plain, rois, 0.5, *pooled)),
                    (yield call(vision.ps_roi_align, sensitive, rois, 0.5, *pooled, 2)),
                    (yield call(vision.ps_roi_pool, sensitive, rois, 0.5, *pooled)),
                ]
                for output in outputs:
                    if output is not None:
                        yield backward(output)


@family
def quantized(device):
    """Plain bytes, whose scale and zero point are arguments."""
    for dtype in (torch.uint8, torch.int8):
        maps = torch.arange(2 * 3 * 8 * 6, device=device).fmod(100).to(dtype).view(2, 3, 8, 6)
        rois = regions(device, dtype)
        yield call(vision.qroi_align, maps[:1], rois[:1], 0.02, 3, 1.0, 0, 1.0, 2, 2, 2, False)
        yield call(vision.qnms, rois[:, 1:].contiguous(), torch.tensor([30, 90, 60], device=device, dtype=dtype), 0.5)


@family
def non_maximum_suppression(device):
    for dtype in (torch.float32, torch.float64):
        boxes = regions(device, dtype)[:, 1:].contiguous()
        scores = torch.tensor([0.3, 0.9, 0.6], device=device, dtype=dtype)
        for threshold in (0.1, 0.9):
            yield call(vision.nms, boxes, scores, threshold)
            yield call(vision.nms, boxes[:0], scores[:0], threshold)


@family
def rotated_boxes(device):
    """Boxes as centre, width, height and angle in degrees."""
    for dtype in (torch.float32, torch.float64):
        boxes = torch.tensor([[2, 2, 4, 4, 0], [3, 4, 4, 5, 30], [6, 6, 6, 6, -45]], device=device, dtype=dtype)
        yield call(vision.box_iou_rotated, boxes, boxes[:2])


@family
def deformable_convolution(device):
    for dtype in FLOATS:
        for groups, stride, padding, use_mask in ((1, 1, 0, True), (2, 2, 1, False)):
            x = features(device, dtype, 4)
            weight = torch.linspace(-1, 1, 216 // groups, device=device).to(dtype).view(6, 4 // groups, 3, 3).requires_grad_()
            height, width = ((size + 2 * padding - 3) // stride + 1 for size in x.shape[-2:])
            offset = torch.zeros(2, 18, height, width, device=device, dtype=dtype).requires_grad_()
            mask = torch.ones(2, 9 if use_mask else 0, height, width, device=device, dtype=dtype).requires_grad_()
            bias = torch.zeros(6, device=device, dtype=dtype).requires_grad_()
            numbers = (stride, stride, padding, padding, 1, 1, groups, 1, use_mask)
            output = yield call(vision.deform_conv2d, x, weight, offset, mask, bias, *numbers)
            if output is not None:
                yield backward(output)


@family
def images(device):
    """Each format that can be written is read back: ``mode`` is 0 for as it is, 1 for grey, 3 for RGB."""
    for channels in (1, 3):
        picture = torch.arange(channels * 5 * 7, dtype=torch.uint8).view(channels, 5, 7)
        png = yield call(image.encode_png, picture, 6)
        jpeg = yield call(image.encode_jpeg, picture, 75)
        for mode in (0, 1, 3):
            yield call(image.decode_png, png, mode)
            yield call(image.decode_jpeg, jpeg, mode)
            yield call(image.decode_image, png, mode)
    # The smallest GIF there is: one white pixel.
    gif = bytes.fromhex("47494638396101000100800000ffffff0000002c00000000010001000002024401003b")
    yield call(image.decode_gif, torch.tensor(list(gif), dtype=torch.uint8))
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "picture.png")
        yield call(image.write_file, file, png)
        yield call(image.read_file, file)
    yield call(image._jpeg_version)
    yield call(image._is_compiled_against_turbo)


@family
def versions(device):
    yield call(vision._cuda_version)
