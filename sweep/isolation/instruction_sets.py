"""The CPU instruction sets that calls run with: one baseline for every machine of an architecture, or all that the machine has.

Kernels read the limits from environment variables when a process starts, so they are set for children, never in the parent.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: Tells a child which baseline it was started with; empty for a child that uses whatever the CPU has.
PINNED_VARIABLE = "SWEEP_PINNED_CPU"


@dataclass(frozen=True)
class Baseline:
    """Instruction sets that every machine of a kind has.

    Attributes:
        name: as the head of an expect file says it.
        variables: the environment variables that keep each library to them.
    """

    name: str
    variables: Mapping[str, str]


#: Where each variable is read: ATen ``aten/src/ATen/native/DispatchStub.cpp``; oneDNN ``src/cpu/x64/cpu_isa_traits.cpp`` (its
#: ``AVX2`` leaves AVX-VNNI out); MKL's conditional numerical reproducibility and its dispatcher; FBGEMM ``src/Utils.cc``.
#: Of MKL's settings only ``COMPATIBLE`` takes the same code paths on Intel's and AMD's CPUs.
_AVX2 = Baseline(
    "AVX2",
    {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2",
    },
)

#: For an x86-64 CPU without AVX2. FBGEMM has no kernels below AVX2 and is not asked for any.
_SSE = Baseline(
    "SSE4.2",
    {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
)

#: For arm64: what every ARMv8-A has, without SVE.
_NEON = Baseline("NEON", {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "ADVSIMD"})

#: For an architecture of which nothing is known but its name.
_DEFAULT = Baseline("default", {"ATEN_CPU_CAPABILITY": "default"})


def architecture() -> str:
    """The machine's architecture by one name: ``x86_64``, ``aarch64``, ..."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@functools.cache
def baseline() -> Baseline:
    """The baseline of this machine: AVX2 on x86-64, or the oldest common one where the CPU lacks that."""
    match architecture():
        case "x86_64":
            return _AVX2 if _has({"avx2", "fma"}) else _SSE
        case "aarch64":
            return _NEON
    return _DEFAULT


def _has(flags: set[str]) -> bool:
    """Whether the CPU has some features; assumed where the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return True
    listed = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return all(flags <= set(words) for words in listed)


def pinned_environment(native: bool) -> dict[str, str]:
    """The environment variables of a child process.

    Args:
        native: let the child use whatever the CPU has, as far as the user's own environment allows.
    """
    if native:
        return {PINNED_VARIABLE: ""}
    return {**baseline().variables, PINNED_VARIABLE: baseline().name}


def pinned() -> str:
    """The name of the baseline that this process was started with; empty if it uses whatever the CPU has."""
    return os.environ.get(PINNED_VARIABLE, "")
