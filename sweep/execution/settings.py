"""Settings of a process that makes calls, applied before the first of them."""

from __future__ import annotations

import functools

import torch

from sweep.execution.accelerator import limit_memory
from sweep.isolation import instruction_sets

#: The quantized engine of processes that are limited to an instruction set. The default on x86-64 chooses FBGEMM or oneDNN by
#: whether the CPU has AVX512-VNNI, which no environment variable limits (``should_use_onednn_quant`` in
#: ``aten/src/ATen/native/quantized/cpu/OnednnUtils.h``). Without these instructions it is FBGEMM.
_PINNED_ENGINE = "fbgemm"


@functools.cache
def apply(device: str, memory: int) -> None:
    """Applies the settings of a run to this process.

    Args:
        device: where its calls are made.
        memory: bytes of an accelerator's memory that it may use; 0 is no limit.
    """
    limit_memory(device, memory)
    if instruction_sets.pinned() and _PINNED_ENGINE in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = _PINNED_ENGINE
