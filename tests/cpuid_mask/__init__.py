"""Another CPU, emulated: a preloaded library masks what the CPUID instruction tells.

``cpuid_mask.c`` says what it can mask and what it cannot.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: The CPUs that can be emulated: Intel's and AMD's with AVX2 and FMA, without AVX-512, AVX-VNNI and AMX.
PROFILES = ("haswell", "zen2")

_SOURCE = Path(__file__).with_name("cpuid_mask.c")


class CannotMaskError(Exception):
    """This machine cannot emulate another CPU; the message says why."""


def masked_environment(folder: Path, profile: str) -> dict[str, str]:
    """The environment variables of a process that is to see another CPU.

    Args:
        folder: where the library is compiled to; its path must have no spaces and no colons.
        profile: one of ``PROFILES``.

    Raises:
        CannotMaskError: no compiler, another architecture, or a kernel that cannot make CPUID trap.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or os.uname().machine != "x86_64" or compiler is None:
        raise CannotMaskError("needs x86-64 Linux and a C compiler")
    library = folder / "cpuid_mask.so"
    if not library.exists():
        command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
    variables = {"LD_PRELOAD": str(library), "CPUID_MASK": profile}
    if subprocess.run(["/bin/true"], env={**os.environ, **variables}).returncode != 0:
        raise CannotMaskError("the kernel or the CPU cannot make CPUID trap (arch_prctl ARCH_SET_CPUID)")
    return variables
