"""The fork_server: a process that has imported what children need, and forks one child after the other.

Importing torch and what crossrefs need of it takes two seconds; forking a process that has done so, 30 ms. The fork_server makes no
call and touches no device, so a child finds what a new process would find. Started as ``python -m sweep.fork_server CONTROL HEARTBEAT
MODULE...`` by :class:`ForkServer`, its other side: that sends a folder and the descriptor of a connection, is sent the child's
process id, and, once it has ended, how.
"""

from __future__ import annotations

import gc
import importlib
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from sweep.isolation import child

_NUMBER = struct.Struct("<q")

#: Seconds that a process may take to end once it was killed.
_PATIENCE = 60.0

#: What the fork_server is sent with a descriptor fits into so many bytes: a folder's name and a number.
_LONGEST = 1 << 16


class ForkServer:
    """The side of who wants children, at most one of them at a time.

    Args:
        trace: descriptor of the memory in which children leave their traces.
        output: descriptor that takes what they print.
        modules: what they need imported.
        environment: their environment.
        folder: where the fork_server itself works.
    """

    def __init__(self, trace: int, output: int, modules: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._control, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sweep.isolation.fork_server", str(theirs.fileno()), str(trace), *modules],
            pass_fds=(theirs.fileno(), trace),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the parent, which ends its child in good order
        )
        theirs.close()
        self._child: int | None = 0
        self._ended: int | None = None

    def fork(self, connection: int, folder: Path, memory: int) -> None:
        """Has a child forked, which serves requests (see ``child``) in a session of its own, and does not wait until it is.

        Args:
            connection: descriptor of its side of the connection.
            folder: where it works.
            memory: bytes of address space that it may have; 0 is no limit.
        """
        self._control.settimeout(None)
        with suppress(OSError):  # the fork_server is gone: whoever waits for the child is told
            socket.send_fds(self._control, [json.dumps({"folder": str(folder), "memory": memory}).encode()], [connection])
        self._child = self._ended = None

    @property
    def child(self) -> int:
        """Process id of the child; 0 if there is none."""
        if self._child is None:
            self._child = self._said(None) or 0
        return self._child

    def ending(self, timeout: float | None) -> int | None:
        """How the child ended: its exit status, or a signal's number, negated; ``None`` if it has not after so many seconds.

        A child goes with its fork_server, and ended as that did.
        """
        if self._ended is None:
            with suppress(TimeoutError, BlockingIOError):
                if self._child is None:
                    self._child = self._said(timeout) or 0
                said = self._said(timeout)
                self._ended = self._process.wait() if said is None else said
        return self._ended

    def end_child(self) -> None:
        """Kills the child with all that it has started and left behind, and waits for its end.

        One that does not come to it, because a driver does not let it, is left behind, with this fork_server.
        """
        if not self.child:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.child, signal.SIGKILL)
        if self._ended is None:
            with suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)  # a new one may not have its session yet
            if self.ending(_PATIENCE) is None:
                self.close()

    def is_gone(self) -> bool:
        """Whether the fork_server itself has ended, so that it can have no other child."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Ends the fork_server, and a child that it still has."""
        self._child = 0
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _said(self, timeout: float | None) -> int | None:
        """What the fork_server says next; ``None`` if it is gone."""
        self._control.settimeout(timeout)
        try:
            said = self._control.recv(_NUMBER.size)
        except ConnectionError:
            said = b""
        return int(_NUMBER.unpack(said)[0]) if said else None


def main(control: int, trace: int, modules: Sequence[str]) -> None:
    """Forks children until whoever wants them hangs up.

    Args:
        control: file descriptor of the socket.
        trace: file descriptor of the shared memory.
        modules: names of modules to import first. What cannot be imported here, a child that needs it says.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected, and core files nobody's
    child.go_with_parent()
    shared = mmap.mmap(trace, child.HEARTBEAT.size)
    os.close(trace)
    for module in modules:
        with suppress(ImportError, OSError):
            importlib.import_module(module)
    gc.freeze()
    mine, orders = os.getpid(), socket.socket(fileno=control)
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, _LONGEST, 1)
        if not order:
            return
        pid = os.fork()
        if not pid:
            orders.close()
            _serve(Connection(descriptors[0]), shared, mine, **json.loads(order))
        os.close(descriptors[0])
        orders.sendall(_NUMBER.pack(pid))
        _, status = os.waitpid(pid, 0)
        orders.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _serve(connection: Connection, shared: mmap.mmap, fork_server: int, folder: str, memory: int) -> None:
    """What a child does, from its first moment to its last."""
    status = 1
    try:
        os.setsid()
        child.go_with_parent()
        if os.getppid() == fork_server:  # it may have been killed before
            os.chdir(folder)
            child.serve(connection, shared, memory)
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
