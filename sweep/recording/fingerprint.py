"""The fingerprint of a corpus: all that decides which calls it has. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep import files
from sweep.calls import corpus
from sweep.operators.environment import Environment

_ROOT = Path(__file__).resolve().parent.parent.parent

#: The sources that decide what is recorded.
_SOURCES = (
    _ROOT / "opinfo_adapters",
    _ROOT / "sweep" / "calls",
    _ROOT / "sweep" / "operators",
    _ROOT / "sweep" / "recording",
    _ROOT / "sweep" / "execution" / "accelerator.py",
    _ROOT / "sweep" / "execution" / "process_state.py",
    _ROOT / "sweep" / "execution" / "settings.py",
    _ROOT / "sweep" / "isolation" / "instruction_sets.py",
    _ROOT / "sweep" / "search" / "adopted.py",
    _ROOT / "sweep" / "search" / "plain.py",
    _ROOT / "sweep" / "search" / "stored.py",
)

#: The files of a folder that count: code, the calls that a search has found, and adopted ones.
_PATTERNS = ("*.py", "*.json", "*.txt")


def fingerprint(environment: Environment) -> dict[str, Any]:
    """Everything that can change a corpus, as JSON data: torch, the device, Python, NumPy, libraries and our own sources.

    The device's index is not part of it: equal devices record equal calls.
    """
    return {
        "torch": environment.torch,
        "git": environment.git,
        "device_type": environment.device_type,
        "features": environment.features,
        "architecture": environment.architecture,
        "python": environment.python,
        "numpy": environment.numpy,
        "libraries": dict(environment.libraries),
        "sources": files.digest(path for root in _SOURCES for path in _files(root)),
    }


def _files(root: Path) -> list[Path]:
    return sorted(path for pattern in _PATTERNS for path in root.rglob(pattern)) if root.is_dir() else [root]


def is_fresh(folder: Path, environment: Environment) -> bool:
    """Whether a folder has a corpus with the fingerprint of an environment and of the present sources.

    Raises:
        CorpusError: there is a corpus, and it is damaged.
    """
    if not (folder / corpus.MANIFEST).exists():
        return False
    return is_of(corpus.read_manifest(folder), environment)


def is_of(manifest: Mapping[str, Any], environment: Environment) -> bool:
    """Whether the manifest of a corpus has the fingerprint of an environment and of the present sources."""
    return bool(manifest.get("fingerprint") == fingerprint(environment))
