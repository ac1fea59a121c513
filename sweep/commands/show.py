"""``show``: prints one recorded call."""

from __future__ import annotations

import argparse
from typing import Any

from sweep import session
from sweep.calls import corpus
from sweep.commands import options
from sweep.errors import UnknownOverloadError
from sweep.execution.explanation import ShownCall
from sweep.operators.overload import similar


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.work(), options.library(), options.device()]
    parser = commands.add_parser("show", parents=parents, help="print one recorded call")
    parser.add_argument("overload")
    parser.add_argument("call", type=int, nargs="?", default=0, help="its number, from 0")
    parser.add_argument("--corpus", metavar="DIR", help="the recorded calls (default: in the work folder)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints a call."""
    asked = options.of(arguments)
    environment = session.identify(asked)
    folder = session.recorded_corpus(asked, environment)
    names = list(corpus.read_manifest(folder)["overloads"])
    if arguments.overload not in names:
        alike = similar(arguments.overload, names)
        hint = f"; there are some of: {', '.join(alike)}" if alike else ""
        raise UnknownOverloadError(f"no recorded calls of {arguments.overload!r}{hint}")
    with session.sandbox_for(asked) as sandbox:
        shown: ShownCall = sandbox.request(
            "sweep.execution.run:show",
            name=arguments.overload,
            folder=str(folder),
            call=arguments.call,
            device=environment.device,
        )
    print(f"# {shown.source}\n{shown.text}")
    if not shown.exact:
        print(
            "# It has too many values to print, and these are others. To make the call with its own:\n"
            "from pathlib import Path; import torch; from sweep.calls import codec, corpus\n"
            f"call = corpus.load(Path({str(folder)!r}), {arguments.overload!r})[{arguments.call}]\n"
            f"args, kwargs = codec.build(call, {environment.device!r})\n"
            f"torch.ops.{arguments.overload}(*args, **kwargs)"
        )
    return 0
