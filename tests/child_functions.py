"""Functions that the sandbox's tests run in a child process: they return, raise, die in every way, or never come to an end."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from fractions import Fraction
from pathlib import Path

from sweep.errors import ProcessUnusableError, UnknownCallError
from sweep.findings.finding import Finding, Key, Result
from sweep.findings.kind import StateChange
from sweep.progress import Activity, Phase


def accept_ctrl_c():
    """For a process about to start: a shell's background jobs, and all that they start, ignore Ctrl-C otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def echo(**arguments):
    return arguments


def pid():
    return os.getpid()


def parent():
    return os.getppid()


def cpu_seconds():
    return time.process_time()


def variables(names):
    return {name: os.environ.get(name) for name in names}


_remembered = []


def remember(value):
    _remembered.append(value)
    return _remembered


def working_folder():
    folder = Path.cwd()
    return [str(folder), sorted(p.name for p in folder.iterdir())]


def litter():
    Path("folder").mkdir()
    Path("folder", "inner").touch()
    Path("file").touch()
    return working_folder()[1]


def save_all(values, progress):
    for value in values:
        progress.checkpoint(value)
    progress.beat(5, Phase(Activity.REAL))
    return len(values)


def save_and_die(values, progress):
    save_all(values, progress)
    os.abort()


def save_and_fail(values, progress):
    save_all(values, progress)
    raise LookupError


def save_and_raise(values, progress):
    save_all(values, progress)
    raise UnknownCallError("no call 7")


def fail(message):
    raise LookupError(message)


def become_unusable(by_prediction=False):
    raise ProcessUnusableError(StateChange(("open files", "grad mode")), by_prediction=by_prediction)


def return_a_fraction():
    return Fraction(1, 2)


def return_a_function():
    return os.system


def return_a_lambda():
    return lambda: None


class Intruder:
    """An object whose pickle asks the parent to run a command."""

    def __reduce__(self):
        return os.system, ("true",)


def return_an_intruder():
    return Intruder()


def save_garbage(progress):
    """Writes bytes to the connection that are no message."""
    progress.checkpoint.__self__._connection.send_bytes(b"\x80\x05garbage")


def kill(number, call, phase, progress):
    progress.beat(call - 1, Phase(Activity.REAL))
    progress.beat(call, phase)
    os.kill(os.getpid(), number)
    signal.pause()


def abort(progress):
    progress.beat(2, Phase(Activity.EXAMPLE))
    os.abort()


def leave(code, progress):
    progress.beat(3, Phase(Activity.ATTEMPT))
    os._exit(code)


def sleep(seconds, progress):
    progress.beat(4, Phase(Activity.RECORD))
    time.sleep(seconds)


def busy(seconds, progress):
    until = time.monotonic() + seconds
    at = 0
    while time.monotonic() < until:
        progress.beat(at, Phase(Activity.REAL))
        at += 1
        time.sleep(0.05)
    return "done"


def talk(megabytes):
    for descriptor in (1, 2):
        for _ in range(megabytes):
            os.write(descriptor, b"x" * 2**20)
    return megabytes


def printed_bytes():
    return os.fstat(1).st_size


def read_input():
    return os.read(0, 10).decode()


# --- stand-ins for the entry points of ``execution.run``, for a supervisor ---------------------------------------------


#: Blocks of memory whose headers have been overwritten.
_ruined = []


def ruin_heap():
    """Overwrites what the allocator keeps in front of a block, as a kernel does that writes past its tensors, and returns.

    The allocator finds that, and aborts the process, when the block is freed.
    """
    block = _libc().malloc(1000)
    ctypes.memset(block - 16, 0x41, 16)
    _ruined.append(block)


def use_heap():
    """Dies if the heap is ruined."""
    libc = _libc()
    for block in [*_ruined, *(libc.malloc(1000) for _ in range(8))]:
        libc.free(block)


def _libc():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    return libc


def check_overload(name, folder, device, crossrefs, skip, examples, limit, memory, checkpoints, progress):
    """Crashes in the prediction of call 1, unless that is skipped."""
    use_heap()
    if (1, crossrefs[0], "") not in skip:
        progress.beat(1, Phase(Activity.PREDICTION, crossrefs[0]))
        os.kill(os.getpid(), signal.SIGSEGV)
        signal.pause()
    return Result(name, calls=3)


def check_overload_and_ruin_heap(progress, **arguments):
    """Does the same; the calls that return leave the heap in ruins."""
    result = check_overload(**arguments, progress=progress)
    ruin_heap()
    return result


def make_real_call(name, folder, call, device, memory):
    return None


def make_real_call_and_ruin_heap(name, folder, call, device, memory, progress):
    progress.beat(call, Phase(Activity.REAL))
    ruin_heap()


def count(name, folder):
    return 3, {0, 1, 2}


def describe_death(name, folder, positions, device, key: Key):
    use_heap()
    return Finding(key.crossref, key.place, key.kind, key.index, "", "", ("fake", "real"), (), len(positions), "example")
