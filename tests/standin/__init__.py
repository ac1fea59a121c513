"""A stand-in for an accelerator: torch's device ``standin``, whose kernels run on the CPU (see ``standin.cpp``).

It is registered as any out-of-tree backend is, by an entry point of the group ``torch.backends`` that ``import torch`` calls.
Runs on it need the environment variables that :func:`build` returns, and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from torch.utils import backend_registration

#: The device's memory in bytes.
MEMORY = 4 << 30

_LIBRARY = "SWEEP_STANDIN_LIBRARY"
_ROOT = Path(__file__).resolve().parent.parent.parent


def build(folder, compiler):
    """Compiles the device and returns the environment variables with which ``import torch`` registers it."""
    library = folder / "libstandin.so"
    torch_folder = Path(torch.__file__).parent
    headers = [f"-isystem{torch_folder / path}" for path in ("include", "include/torch/csrc/api/include")]
    line = [*shlex.split(compiler), "-std=c++20", "-O1", "-fPIC", "-shared", *headers]
    source = Path(__file__).with_name("standin.cpp")
    linked = [f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"]
    subprocess.run([*line, str(source), *linked, "-o", str(library)], check=True, timeout=300)
    package = folder / "standin-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: standin\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[torch.backends]\nstandin = {__name__}:register\n")
    path = os.pathsep.join(filter(None, (str(folder), str(_ROOT), os.environ.get("PYTHONPATH"))))
    return {_LIBRARY: str(library), "PYTHONPATH": path}


def register():
    """Registers the device."""

    def limit_memory(share, device):
        if not isinstance(device, int) and torch.device(device).index is None:
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
        library.limit_memory(ctypes.c_int64(int(share * MEMORY)))

    torch.ops.load_library(os.environ[_LIBRARY])
    library = ctypes.CDLL(os.environ[_LIBRARY])
    backend_registration.rename_privateuse1_backend("standin")
    module = ModuleType("torch.standin")
    generator = torch.Generator("standin")
    vars(module).update(
        is_available=lambda: True,
        _lazy_init=lambda: None,  # without it torch 2.11 assumes that the device is never used and does not synchronize
        is_initialized=lambda: True,
        _is_in_bad_fork=lambda: False,
        device_count=lambda: 1,
        current_device=lambda: 0,
        manual_seed_all=generator.manual_seed,
        get_rng_state=lambda device=None: generator.get_state(),
        set_rng_state=lambda state, device=None: generator.set_state(state),
        get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
        get_device_name=lambda device=None: "stand-in",
        get_device_properties=lambda device=None: SimpleNamespace(total_memory=MEMORY),
        set_per_process_memory_fraction=limit_memory,
    )
    torch._register_device_module("standin", module)
    backend_registration.generate_methods_for_privateuse1_backend()
