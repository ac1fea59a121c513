"""The sandbox: a long-lived child process that calls are made in, its limits, and the names of the ways in which it can end.

The parent never imports torch and never touches a device. A child that dies is replaced at the next request, by another one of
the same fork_server.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from sweep.isolation.child import HEARTBEAT
from sweep.isolation.fork_server import ForkServer

_ROOT = Path(__file__).resolve().parent.parent

#: One thread and one hash seed: what a call returns must not depend on the machine's load or the process's luck.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "KINETO_LOG_LEVEL": "99",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # else a mere question whether there is CUDA starts it, and no fork can use it then
}

#: How often a waiting parent looks at the trace, in seconds.
_GLANCE = 0.5


class Died(Exception):
    """The child ended in the middle of a request.

    Attributes:
        ending: how, by the one name it has everywhere: ``crash SIGSEGV``, ``exit 3``, ``timeout``.
        call: position of the call it was making; negative if it was not at one.
        phase: what it was doing.
        told: what the function had told before.
    """

    def __init__(self, ending: str, call: int, phase: str, told: Sequence[Any] = ()) -> None:
        super().__init__(f"{ending} at call {call} ({phase})")
        self.ending, self.call, self.phase, self.told = ending, call, phase, list(told)


class ChildError(Exception):
    """A function in the child raised.

    Attributes:
        name: the exception's class name.
        message: its text.
        traceback: where it happened, as text.
        call: position of the call it was making; negative if it was not at one.
        phase: what it was doing.
        told: what the function had told before.
    """

    def __init__(
        self, name: str, message: str, traceback: str, call: int = -1, phase: str = "", told: Sequence[Any] = ()
    ) -> None:
        super().__init__(f"{name}: {message}\n{traceback}")
        self.name, self.message, self.traceback = name, message, traceback
        self.call, self.phase, self.told = call, phase, list(told)


class Sandbox:
    """One child process at a time, started when it is first needed.

    Attributes:
        scratch: where its empty working folder is made.
        memory: bytes of address space a child may have; 0 is no limit.
        libraries: modules that every child imports first of all.
        modules: what children are made ready with (see ``fork_server``).
        limits: phase -> seconds without a new trace that it may take, where that is not the timeout of the request.
        starts: how many children there have been.
    """

    def __init__(
        self,
        scratch: Path,
        memory: int = 0,
        libraries: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
        modules: Sequence[str] = (),
    ) -> None:
        self.scratch = scratch
        self.memory = memory
        self.libraries = list(libraries)
        self.modules = list(modules)
        self.limits = dict(limits or {})
        self.starts = 0
        self._fork_server: ForkServer | None = None
        self._connection: Connection | None = None
        self._trace: mmap.mmap | None = None
        self._seen, self._since = -1, 0.0
        self._folder: Path | None = None
        self._told: list[Any] = []

    def request(self, function: str, *, timeout: float | None = None, tells: bool = False, **arguments: Any) -> Any:
        """Calls a function in the child and returns what it returned.

        Args:
            function: ``module:function``; it is also passed ``heartbeat``, to leave a trace with.
            timeout: seconds without a new trace after which the child is killed; ``None`` waits for ever.
            tells: it is also passed ``tell``, which takes plain data; what it told is known if it does not return.
            arguments: its arguments, as plain data.

        Raises:
            Died: the child ended before it answered.
            ChildError: the function raised.
        """
        self.send(function, tells=tells, **arguments)
        return self.receive(timeout=timeout)

    def send(self, function: str, *, tells: bool = False, **arguments: Any) -> None:
        """Sends a request without waiting for the answer."""
        if self._connection is None:
            self._start()
        assert self._connection is not None
        self._seen, self._since, self._told = -1, time.monotonic(), []
        request = {"function": function, "arguments": arguments, "tells": tells}
        with suppress(OSError):  # it is gone already: receive says how
            self._connection.send_bytes(json.dumps(request).encode())

    @property
    def connection(self) -> Connection:
        """What becomes readable when there is an answer, or when the child has ended."""
        assert self._connection is not None
        return self._connection

    def receive(self, timeout: float | None = None) -> Any:
        """Waits for the answer to what was sent. Raises as :meth:`request`."""
        reply = self._next(timeout)
        while "told" in reply:
            self._told.append(reply["told"])
            reply = self._next(timeout)
        if "error" in reply:
            raise ChildError(reply["error"], reply["message"], reply["traceback"], *self._read_trace()[1:], self._told)
        return reply["value"]

    def _next(self, timeout: float | None) -> dict[str, Any]:
        """The next message of the child."""
        assert self._connection is not None
        while not self._connection.poll(_GLANCE):
            if self._is_gone():
                self._raise_died(None)
            if timeout is not None and self.overdue(timeout):
                self._raise_died("timeout")
        try:
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            self._raise_died(None)
        return message

    def _is_gone(self) -> bool:
        """Whether the child has ended without an answer, whoever may have inherited its end of the connection."""
        assert self._fork_server is not None
        return self._fork_server.ending(0) is not None and not self.connection.poll()

    def overdue(self, timeout: float) -> bool:
        """Whether the child has left no new trace for so many seconds; it is only right if it is asked again and again."""
        count, _, phase = self._read_trace()
        if count != self._seen:
            self._seen, self._since = count, time.monotonic()
        return time.monotonic() - self._since > self.limits.get(phase, timeout)

    def end_child(self) -> None:
        """Ends the child, if there is one, and removes its folder; the next request has another one."""
        if self._fork_server is not None:
            self._fork_server.end_child()
        if self._connection is not None:
            self._connection.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._connection = self._folder = None

    def close(self) -> None:
        """Ends the child and the fork_server; the next request has new ones."""
        self.end_child()
        if self._fork_server is not None:
            self._fork_server.close()
        if self._trace is not None:
            self._trace.close()
        self._fork_server = self._trace = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        _sweep_up(self.scratch)
        if self._fork_server is not None and self._fork_server.is_gone():
            self.close()
        if self._fork_server is None:
            self._fork_server = self._started_fork_server()
        assert self._trace is not None
        HEARTBEAT.pack_into(self._trace, 0, 0, -1, b"")
        self._folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.scratch))
        ours, theirs = socket.socketpair()
        self._fork_server.fork(theirs.fileno(), self._folder, self.memory)
        theirs.close()
        self._connection = Connection(ours.detach())
        self.starts += 1
        if self.libraries:
            self.request("sweep.operators.libraries:add", modules=self.libraries)

    def _started_fork_server(self) -> ForkServer:
        here = str(Path.cwd()) if self.libraries else ""
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"), here)))
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": path}
        # Files without names, which go when the last process that has them open goes.
        with tempfile.TemporaryFile(dir=self.scratch) as trace, tempfile.TemporaryFile(dir=self.scratch) as output:
            trace.truncate(HEARTBEAT.size)
            self._trace = mmap.mmap(trace.fileno(), HEARTBEAT.size)
            return ForkServer(trace.fileno(), output.fileno(), self.modules, environment, self.scratch)

    def _read_trace(self) -> tuple[int, int, str]:
        assert self._trace is not None
        count, call, phase = HEARTBEAT.unpack_from(self._trace, 0)
        return count, call, phase.rstrip(b"\0").decode()

    def _raise_died(self, ending: str | None) -> NoReturn:
        assert self._fork_server is not None
        _, call, phase = self._read_trace()
        ending = ending or _ending_name(self._fork_server.ending(10.0))
        self.end_child()
        raise Died(ending, call, phase, self._told)


def _ending_name(code: int | None) -> str:
    """What an exit status is called, which is negative for a signal; ``None`` is a child that closed its pipe and lives on."""
    if code is None:
        return "hangs up"
    return f"crash {_signal_name(-code)}" if code < 0 else f"exit {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"SIG{number}"


def _sweep_up(scratch: Path) -> None:
    """Removes the folders of processes that were killed before they could."""
    for folder in scratch.iterdir():
        owner = folder.name.partition("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def each_done(sandboxes: list[Sandbox], timeout: float) -> list[Sandbox]:
    """Waits until at least one of several sandboxes has an answer, has ended or is overdue, and returns those."""
    while True:
        ready = set(map(id, wait([s.connection for s in sandboxes], _GLANCE)))
        done = [s for s in sandboxes if id(s.connection) in ready or s._is_gone() or s.overdue(timeout)]
        if done:
            return done
