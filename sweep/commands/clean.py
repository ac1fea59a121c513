"""``clean``: removes the work folder."""

from __future__ import annotations

import argparse
import shutil
from typing import Any

from sweep.commands import options


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser("clean", parents=[options.work()], help="remove the work folder; expect files stay")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Removes the folder."""
    shutil.rmtree(arguments.work_dir, ignore_errors=True)
    return 0
