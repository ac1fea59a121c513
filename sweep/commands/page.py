"""``page``: writes all checked-in results as one HTML file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sweep import files
from sweep.commands import options
from sweep.errors import UsageError
from sweep.expect import shown
from sweep.page import document, model

#: The name of the file in the work folder, if the user names none.
_NAME = "report.html"


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.results(), options.work()]
    parser = commands.add_parser("page", parents=parents, help="write the checked-in results as one HTML page")
    parser.add_argument("file", nargs="?", metavar="FILE", help=f"where to (default: {_NAME} in the work folder)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes the page and prints its path."""
    path = Path(arguments.file or Path(arguments.work_dir) / _NAME)
    page = model.read(Path(arguments.results), Path(arguments.work_dir))
    for line in page.unreadable:
        print(f"left out: {line}", file=sys.stderr)
    try:
        files.replace(path, document.render(page))
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror}): name another file, as in `page FILE`") from None
    print(shown(path))
    return 0
