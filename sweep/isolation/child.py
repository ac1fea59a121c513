"""The loop of a child process: it calls the functions that requests name, and writes heartbeats to shared memory.

The process itself is forked by ``fork_server``; what the functions do lives in the rooms that define them.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import inspect
import mmap
import os
import pickle
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweep.errors import ChildFailedError, SweepError
from sweep.isolation import messages
from sweep.isolation.messages import Checkpoint, Raised, Request, Returned
from sweep.progress import Beat, Phase, Progress

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Has the kernel kill this process when its parent ends, which a parent that is killed cannot do itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(connection: Connection, heartbeat: mmap.mmap, memory: int) -> None:
    """Serves requests until the parent closes the connection.

    Args:
        connection: where requests come from and replies go.
        heartbeat: the shared memory of the heartbeat.
        memory: limit of this process's address space in bytes; 0 is no limit.
    """
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    server = _Server(connection, heartbeat)
    folder = Path.cwd()
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        _empty(folder)  # files that one request left behind would change what the next one sees
        connection.send_bytes(server.reply(request))
        os.ftruncate(1, 0)  # standard output is a file that nobody reads; an operator that prints a lot would fill the disk


class _Server:
    """Answers requests and reports their progress."""

    def __init__(self, connection: Connection, heartbeat: mmap.mmap) -> None:
        self._connection = connection
        self._heartbeat = heartbeat
        self._beat = Beat(0, -1, Phase())
        self._progress = Progress(self._write_beat, self._send_checkpoint)

    def reply(self, encoded: bytes) -> bytes:
        """Calls the function of a request and returns the reply as bytes."""
        self._write_beat(-1, Phase())
        try:
            request: Request = pickle.loads(encoded)
            function = _function(request.function)
            progress = {"progress": self._progress} if _takes_progress(function) else {}
            return messages.encode(Returned(function(**request.arguments, **progress)))
        except SweepError as error:
            return messages.encode(Raised(error))
        except BaseException as error:  # SystemExit and KeyboardInterrupt of an operator as well
            failed = ChildFailedError(type(error).__name__, str(error), traceback.format_exc(), self._beat.call, self._beat.phase)
            return messages.encode(Raised(failed))

    def _write_beat(self, call: int, phase: Phase) -> None:
        self._beat = Beat(self._beat.count + 1, call, phase)
        self._beat.pack_into(self._heartbeat)

    def _send_checkpoint(self, data: Any) -> None:
        self._connection.send_bytes(messages.encode(Checkpoint(data)))


def _function(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function


@functools.cache
def _takes_progress(function: Callable[..., Any]) -> bool:
    return "progress" in inspect.signature(function).parameters


def _empty(folder: Path) -> None:
    """Removes everything in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
