"""``record``: records the corpus anew."""

from __future__ import annotations

import argparse
from typing import Any

from sweep import session
from sweep.calls import corpus
from sweep.commands import options
from sweep.errors import UsageError
from sweep.plan import Options, scratch_folder
from sweep.recording import record as recording


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.work(), options.library(), options.device()]
    parser = commands.add_parser("record", parents=parents, help="record the corpus anew")
    workers = "recording processes (default: %(default)s)"
    parser.add_argument("--workers", type=int, default=Options().workers, help=workers)
    only = "only tasks that match, as 'opinfo:*/float32'; needs --corpus"
    parser.add_argument("--only", action="append", metavar="GLOB", help=only)
    parser.add_argument("--corpus", metavar="DIR", help="where to put it (default: in the work folder)")
    pairs = "also combine unusual arguments of each overload in pairs, which takes as long again; needs --corpus"
    parser.add_argument("--pairs", action="store_true", help=pairs)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Records."""
    if arguments.only and not arguments.corpus:
        raise UsageError("--only records a part, which must not replace the whole corpus: name another folder with --corpus DIR")
    if arguments.pairs and not arguments.corpus:
        raise UsageError("--pairs records calls that the baseline does not know: name another folder with --corpus DIR")
    if arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1 process has to record")
    asked = options.of(arguments)
    environment = session.identify(asked)
    folder = session.recorded_corpus(asked, environment)
    if folder.exists() and any(folder.iterdir()) and not (folder / corpus.MANIFEST).exists():
        raise UsageError(f"{folder} is not empty and not a corpus: name another folder")
    scratch = scratch_folder(session.absolute_work(asked))
    with session.corpus_lock(folder):
        recording.record(
            folder, environment, workers=arguments.workers, scratch=scratch, only=arguments.only, pairs=arguments.pairs
        )
    return 0
