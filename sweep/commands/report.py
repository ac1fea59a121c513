"""``report``: prints the last run again."""

from __future__ import annotations

import argparse
from typing import Any

from sweep import session
from sweep.commands import options
from sweep.plan import work_folder
from sweep.report import renderers, run_jsonl

#: The renderer that prints what a run prints at its end.
DEFAULT_FORMAT = "terminal"


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.work(), options.library(), options.device()]
    parser = commands.add_parser("report", parents=parents, help="print the last run again")
    formats = ", ".join(renderers.names())
    text = f"one of: {formats} (default: %(default)s)"
    parser.add_argument("--format", default=DEFAULT_FORMAT, metavar="NAME", help=text)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Renders the last run."""
    name = renderers.check_name(arguments.format)
    asked = options.of(arguments)
    environment = session.identify(asked)
    run = run_jsonl.read(work_folder(session.absolute_work(asked), environment) / run_jsonl.NAME)
    print(renderers.render(name, run), end="")
    return 0
