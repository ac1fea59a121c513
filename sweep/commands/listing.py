"""``list``: prints the inventory, or the modules of torch that register operators."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from tabulate import tabulate

from sweep import session
from sweep.commands import options
from sweep.operators.module import Module
from sweep.operators.overload import Overload


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "list",
        parents=[options.work(), options.library()],
        help="print the inventory: every overload, its kind, tags and kernels",
    )
    parser.add_argument("--ops", action="append", default=[], metavar="GLOB", help="only overloads that match; repeatable")
    parser.add_argument("--device", help="kernels of this device only")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    modules = "instead, the modules of torch that register operators when they are imported, and those that cannot be"
    parser.add_argument("--modules", action="store_true", help=modules)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the inventory."""
    if arguments.modules:
        return _list_modules(arguments)
    with session.sandbox_for(options.of(arguments)) as sandbox:
        overloads: list[Overload] = sandbox.request("sweep.operators.queries:listing", device=arguments.device)
    names = set(session.select([overload.name for overload in overloads], arguments.ops))
    overloads = [overload for overload in overloads if overload.name in names]
    if arguments.json:
        for overload in overloads:
            print(json.dumps(overload.as_json()))
        return 0
    rows = [
        (
            overload.name,
            overload.kind.value,
            "; ".join(f"{device}: {' '.join(keys) or 'none'}" for device, keys in overload.kernels.items()),
            " ".join(overload.tags),
        )
        for overload in overloads
    ]
    print(tabulate(rows, headers=("overload", "kind", "kernels", "tags"), tablefmt="plain"))
    print(f"{len(rows)} overloads")
    return 0


def _list_modules(arguments: argparse.Namespace) -> int:
    with session.sandbox_for(options.of(arguments)) as sandbox:
        modules: list[Module] = sandbox.request("sweep.operators.queries:modules")
    if arguments.json:
        for module in modules:
            print(json.dumps(dataclasses.asdict(module)))
        return 0
    rows = [(module.name, len(module.operators), module.failure) for module in modules]
    print(tabulate(rows, headers=("module", "operators", "cannot be imported"), tablefmt="plain"))
    return 0
