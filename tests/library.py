"""A small library of custom operators, as a user would have one: imported with ``--import tests.library``.

``scale`` has all three forms, of which only the functional one is called here. The fake impl of ``flip`` has wrong strides if its
argument is not contiguous. ``pair`` is not called here at all.
"""

import torch

library = torch.library.Library("sweep_library", "DEF")
library.define("scale(Tensor x, float by) -> Tensor")
library.define("scale_(Tensor(a!) x, float by) -> Tensor(a!)")
library.define("scale.out(Tensor x, float by, *, Tensor(a!) out) -> Tensor(a!)")
library.define("flip(Tensor x) -> Tensor")
library.define("pair(Tensor x, Tensor y) -> (Tensor, Tensor)")


def _scale_out(x, by, *, out):
    return torch.mul(x, by, out=out)


for key in ("CPU", "Meta"):
    library.impl("scale", lambda x, by: x * by, key)
    library.impl("scale_", lambda x, by: x.mul_(by), key)
    library.impl("scale.out", _scale_out, key)
    library.impl("pair", lambda x, y: (x + y, x - y), key)
library.impl("flip", lambda x: x.neg(), "CPU")
library.impl("flip", lambda x: x.new_empty(x.shape), "Meta")


def tasks(device):
    return ["scale", "flip"]


def run(task, device, recorder):
    operator = getattr(torch.ops.sweep_library, task)
    arguments = (2.0,) if task == "scale" else ()
    for shape in ((3,), (2, 3), (1, 2, 4, 4)):
        for dtype in (torch.float32, torch.int64):
            with recorder.observe(f"library {task}"):
                operator(torch.ones(shape, device=device, dtype=dtype), *arguments)
