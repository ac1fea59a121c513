"""What the sandbox's tests have a child process do: answer, raise, die in every way, or never come to an end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def heed_ctrl_c():
    """For a process about to start: a shell's background jobs, and all that they start, ignore Ctrl-C otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def echo(heartbeat, **arguments):
    return arguments


def pid(heartbeat):
    return os.getpid()


def parent(heartbeat):
    return os.getppid()


_remembered = []


def remember(value, heartbeat):
    _remembered.append(value)
    return _remembered


def working_folder(heartbeat):
    folder = Path.cwd()
    return [str(folder), sorted(p.name for p in folder.iterdir())]


def litter(heartbeat):
    Path("folder").mkdir()
    Path("folder", "inner").touch()
    Path("file").touch()
    return working_folder(heartbeat)[1]


def tell_all(values, heartbeat, tell):
    for value in values:
        tell(value)
    heartbeat(5, "told")
    return len(values)


def tell_and_die(values, heartbeat, tell):
    tell_all(values, heartbeat, tell)
    os.abort()


def tell_and_fail(values, heartbeat, tell):
    tell_all(values, heartbeat, tell)
    raise LookupError


def fail(message, heartbeat):
    raise LookupError(message)


def unspeakable(heartbeat):
    return object()


def kill(number, call, phase, heartbeat):
    heartbeat(call - 1, "before")
    heartbeat(call, phase)
    os.kill(os.getpid(), number)
    signal.pause()


def abort(heartbeat):
    heartbeat(2, "abort")
    os.abort()


def leave(code, heartbeat):
    heartbeat(3, "leave")
    os._exit(code)


def sleep(seconds, heartbeat):
    heartbeat(4, "sleep")
    time.sleep(seconds)


def busy(seconds, heartbeat):
    until = time.monotonic() + seconds
    at = 0
    while time.monotonic() < until:
        heartbeat(at, "busy")
        at += 1
        time.sleep(0.05)
    return "done"


def talk(megabytes, heartbeat):
    for descriptor in (1, 2):
        for _ in range(megabytes):
            os.write(descriptor, b"x" * 2**20)
    return megabytes


def printed_bytes(heartbeat):
    return os.fstat(1).st_size


def read_input(heartbeat):
    return os.read(0, 10).decode()
