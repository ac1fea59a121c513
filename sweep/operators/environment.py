"""The torch, device and libraries of a run as plain data. The parent uses it too: no torch; ``queries`` fills it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The architecture whose results lie in a folder that is named after the device type alone.
_PLAIN_ARCHITECTURE = "x86_64"


@dataclass(frozen=True)
class Environment:
    """What decides which calls there are and what they do.

    Attributes:
        torch: torch's version without what follows a ``+``.
        build: torch's whole version.
        git: the commit that torch was built from, 12 digits.
        release: torch's major and minor version, as in ``2.13``.
        device: such as ``cpu``, ``cuda``, ``cuda:1``.
        device_type: such as ``cpu``, ``cuda``.
        features: of the CPU, the instruction sets that kernels are chosen by; of an accelerator, its name.
        python: Python's major and minor version.
        numpy: numpy's version.
        libraries: imported library -> digest of its files.
        native_cpu: whether calls use all that the CPU has, rather than the baseline of ``isolation.instruction_sets``.
        architecture: of the CPU: ``x86_64``, ``aarch64``, ...
    """

    torch: str
    build: str
    git: str
    release: str
    device: str
    device_type: str
    features: str
    python: str
    numpy: str
    libraries: Mapping[str, str]
    native_cpu: bool = False
    architecture: str = _PLAIN_ARCHITECTURE

    @property
    def folder(self) -> str:
        """Name of the folder of the device's expect files: ``cpu``, ``cpu-aarch64``, ``cuda``."""
        if self.device_type != "cpu" or self.architecture == _PLAIN_ARCHITECTURE:
            return self.device_type
        return f"{self.device_type}-{self.architecture}"
