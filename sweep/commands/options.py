"""What the commands have in common: options, and what an exit status means."""

from __future__ import annotations

import argparse

from sweep.plan import Options

#: Exit status of a command that shows a disagreement, and of every command for a request that cannot be met.
DISAGREES = 1
BAD_REQUEST = 2


def work() -> argparse.ArgumentParser:
    """The option of every command that keeps files."""
    parser = argparse.ArgumentParser(add_help=False)
    text = "folder of recorded calls and of what runs leave behind (default: %(default)s)"
    parser.add_argument("--work-dir", default=Options().work, metavar="DIR", help=text)
    return parser


def library() -> argparse.ArgumentParser:
    """The option of every command that can be about other operators than torch's own."""
    parser = argparse.ArgumentParser(add_help=False)
    text = "the operators that this module registers instead of torch's own; repeatable"
    parser.add_argument("--import", action="append", default=[], dest="libraries", metavar="MODULE", help=text)
    return parser


def device() -> argparse.ArgumentParser:
    """The option of every command that is about one device."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", default=Options().device, help="such as cpu, cuda, cuda:1 (default: %(default)s)")
    return parser


def results() -> argparse.ArgumentParser:
    """The option of every command that reads expect files."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--results", default=Options().results, metavar="DIR", help="folder of the expect files (default: %(default)s)"
    )
    return parser


def of(arguments: argparse.Namespace) -> Options:
    """The options of a command that asks a child about torch."""
    return Options(
        device=getattr(arguments, "device", None) or Options().device,
        corpus=getattr(arguments, "corpus", None),
        work=arguments.work_dir,
        libraries=tuple(arguments.libraries),
        native_cpu=getattr(arguments, "native_cpu", False),
    )
