"""State of the process without which some overloads refuse every call, as plain data.

The parent uses it too: no torch; ``required_state`` establishes it.
"""

from __future__ import annotations

import enum


class Requirement(enum.Enum):
    """A state that an overload requires."""

    #: ``torch.distributed`` has a process group.
    PROCESS_GROUP = enum.auto()
    #: ``torch.backends.quantized.engine`` is one of those that the kernel is written for (see :func:`engines_for`).
    QUANTIZED_ENGINE = enum.auto()
    #: Gradient mode is on, also where calls are otherwise made without it.
    GRADIENT_MODE = enum.auto()
    #: Inference mode is on, and tensors are created under it.
    INFERENCE_MODE = enum.auto()
    #: TorchDynamo's table of objects that graphs refer to by index has a stream at 0 and an event at 1.
    STREAM_AND_EVENT = enum.auto()
    #: Distributed autograd has a context, whose id is 0.
    DISTRIBUTED_AUTOGRAD = enum.auto()


#: How overloads begin that look a process group up: by its name, or in a device mesh.
_COLLECTIVES = (
    "c10d.",
    "_c10d_functional.",
    "_c10d_functional_autograd.",
    "c10d_functional.",
    "cplib.",
    "device_mesh.",
    "_dtensor.",
    "symm_mem.",
)

#: Overload -> the engines that have a kernel for it, the preferred one first. Weights that are packed for one engine are refused
#: by another, so packing accepts whichever of its engines is active.
_ENGINES = {
    "sparse.qlinear.default": ("fbgemm",),
    "sparse.qlinear_relu.default": ("fbgemm",),
    "sparse.qlinear_prepack.default": ("fbgemm", "qnnpack"),
    "sparse.qlinear_unpack.default": ("fbgemm", "qnnpack"),
    "sparse.qlinear_dynamic.default": ("qnnpack",),
    "sparse.qlinear_relu_dynamic.default": ("qnnpack",),
    "quantized.conv2d_add.default": ("onednn",),
    "quantized.conv2d_add_relu.default": ("onednn",),
    "quantized.linear_leaky_relu.default": ("onednn",),
    "quantized.linear_tanh.default": ("onednn",),
}

_OTHERS = {
    **dict.fromkeys(_ENGINES, Requirement.QUANTIZED_ENGINE),
    **dict.fromkeys(
        (
            "aten._fw_primal_copy.default",
            "aten._fw_primal_copy.out",
            "aten._make_dual.default",
            "aten._make_dual_copy.default",
            "aten._make_dual_copy.out",
        ),
        Requirement.INFERENCE_MODE,
    ),
    "aten.mkldnn_rnn_layer.out": Requirement.GRADIENT_MODE,  # else there is no workspace, which one of its out tensors is for
    "aten.get_gradients.default": Requirement.DISTRIBUTED_AUTOGRAD,
}


def requirement_of(overload: str) -> Requirement | None:
    """The state that an overload requires; ``None`` for nearly all.

    >>> requirement_of("aten._make_dual.default")
    <Requirement.INFERENCE_MODE: 4>
    """
    if overload.startswith(_COLLECTIVES):
        return Requirement.PROCESS_GROUP
    if overload.startswith("streams."):
        return Requirement.STREAM_AND_EVENT
    return _OTHERS.get(overload)


def engines_for(overload: str) -> tuple[str, ...]:
    """The quantized engines that have a kernel for an overload, the preferred one first; empty if it does not depend on that."""
    return _ENGINES.get(overload, ())
