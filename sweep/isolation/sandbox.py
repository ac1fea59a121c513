"""The sandbox: a long-lived child process that runs functions for the parent, with its limits and its working folder.

How children are forked lives in ``fork_server``, what is made of their deaths in ``supervisor`` and ``recording``. Runs in the
parent; no torch. A child that dies is replaced at the next request by another one of the same fork server.
"""

from __future__ import annotations

import mmap
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from sweep.errors import ChildDiedError, ChildFailedError, ProcessUnusableError, SweepError
from sweep.findings.ending import Ending, EndingKind
from sweep.isolation import messages
from sweep.isolation.fork_server import ForkServer
from sweep.isolation.instruction_sets import pinned_environment
from sweep.isolation.messages import Checkpoint, Raised, Request
from sweep.progress import HEARTBEAT, Activity, Beat, Phase

#: The folder that holds the package ``sweep``: children import it from the same place.
_ROOT = Path(__file__).resolve().parents[2]

#: One thread and one hash seed: what a call returns must depend neither on the machine's load nor on chance.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "KINETO_LOG_LEVEL": "99",
    # Without its cache per thread, glibc fills all new memory as M_PERTURB says (see calls/new_memory.py).
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # else `torch.cuda.is_available()` initializes CUDA, and no forked child can use it
}

#: Seconds between two looks at the heartbeat while the parent waits.
_POLL_INTERVAL = 0.5

#: Seconds to wait for the exit status of a child that has closed its connection.
_EXIT_TIMEOUT = 10.0


