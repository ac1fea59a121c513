"""Process-wide state that a call must leave as it was: switches that another call could feel.

A switch that a call has changed is restored, and its name is the call's finding. Kernels that change one are detected by reading
all switches after every call; there is no list of such kernels.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import copy
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sweep.errors import ProcessUnusableError
from sweep.findings.kind import StateChange


@dataclass(frozen=True)
class _Switch:
    """One piece of process-wide state: how to read it, and how to restore it."""

    read: Callable[[], Any]
    write: Callable[[Any], None]


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _set_environment(value: dict[bytes, bytes]) -> None:
    for name in os.environb.keys() - value.keys():
        del os.environb[name]
    os.environb.update(value)


def _leave_modes(depth: int) -> None:
    while torch._C._len_torch_dispatch_stack() > depth:
        torch._C._pop_torch_dispatch_stack(None)


_STREAMS = [(number, os.dup(number)) for number in (0, 1, 2)]

#: Signals whose handlers a library or kernel may replace.
_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGABRT,
    signal.SIGSEGV,
    signal.SIGFPE,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGCHLD,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def _streams() -> list[tuple[int, int] | None]:
    """Device and inode of standard input, output and error."""
    identities: list[tuple[int, int] | None] = []
    for number, _ in _STREAMS:
        try:
            stat = os.fstat(number)
        except OSError:
            identities.append(None)
        else:
            identities.append((stat.st_dev, stat.st_ino))
    return identities


def _reopen_streams(value: Any) -> None:
    for number, kept in _STREAMS:
        os.dup2(kept, number)


def _handlers() -> tuple[list[Any], set[Any]]:
    # The C module below ``signal``, which makes an enum of every answer and would take longer than all other switches together.
    return [_signal.getsignal(n) for n in _SIGNALS], _signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _set_handlers(value: tuple[list[Any], set[Any]]) -> None:
    for number, handler in zip(_SIGNALS, value[0], strict=True):
        if handler is not None:  # a handler that was not set from Python cannot be set from Python
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, value[1])


class _OpenFiles:
    """Files that this process has opened or closed since :meth:`remember`.

    The lowest free descriptor, a question of a microsecond, tells whether any was opened or closed; the system's list tells
    which. Devices and event counters do not count: a driver opens them when it first needs them.
    """

    def __init__(self) -> None:
        self._open: frozenset[int] = frozenset()
        self._lowest = -1

    def remember(self) -> None:
        lowest = _lowest_free()
        if lowest != self._lowest or lowest < 0:  # listing them takes a millisecond, and every overload has a guard
            self._open, self._lowest = _files(), lowest

    def changes(self) -> tuple[list[int], list[int]]:
        """The descriptors opened and closed since then."""
        lowest = _lowest_free()
        if lowest == self._lowest:
            return [], []
        here = _files()
        if here == self._open:
            self._lowest = lowest
        return sorted(here - self._open), sorted(self._open - here)

    def close_new(self, value: object) -> None:
        """Closes the opened ones; closed ones cannot be opened again."""
        for number in self.changes()[0]:
            os.close(number)


def _lowest_free() -> int:
    try:
        number = fcntl.fcntl(_STREAMS[0][1], fcntl.F_DUPFD, 3)  # the standard streams have a switch of their own
    except OSError:  # no descriptor is left
        return -1
    os.close(number)
    return number


def _files() -> frozenset[int]:
    """The descriptors of files, except that of the listing itself."""
    return frozenset(number for number in map(int, os.listdir(_LIST)) if number > 2 and _is_file(number))


def _is_file(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    name = str(Path(_LIST, str(number)).readlink()) if sys.platform == "linux" else ""
    return not name.startswith("anon_inode:") and (not name.startswith("/dev/") or name.startswith(("/dev/shm/", "/dev/null")))


_LIST = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"

_FILES = _OpenFiles()


def _function_modes() -> tuple[int, torch.device | None]:
    """Depth of the function mode stack, and the default device, which is one of the modes."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return torch._C._len_torch_function_stack(), context and context.device


def _set_function_modes(value: tuple[int, torch.device | None]) -> None:
    if _function_modes()[1] != value[1]:
        torch.set_default_device(value[1])


def _backend_switches() -> tuple[bool, ...]:
    """The switches of cuDNN and of attention kernels; reading them needs no device."""
    c = torch._C
    return (
        c._get_cudnn_enabled(),
        c._get_cudnn_benchmark(),
        c._get_cudnn_deterministic(),
        c._get_flash_sdp_enabled(),
        c._get_mem_efficient_sdp_enabled(),
        c._get_math_sdp_enabled(),
    )


