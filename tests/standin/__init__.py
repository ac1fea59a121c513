"""A stand-in for an accelerator: torch knows it as the device ``standin``, and the CPU does its work (see ``standin.cpp``).

An out-of-tree backend comes to torch in the same way: by an entry point of the group ``torch.backends``, which ``import torch``
calls in the end. So whole runs on it need nothing but the environment that :func:`build` returns.
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

#: What the device has, in bytes.
MEMORY = 4 << 30

_LIBRARY = "SWEEP_STANDIN_LIBRARY"
_ROOT = Path(__file__).resolve().parent.parent.parent


def build(folder, compiler):
    """Compiles it and returns the environment in which ``import torch`` makes it known."""
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
    """Makes it known to torch."""

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
        _lazy_init=lambda: None,  # without it torch 2.11 takes the device for one that is never used, and waits for nothing
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