class Sandbox:
    """Runs functions in a child process, of which there is at most one at a time; the first request starts it.

    Attributes:
        scratch: folder in which each child gets an empty working folder.
        memory: limit of a child's address space in bytes; 0 is no limit.
        libraries: modules of custom operators that every child imports first.
        limits: activity -> seconds without a heartbeat that it may take, if not the timeout of the request.
        preloads: modules that the fork server imports before it forks children, or functions that it calls (``module:function``).
        native_cpu: let kernels use all instruction sets that the CPU has, rather than the pinned ones.
        environment: environment variables of children beside those that all have.
        starts: how many children have been started.
    """

    def __init__(
        self,
        scratch: Path,
        memory: int = 0,
        libraries: Sequence[str] = (),
        limits: Mapping[Activity, float] | None = None,
        preloads: Sequence[str] = (),
        native_cpu: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.scratch = scratch
        self.memory = memory
        self.libraries = list(libraries)
        self.limits = dict(limits or {})
        self.preloads = list(preloads)
        self.native_cpu = native_cpu
        self.environment = dict(environment or {})
        self.starts = 0
        self._fork_server: ForkServer | None = None
        self._connection: Connection | None = None
        self._heartbeat: mmap.mmap | None = None
        self._last_count, self._last_change = -1, 0.0
        self._folder: Path | None = None
        self._checkpoints: list[Any] = []

    def request(self, function: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Calls a function in the child and returns its return value.

        Args:
            function: ``module:function``; if it declares a parameter ``progress``, it is passed a ``progress.Progress``.
            timeout: seconds without a heartbeat after which the child is killed; ``None`` waits for ever.
            arguments: keyword arguments that can be pickled.

        Raises:
            ChildDiedError: the child died before it replied.
            ChildFailedError: the function raised an exception that is not a :class:`SweepError`, or its reply cannot be read.
            SweepError: the function raised it; it has the attributes ``call``, ``phase`` and ``checkpoints`` of
                :class:`ChildDiedError` in addition. After a ``ProcessUnusableError`` the child is ended.
        """
        self.send(function, **arguments)
        return self.receive(timeout=timeout)

    def send(self, function: str, **arguments: Any) -> None:
        """Sends a request without waiting for the reply."""
        if self._connection is None:
            self._start()
        self._last_count, self._last_change, self._checkpoints = -1, time.monotonic(), []
        with suppress(OSError):  # the child is dead already: `receive` reports how it died
            self.connection.send_bytes(messages.encode(Request(function, arguments)))

    @property
    def connection(self) -> Connection:
        """The connection to the child; readable when there is a message, or when the child has ended."""
        assert self._connection is not None
        return self._connection

    def receive(self, timeout: float | None = None) -> Any:
        """Waits for the reply to what was sent and returns the value. Raises as :meth:`request`."""
        try:
            message = messages.decode_in_parent(self._receive_bytes(timeout))
            while isinstance(message, Checkpoint):
                self._checkpoints.append(message.data)
                message = messages.decode_in_parent(self._receive_bytes(timeout))
        except ChildFailedError as error:
            self._raise(error)
        if isinstance(message, Raised):
            self._raise(message.error)
        return message.value

    def overdue(self, timeout: float) -> bool:
        """Whether the child has shown no heartbeat for longer than allowed, as far as the caller has asked often enough to know.

        Args:
            timeout: seconds that are allowed where ``limits`` has none for the child's activity.
        """
        beat = self._read_heartbeat()
        if beat.count != self._last_count:
            self._last_count, self._last_change = beat.count, time.monotonic()
        return time.monotonic() - self._last_change > self.limits.get(beat.phase.activity, timeout)

    def has_ended(self) -> bool:
        """Whether the child has ended without a reply; a process that it left behind may keep the connection open."""
        assert self._fork_server is not None
        return self._fork_server.exit_status(0) is not None and not self.connection.poll()

    def end_child(self) -> None:
        """Ends the child, if there is one, and removes its working folder; the next request starts another."""
        if self._fork_server is not None:
            self._fork_server.end_child()
        if self._connection is not None:
            self._connection.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._connection = self._folder = None

    def close(self) -> None:
        """Ends the child and the fork server; the next request starts others."""
        self.end_child()
        if self._fork_server is not None:
            self._fork_server.close()
        if self._heartbeat is not None:
            self._heartbeat.close()
        self._fork_server = self._heartbeat = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare_child(self) -> None:
        """Makes the first requests of a new child: it imports the libraries."""
        if self.libraries:
            self.request("sweep.operators.libraries:add", modules=self.libraries)

    def _start(self) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        _remove_abandoned_folders(self.scratch)
        if self._fork_server is not None and self._fork_server.has_ended():
            self.close()
        if self._fork_server is None:
            self._fork_server = self._start_fork_server()
        assert self._heartbeat is not None
        Beat(0, -1, Phase()).pack_into(self._heartbeat)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.scratch))
        ours, theirs = socket.socketpair()
        self._fork_server.fork(theirs.fileno(), self._folder, self.memory)
        theirs.close()
        self._connection = Connection(ours.detach())
        self.starts += 1
        try:
            self.prepare_child()
        except SweepError:
            self.end_child()  # the next request must not find a child that is half prepared
            raise

    def _start_fork_server(self) -> ForkServer:
        working_folder = str(Path.cwd()) if self.libraries else ""
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"), working_folder)))
        pinned = {**_ENVIRONMENT, **pinned_environment(self.native_cpu), **self.environment}
        environment = {**os.environ, **pinned, "PYTHONPATH": path}
        # Files without names: they disappear with the last process that has them open.
        with tempfile.TemporaryFile(dir=self.scratch) as heartbeat, tempfile.TemporaryFile(dir=self.scratch) as output:
            heartbeat.truncate(HEARTBEAT.size)
            self._heartbeat = mmap.mmap(heartbeat.fileno(), HEARTBEAT.size)
            return ForkServer(heartbeat.fileno(), output.fileno(), self.preloads, environment, self.scratch)

    def _receive_bytes(self, timeout: float | None) -> bytes:
        """The next message of the child."""
        while not self.connection.poll(_POLL_INTERVAL):
            if self.has_ended():
                self._raise_died(None)
            if timeout is not None and self.overdue(timeout):
                self._raise_died(Ending(EndingKind.TIMEOUT))
        try:
            return self.connection.recv_bytes()
        except (EOFError, OSError):
            self._raise_died(None)

    def _read_heartbeat(self) -> Beat:
        assert self._heartbeat is not None
        return Beat.unpack_from(self._heartbeat)

    def _raise(self, error: SweepError) -> NoReturn:
        """Raises an error of a function in the child, with its place and its checkpoints."""
        beat = self._read_heartbeat()
        error.call, error.phase, error.checkpoints = beat.call, beat.phase, self._checkpoints
        if isinstance(error, ProcessUnusableError):
            self.end_child()
        raise error

    def _raise_died(self, ending: Ending | None) -> NoReturn:
        """Ends the child and raises how it died: as given, or else by its exit status."""
        assert self._fork_server is not None
        beat = self._read_heartbeat()
        if ending is None:
            status = self._fork_server.exit_status(_EXIT_TIMEOUT)
            # No status: it has closed its connection and lives on.
            ending = Ending(EndingKind.HANGUP) if status is None else Ending.of_exit_status(status)
        self.end_child()
        raise ChildDiedError(ending, beat.call, beat.phase, self._checkpoints)


def each_done(sandboxes: Sequence[Sandbox], timeout: float) -> list[Sandbox]:
    """Waits until at least one of several sandboxes has a message, has ended or is overdue, and returns those.

    Args:
        sandboxes: each has been sent a request.
        timeout: as in :meth:`Sandbox.overdue`.
    """
    while True:
        ready = set(map(id, wait([s.connection for s in sandboxes], _POLL_INTERVAL)))
        done = [s for s in sandboxes if id(s.connection) in ready or s.has_ended() or s.overdue(timeout)]
        if done:
            return done


def _remove_abandoned_folders(scratch: Path) -> None:
    """Removes the working folders of processes that were killed before they could."""
    for folder in scratch.iterdir():
        owner = folder.name.partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
