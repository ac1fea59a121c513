"""What the sandbox's tests have a child process do: answer, raise, die in every way, or never come to an end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def heed_ctrl_c():
    """For a process about to start: a shell's background jobs, and all that they start, ignore Ctrl-C otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def echo(mark, **arguments):
    return arguments


def pid(mark):
    return os.getpid()


def parent(mark):
    return os.getppid()


_remembered = []


def remember(value, mark):
    _remembered.append(value)
    return _remembered


def working_folder(mark):
    folder = Path.cwd()
    return [str(folder), sorted(p.name for p in folder.iterdir())]


def litter(mark):
    Path("folder").mkdir()
    Path("folder", "inner").touch()
    Path("file").touch()
    return working_folder(mark)[1]


def tell_all(values, mark, tell):
    for value in values:
        tell(value)
    mark(5, "told")
    return len(values)


def tell_and_die(values, mark, tell):
    tell_all(values, mark, tell)
    os.abort()


def tell_and_fail(values, mark, tell):
    tell_all(values, mark, tell)
    raise LookupError


def fail(message, mark):
    raise LookupError(message)


def unspeakable(mark):
    return object()


def kill(number, call, phase, mark):
    mark(call - 1, "before")
    mark(call, phase)
    os.kill(os.getpid(), number)
    signal.pause()


def abort(mark):
    mark(2, "abort")
    os.abort()


def leave(code, mark):
    mark(3, "leave")
    os._exit(code)


def sleep(seconds, mark):
    mark(4, "sleep")
    time.sleep(seconds)


def busy(seconds, mark):
    until = time.monotonic() + seconds
    at = 0
    while time.monotonic() < until:
        mark(at, "busy")
        at += 1
        time.sleep(0.05)
    return "done"


def talk(megabytes, mark):
    for descriptor in (1, 2):
        for _ in range(megabytes):
            os.write(descriptor, b"x" * 2**20)
    return megabytes


def printed_bytes(mark):
    return os.fstat(1).st_size


def read_input(mark):
    return os.read(0, 10).decode()
