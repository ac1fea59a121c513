"""The command line, ``python -m sweep list | show | check | ...``. Sweeping itself is pytest's business.

Each command is a file in ``commands``; what they share with pytest stands in ``session``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from sweep.commands import adopt, causes, check, clean, coverage, diff, listing, merge, page, record, report, repro, search, show
from sweep.commands.options import BAD_REQUEST
from sweep.errors import UserError

_COMMANDS = (listing, record, show, check, report, merge, page, diff, repro, causes, search, adopt, coverage, clean)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        Its exit status: 0 for success, 1 if ``check`` finds something, 2 for a request that cannot be met; ``merge`` has that of
        a run.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()  # here, where a reader that is gone is noticed
    except UserError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return BAD_REQUEST
    except BrokenPipeError:
        # The reader of our output, such as `head`, is gone; what is still buffered has nowhere to go when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sweep", description=__doc__.partition(". ")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in _COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
