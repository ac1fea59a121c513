"""Faulty operators, each with one fault, and healthy ones beside them; registered in the child process that calls them.

``register`` runs in each new child, before the sweep's own requests.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

NAMESPACE = "sweep_faults"

#: name -> the kind of its finding, as the expect file names it.
ENDINGS = {
    "segfault": "crash SIGSEGV",
    "abort": "crash SIGABRT",
    "crashes": "crash SIGSEGV",
    "leave": "exit 0",
    "leave3": "exit 3",
    "loop": "timeout",
    "deaf": "timeout",
    "sleep": "timeout",
    "hoard": "out of memory",
    "recurse": "real raises RecursionError",
    "interrupt": "real raises KeyboardInterrupt",
    "quit": "real raises SystemExit",
    "dtype": "changes default dtype",
    "grad": "changes grad mode",
    "inference": "changes inference mode",
    "threads": "changes thread count",
    "deterministic": "changes deterministic algorithms",
    "mode": "changes dispatch modes",
    "folder": "changes working folder",
    "variable": "changes environment",
    "mute": "changes standard streams",
    "handler": "changes signal handlers",
    "descriptor": "changes open files",
    "device": "changes function modes",
    "benchmark": "changes backend switches",
}

#: Operators that agree: healthy ones, and faults after which the harness cleans up.
HARMLESS = ("healthy", "healthier", "talk", "orphan")


def overload(name: str) -> str:
    return f"{NAMESPACE}.{name}.default"


def _segfault(x: Any) -> None:
    ctypes.string_at(0)


def _loop(x: Any) -> None:
    while True:
        pass


def _deaf(x: Any) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.CDLL(None).sleep(1000)


def _hoard(x: Any) -> None:
    import torch

    torch.empty(100 << 30, dtype=torch.uint8)


def _recurse(x: Any) -> None:
    _recurse(x)


def _raise(error: type[BaseException]) -> Any:
    def body(x: Any) -> None:
        raise error

    return body


def _inference(x: Any) -> None:
    import torch

    _kept.append(torch._C._InferenceMode(True))


def _mode(x: Any) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    _kept.append(Mode().__enter__())


def _talk(x: Any) -> None:
    for descriptor in (1, 2):
        os.write(descriptor, b"x" * (4 << 20))


def _orphan(x: Any) -> None:
    if os.fork() == 0:
        time.sleep(1000)
        os._exit(0)


_kept: list[Any] = []


def _bodies() -> dict[str, Any]:
    import torch

    return {
        "healthy": lambda x: None,
        "healthier": lambda x: None,
        "segfault": _segfault,
        "abort": lambda x: os.abort(),
        "leave": lambda x: os._exit(0),
        "leave3": lambda x: os._exit(3),
        "loop": _loop,
        "deaf": _deaf,
        "sleep": lambda x: time.sleep(1000),
        "hoard": _hoard,
        "recurse": _recurse,
        "interrupt": _raise(KeyboardInterrupt),
        "quit": _raise(SystemExit),
        "dtype": lambda x: torch.set_default_dtype(torch.float64),
        "grad": lambda x: torch._C._set_grad_enabled(False),
        "inference": _inference,
        "threads": lambda x: torch.set_num_threads(3),
        "deterministic": lambda x: torch.use_deterministic_algorithms(True),
        "mode": _mode,
        "folder": lambda x: os.chdir("/"),
        "variable": lambda x: os.environ.update(SWEEP_FAULT="1"),
        "talk": _talk,
        "mute": lambda x: os.close(1),
        "orphan": _orphan,
        "handler": lambda x: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        "descriptor": lambda x: os.open(os.devnull, os.O_RDONLY),
        "device": lambda x: torch.set_default_device("cpu"),
        "benchmark": lambda x: torch._C._set_cudnn_benchmark(True),
        "coin": lambda x: None,
        "fakecrash": lambda x: None,
        "crashes": _segfault,
        "wrongdtype": lambda x: torch.set_default_dtype(torch.float64),
        "nozeros": lambda x: x.any() or _segfault(x),
        "notsmall": lambda x: x.numel() > 1 or _segfault(x),
    }


def _define(name: str, body: Any) -> None:
    import torch

    def real(x: Any) -> Any:
        body(x)
        return x.clone()

    def fake(x: Any) -> Any:
        if name in ("fakecrash", "crashes"):
            _segfault(x)
        return torch.empty_like(x, dtype=torch.int64 if name in ("wrongdtype", "nozeros", "notsmall") else None)

    def toss(x: Any) -> Any:
        """Returns what an environment variable of the child says."""
        return x.to(torch.float64 if os.environ["SWEEP_COIN"] == "heads" else torch.float32).clone()

    torch.library.define(f"{NAMESPACE}::{name}", "(Tensor x) -> Tensor")
    torch.library.impl(f"{NAMESPACE}::{name}", "cpu")(toss if name == "coin" else real)
    torch.library.register_fake(f"{NAMESPACE}::{name}")(fake)


def register() -> None:
    """Registers all of them in this process."""
    for name, body in _bodies().items():
        _define(name, body)


def default_dtype() -> str:
    import torch

    return str(torch.get_default_dtype())


def record(folder: str) -> None:
    """Writes a corpus with two calls of each."""
    import torch

    from sweep.calls import corpus
    from sweep.calls.codec import encode

    for name in _bodies():
        value = float(name == "nozeros")
        tensors = [torch.full((n,), value) for n in (2, 3)]
        calls = [encode(overload(name), (x,), {}, device="cpu", source=f"faults {name}") for x in tensors]
        corpus.write_file(Path(folder) / f"{overload(name)}.npz", [c.as_json() for c in calls], [bytes(c.data) for c in calls])
