"""The child process: answers requests by calling named functions, and leaves a trace of what it is doing in shared memory.

What a function finds on its way it can tell before it returns, so that it outlives the process. Forked by ``fork_server``; knows
nothing of what it is asked to run.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

#: What the trace holds: a counter that grows with every heartbeat, the call's position, and the phase's name in UTF-8.
HEARTBEAT = struct.Struct("<qq48s")

_PR_SET_PDEATHSIG = 1


def go_with_parent() -> None:
    """Has this process killed when its parent is: that cannot take it along, and the kernel can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(connection: Connection, shared: mmap.mmap, memory: int) -> None:
    """Serves requests until the other side hangs up.

    Args:
        connection: where they come from.
        shared: the memory of the trace.
        memory: bytes of address space this process may have; 0 is no limit.
    """
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    count = 0

    def heartbeat(call: int, phase: str) -> None:
        nonlocal count
        count += 1
        HEARTBEAT.pack_into(shared, 0, count, call, phase.encode()[:48])

    def tell(found: Any) -> None:
        connection.send_bytes(json.dumps({"told": found}).encode())

    folder = Path.cwd()
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except EOFError:
            return
        module, _, function = request["function"].partition(":")
        heartbeat(-1, "start")
        _empty(folder)  # what one request left there would change what the next one finds
        try:
            helpers = {"heartbeat": heartbeat, "tell": tell} if request["tells"] else {"heartbeat": heartbeat}
            value = getattr(importlib.import_module(module), function)(**request["arguments"], **helpers)
            reply = json.dumps({"value": value})
        except BaseException as error:  # the parent raises it anew, with this traceback
            reply = json.dumps({"error": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()})
        connection.send_bytes(reply.encode())
        # What an operator printed belongs to no one; without this, a talkative one would fill the disk.
        os.ftruncate(1, 0)


def _empty(folder: Path) -> None:
    with os.scandir(folder) as left:
        for entry in left:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
