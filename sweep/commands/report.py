"""``report``: prints the last run again, or one that another machine has left."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sweep import session
from sweep.commands import options
from sweep.errors import UsageError
from sweep.plan import work_folder
from sweep.report import renderers, run_jsonl

#: The renderer that prints what a run prints at its end.
DEFAULT_FORMAT = "terminal"


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.work(), options.library(), options.device()]
    parser = commands.add_parser("report", parents=parents, help="print a run again")
    file = f"the {run_jsonl.NAME} of a run; by default that of the last run of a device and its torch"
    parser.add_argument("file", nargs="?", metavar="FILE", help=file)
    formats = ", ".join(renderers.names())
    text = f"one of: {formats} (default: %(default)s)"
    parser.add_argument("--format", default=DEFAULT_FORMAT, metavar="NAME", help=text)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Renders a run."""
    name = renderers.check_name(arguments.format)
    print(renderers.render(name, run_jsonl.read(_file(arguments))), end="")
    return 0


def _file(arguments: argparse.Namespace) -> Path:
    """The file that the user named, or that of the last run.

    Raises:
        UsageError: the user named one that does not exist.
    """
    if arguments.file is not None:
        if not Path(arguments.file).exists():
            raise UsageError(f"{arguments.file} does not exist")
        return Path(arguments.file)
    asked = options.of(arguments)
    return work_folder(session.absolute_work(asked), session.identify(asked)) / run_jsonl.NAME
