"""The fork server: a process that has imported the modules that children need, and forks one child after the other.

What a child does after the fork lives in ``child``; when one is needed is decided in ``sandbox``. No torch of its own.

Importing torch takes two seconds; forking a process that has imported it, 30 ms. The fork server makes no call and touches no
device, so a child starts in the state of a new process. :class:`ForkServer` starts it as ``python -m sweep.isolation.fork_server
CONTROL HEARTBEAT PRELOAD...``. For each child the parent sends the descriptor of a connection and a folder over the control
socket, and receives first the child's process id, then its exit status.
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
from sweep.progress import HEARTBEAT

_NUMBER = struct.Struct("<q")

#: Seconds that a killed process may take to end.
_KILL_TIMEOUT = 60.0

#: Upper bound of the size of an order in bytes: the name of a folder and a number, as JSON.
_ORDER_BYTES = 1 << 16


class ForkServer:
    """The parent's handle of a fork server, which has at most one child at a time.

    Args:
        heartbeat: descriptor of the shared memory in which children write their heartbeats.
        output: descriptor of the file that takes what they print.
        preloads: modules to import before the first fork, or functions to call then (``module:function``).
        environment: environment variables of the fork server and its children.
        folder: working folder of the fork server.
    """

    def __init__(
        self, heartbeat: int, output: int, preloads: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self._control, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sweep.isolation.fork_server", str(theirs.fileno()), str(heartbeat), *preloads],
            pass_fds=(theirs.fileno(), heartbeat),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the parent alone, which then ends its child
        )
        theirs.close()
        self._child: int | None = 0
        self._status: int | None = None

    def fork(self, connection: int, folder: Path, memory: int) -> None:
        """Orders a child that serves requests (see ``child``) in a session of its own; does not wait for it to start.

        Args:
            connection: descriptor of the child's side of the connection.
            folder: working folder of the child.
            memory: limit of its address space in bytes; 0 is no limit.
        """
        self._control.settimeout(None)
        order = json.dumps({"folder": str(folder), "memory": memory}).encode()
        with suppress(OSError):  # the fork server has ended: `child` and `exit_status` report that
            socket.send_fds(self._control, [order], [connection])
        self._child = self._status = None

    @property
    def child(self) -> int:
        """Process id of the child; 0 if there is none."""
        if self._child is None:
            self._child = self._receive(None) or 0
        return self._child

    def exit_status(self, timeout: float | None) -> int | None:
        """The exit status of the child, or a signal's number, negated.

        A child dies with its fork server; its status is then that of the fork server.

        Args:
            timeout: seconds to wait for its end; ``None`` waits for ever.

        Returns:
            The status, or ``None`` if the child is still alive.
        """
        if self._status is None:
            with suppress(TimeoutError, BlockingIOError):
                if self._child is None:
                    self._child = self._receive(timeout) or 0
                status = self._receive(timeout)
                self._status = self._process.wait() if status is None else status
        return self._status

    def end_child(self) -> None:
        """Kills the child with all processes that it has started, and waits for its end.

        A child that a driver keeps from ending is left behind together with this fork server.
        """
        if not self.child:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.child, signal.SIGKILL)
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGKILL)  # a child that was just forked may not have its own session yet
            if self.exit_status(_KILL_TIMEOUT) is None:
                self.close()

    def has_ended(self) -> bool:
        """Whether the fork server itself has ended, so that it can fork no more."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Ends the fork server, and its child if there is one."""
        self._child = 0
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, timeout: float | None) -> int | None:
        """The next number from the fork server; ``None`` if it has ended."""
        self._control.settimeout(timeout)
        try:
            number = self._control.recv(_NUMBER.size)
        except ConnectionError:
            number = b""
        return int(_NUMBER.unpack(number)[0]) if number else None


def main(control: int, heartbeat: int, preloads: Sequence[str]) -> None:
    """Forks children until the parent closes the control socket.

    Args:
        control: descriptor of the control socket.
        heartbeat: descriptor of the shared memory.
        preloads: modules to import first, or functions to call. Failures of imports are ignored: a child that needs the module
            raises the error again.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are expected; core files would fill the disk
    child.die_with_parent()
    shared = mmap.mmap(heartbeat, HEARTBEAT.size)
    os.close(heartbeat)
    for preload in preloads:
        module, _, function = preload.partition(":")
        with suppress(ImportError, OSError):
            imported = importlib.import_module(module)
            if function:
                getattr(imported, function)()
    gc.freeze()
    server, orders = os.getpid(), socket.socket(fileno=control)
    while True:
        order, descriptors, _, _ = socket.recv_fds(orders, _ORDER_BYTES, 1)
        if not order:
            return
        pid = os.fork()
        if not pid:
            orders.close()
            _run_child(Connection(descriptors[0]), shared, server, **json.loads(order))
        os.close(descriptors[0])
        orders.sendall(_NUMBER.pack(pid))
        _, status = os.waitpid(pid, 0)
        orders.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _run_child(connection: Connection, heartbeat: mmap.mmap, server: int, folder: str, memory: int) -> None:
    """Everything that a child does, from the fork to its end; does not return."""
    status = 1
    try:
        os.setsid()
        child.die_with_parent()
        if os.getppid() == server:  # else it was killed before the kernel knew to kill this process with it
            os.chdir(folder)
            child.serve(connection, heartbeat, memory)
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
