"""``merge``: puts the shards of a sweep together: one ``run.jsonl``, one summary, and one change of the expect files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sweep import session
from sweep.commands import options
from sweep.expect.folder import shown
from sweep.plan import Options, work_folder
from sweep.report import merging, renderers, run_jsonl


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.work(), options.results()]
    parser = commands.add_parser("merge", parents=parents, help="put the shards of a sweep together, as if they were one run")
    text = f"a {run_jsonl.NAME} that a run with --shard has left, or a folder, which is searched for such files"
    parser.add_argument("paths", nargs="*", metavar="PATH", help=text)
    parser.add_argument("--accept", action="store_true", help="write the results into the expect files")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Merges, and returns the exit status that one run over all of the overloads would have had."""
    shards = merging.read(merging.files_of(arguments.paths))
    environment = shards[0].part.sweep.environment
    asked = Options(
        results=arguments.results,
        work=arguments.work_dir,
        libraries=tuple(environment.libraries),
        native_cpu=environment.native_cpu,
        accept=arguments.accept,
    )
    session.check_combinations(asked)
    work = session.absolute_work(asked)
    conclusion = merging.conclusion(shards, Path(asked.results).resolve(), work, sys.argv[1:], accept=asked.accept)
    status = conclusion.conclude(conclusion.status_of_items())
    print(f"{len(shards)} shards merged into {shown(work_folder(work, environment) / run_jsonl.NAME)}\n")
    print(renderers.render("terminal", conclusion.run()), end="")
    return int(status)
