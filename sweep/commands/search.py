"""``search``: searches calls that reach branches of torch's own Python which no call reaches."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sweep import session
from sweep.calls import corpus
from sweep.commands import options
from sweep.errors import UsageError
from sweep.isolation.sandbox import Sandbox
from sweep.plan import Options, scratch_folder, work_folder
from sweep.search import stored
from sweep.search.driver import Driver
from sweep.search.measurement import PRELOADS, Measurement, check_installed
from sweep.search.stored import SEARCHED
from sweep.search.table import PLACES


def add(commands: Any) -> None:
    """Adds the command's parser."""
    text = "search calls that reach branches of torch's Python which no call reaches"
    parser = commands.add_parser("search", parents=[options.work(), measuring()], help=text)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long to search (default: %(default)s)")
    parser.set_defaults(run=run, libraries=[])


def measuring() -> argparse.ArgumentParser:
    """The options of the commands that measure what calls reach."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--ops", action="append", default=[], metavar="GLOB", help="only overloads that match; repeatable")
    parser.add_argument("--corpus", metavar="DIR", help="the recorded calls (default: in the work folder)")
    parser.add_argument("--workers", type=int, default=Options().workers, help="processes (default: %(default)s)")
    text = "folder of the searched files (default: %(default)s)"
    parser.add_argument("--searched", default=str(SEARCHED), metavar="DIR", help=text)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Searches, and adds what is found to the searched files."""
    if arguments.minutes <= 0:
        raise UsageError(f"--minutes {arguments.minutes}: a search takes some time")
    with measured(arguments) as (measurement, names):
        print(f"known calls: {measurement.summary(measurement.everything()).text()}", flush=True)
        driver = Driver(measurement, names, sys.stderr)
        try:
            driver.run(60 * arguments.minutes)
        finally:  # a search that is stopped keeps what it has found
            found = {name: [*measurement.searched.get(name, []), *calls] for name, calls in driver.found.items()}
            stored.save(Path(arguments.searched), {**measurement.searched, **found})
        measurement.searched = stored.load(Path(arguments.searched))  # in the order in which they are recorded
        measurement.run(names)
        print(f"with those found: {measurement.summary(measurement.everything()).text()}")
    print(f"{sum(map(len, driver.found.values()))} new calls of {len(driver.found)} overloads; see {arguments.searched}")
    return 0


@contextmanager
def measured(arguments: argparse.Namespace) -> Iterator[tuple[Measurement, list[str]]]:
    """What the known calls of the selected overloads reach, and the names of those; its children end with the context."""
    check_installed()
    if arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1 process has to measure")
    asked = options.of(arguments)
    environment = session.identify(asked)
    folder = session.recorded_corpus(asked, environment)
    names = session.select(sorted(corpus.read_manifest(folder)["overloads"]), arguments.ops)
    work = session.absolute_work(asked)
    limit = session.address_space(environment, session.memory_limit(environment))
    with ExitStack() as stack:
        sandboxes = [
            stack.enter_context(Sandbox(scratch_folder(work), limit, preloads=PRELOADS)) for _ in range(arguments.workers)
        ]
        searched = stored.load(Path(arguments.searched))
        measurement = Measurement(sandboxes, folder, PLACES, work_folder(work, environment) / "search", searched, sys.stderr)
        measurement.run(names)
        yield measurement, names
