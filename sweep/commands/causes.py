"""``causes``: lists which functions of torch answer for the findings of the expect files, or finds that out anew."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tabulate import tabulate

from sweep import expect, session
from sweep.causes import causes_file, update
from sweep.causes.cause import Cause, Causes, together
from sweep.commands import options
from sweep.errors import UsageError
from sweep.expect.expect_file import ExpectFile
from sweep.isolation.sandbox import Sandbox
from sweep.operators.environment import Environment
from sweep.plan import Options, scratch_folder

_COLUMNS = ("overloads", "findings", "function", "kinds and their overloads", "example")


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.work(), options.results(), options.device()]
    text = "list which functions of torch answer for the findings, those first that explain most overloads"
    parser = commands.add_parser("causes", parents=parents, help=text)
    parser.add_argument("--torch", metavar="VERSION", help="of the results of this torch (default: the newest there are)")
    parser.add_argument("--ops", action="append", default=[], metavar="GLOB", help="only overloads that match; repeatable")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N")
    parser.add_argument("--json", action="store_true", help="as JSON, with every finding")
    parser.add_argument("--update", action="store_true", help="replay the findings' examples and write the causes anew")
    parser.add_argument("--stale", action="store_true", help="with --update: only overloads with findings that have no cause yet")
    parser.add_argument("--workers", type=int, default=Options().workers, help="processes for --update (default: %(default)s)")
    parser.set_defaults(run=run, libraries=[])


def run(arguments: argparse.Namespace) -> int:
    """Lists causes, after finding them if that is asked for."""
    if arguments.limit < 0:
        raise UsageError(f"--limit {arguments.limit}: a number of causes is not negative")
    folder = expect.named(arguments.torch or arguments.device, Path(arguments.results), arguments.device)
    files = expect.load(folder)
    names = session.select(sorted(name for file in files.values() for name in file.overloads()), arguments.ops)
    if arguments.stale and not arguments.update:
        raise UsageError("--stale says what --update replays: add --update")
    if arguments.update:
        stale = causes_file.missing(causes_file.load(folder), files) if arguments.stale else dict.fromkeys(names)
        _update(arguments, folder, files, [name for name in names if name in stale])
    causes = causes_file.load(folder)
    shown = causes.within(names)
    chosen = shown.by_size()[: arguments.limit or None]
    print(json.dumps([cause.as_json() for cause in chosen], indent=1) if arguments.json else _table(shown, chosen))
    note = causes_file.lacking(causes, files, folder)
    if note:
        print(note, file=sys.stderr)
    return 0


def _table(causes: Causes, chosen: Sequence[Cause]) -> str:
    rows = [(len(each.findings), each.count, str(each.function), each.kinds_text, each.example) for each in chosen]
    findings, unknown = sum(each.count for each in causes.known), sum(map(len, causes.unknown.values()))
    overloads = len({name for each in causes.known for name in each.findings})
    total = (
        f"{len(causes.known)} causes of {findings} findings of {overloads} overloads; {unknown} findings without a known cause"
    )
    return f"{tabulate(rows, headers=_COLUMNS)}\n{total}" if rows else total


def _update(arguments: argparse.Namespace, folder: Path, files: Mapping[str, ExpectFile], names: Sequence[str]) -> None:
    """Finds the causes of the findings of some overloads; those of others are kept.

    Raises:
        UsageError: the expect files are another torch's, or the file cannot be written.
    """
    if arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1 process has to trace")
    asked = options.of(arguments)
    environment = session.identify(asked)
    _check(environment, folder, files)
    overloads = {name for file in files.values() for name in file.overloads()}
    findings = {name: expect.known(files, name).findings for name in overloads}
    memory = session.memory_limit(environment)
    limit, work = session.address_space(environment, memory), session.absolute_work(asked)
    with ExitStack() as stack:
        sandboxes = [
            stack.enter_context(Sandbox(scratch_folder(work), limit, preloads=update.PRELOADS, environment=update.ENVIRONMENT))
            for _ in range(arguments.workers)
        ]
        found = update.ask(sandboxes, findings, names, environment.device, memory, sys.stderr)
    others = overloads - set(names)
    kept = causes_file.load(folder).within(others).of_titles(causes_file.titles_of(files)) if others else Causes()
    try:
        causes_file.save(folder, together([kept, found]))
    except OSError as error:
        raise UsageError(f"cannot write {error.filename} ({error.strerror}): name another folder with --results DIR") from None


def _check(environment: Environment, folder: Path, files: Mapping[str, ExpectFile]) -> None:
    differing = expect.differing_head(files, environment)
    if differing is not None:
        this = f"torch {environment.torch} git {environment.git}, {environment.device_type}, {environment.features}"
        raise UsageError(
            f"{expect.shown(folder)} was written by {differing}; this is {this}: take --torch and --device of this one"
        )