def _set_backend_switches(value: tuple[bool, ...]) -> None:
    c = torch._C
    setters = (
        c._set_cudnn_enabled,
        c._set_cudnn_benchmark,
        c._set_cudnn_deterministic,
        c._set_sdp_use_flash,
        c._set_sdp_use_mem_efficient,
        c._set_sdp_use_math,
    )
    for setter, on in zip(setters, value, strict=True):
        setter(on)


def _dispatch_keys() -> tuple[int, int, bool]:
    """What this thread includes in and excludes from every dispatch, as raw sets of keys."""
    c = torch._C
    included, excluded = c._dispatch_tls_local_include_set(), c._dispatch_tls_local_exclude_set()
    return included.raw_repr(), excluded.raw_repr(), c._meta_in_tls_dispatch_include()


#: Guards that are never left: leaving one would bring back the keys that it replaced.
_ENTERED_GUARDS: list[Any] = []


def _set_dispatch_keys(value: tuple[int, int, bool]) -> None:
    included, excluded = map(torch._C.DispatchKeySet.from_raw_repr, value[:2])
    guard = torch._C._ForceDispatchKeyGuard(included, excluded)
    guard.__enter__()
    _ENTERED_GUARDS.append(guard)
    torch._C._set_meta_in_tls_dispatch_include(value[2])


_SWITCHES: dict[str, _Switch] = {
    "default dtype": _Switch(torch.get_default_dtype, torch.set_default_dtype),
    "grad mode": _Switch(torch.is_grad_enabled, torch._C._set_grad_enabled),
    "thread count": _Switch(torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": _Switch(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_deterministic,
    ),
    "filling of uninitialized memory": _Switch(
        torch._C._get_deterministic_fill_uninitialized_memory, torch._C._set_deterministic_fill_uninitialized_memory
    ),
    "float32 matmul precision": _Switch(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "mkldnn": _Switch(torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    "anomaly mode": _Switch(torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "autocast on cpu": _Switch(lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
    "inference mode": _Switch(torch.is_inference_mode_enabled, lambda on: None),  # only the guard that entered it can leave it
    "dispatch modes": _Switch(torch._C._len_torch_dispatch_stack, _leave_modes),
    "dispatch keys": _Switch(_dispatch_keys, _set_dispatch_keys),  # after the modes, which include keys of their own
    "function modes": _Switch(_function_modes, _set_function_modes),
    "function transforms": _Switch(lambda: torch._C._functorch.peek_interpreter_stack() is not None, lambda on: None),
    "backend switches": _Switch(_backend_switches, _set_backend_switches),
    "standard streams": _Switch(_streams, _reopen_streams),
    "signal handlers": _Switch(_handlers, _set_handlers),
    "open files": _Switch(_FILES.changes, _FILES.close_new),
    "working folder": _Switch(os.getcwd, os.chdir),
    "environment": _Switch(lambda: os.environ._data, _set_environment),  # type: ignore[attr-defined]
}


_NAMES = tuple(_SWITCHES)
_READERS = tuple(switch.read for switch in _SWITCHES.values())
_KEYS = _NAMES.index("dispatch keys")


class StateGuard:
    """Detects and restores changes of process-wide state since the guard was created."""

    def __init__(self) -> None:
        _FILES.remember()
        self._before = copy.deepcopy(_read())

    def restore_dispatch_keys(self) -> None:
        """Restores the dispatch keys alone, which takes no time.

        Endless recursion inside torch leaves them changed, depending on where it is cut off: in the exit of a context manager.
        """
        keys = self._before[_KEYS]
        if _dispatch_keys() != keys:
            _set_dispatch_keys(keys)

    def restore(self) -> list[str]:
        """Restores the state of the guard's creation, and returns the names of the switches that had changed.

        Raises:
            ProcessUnusableError: a switch cannot be restored; the process has to be replaced.
        """
        now = _read()
        if now == self._before:
            return []
        changed = []
        for at in self._changed(now):
            if _READERS[at]() != self._before[at]:  # else the switches before it have restored it too
                _SWITCHES[_NAMES[at]].write(self._before[at])
                changed.append(at)
        stuck = self._changed(_read())
        if stuck:
            raise ProcessUnusableError(StateChange(tuple(_NAMES[at] for at in stuck)))
        return [_NAMES[at] for at in changed]

    def _changed(self, now: list[Any]) -> list[int]:
        """The positions of the switches that differ from the state of the guard's creation."""
        return [at for at, (value, before) in enumerate(zip(now, self._before, strict=True)) if value != before]


def _read() -> list[Any]:
    """The value of every switch, in the order of ``_NAMES``; read several times per call, hence no dictionary."""
    return [read() for read in _READERS]
