"""``show``: prints what is known of overloads, or one recorded call of an overload."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from sweep import expect, session
from sweep.calls import corpus
from sweep.causes import causes_file
from sweep.causes.cause import Causes
from sweep.commands import options
from sweep.errors import CorpusError, UnknownOverloadError
from sweep.execution.explanation import ShownCall
from sweep.expect import notes
from sweep.expect.expect_file import ExpectFile
from sweep.expect.notes import Note
from sweep.isolation.sandbox import Sandbox
from sweep.operators.environment import Environment
from sweep.operators.facts import Facts
from sweep.operators.overload import similar
from sweep.plan import Options


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.work(), options.library(), options.device(), options.results()]
    parser = commands.add_parser("show", parents=parents, help="print what is known of overloads, or one recorded call")
    parser.add_argument("overload", metavar="GLOB", help="an overload, as aten.add.Tensor, or several, as 'aten.add*'")
    parser.add_argument("call", type=int, nargs="?", metavar="N", help="of one overload, print recorded call N, from 0")
    parser.add_argument("--corpus", metavar="DIR", help="the recorded calls (default: in the work folder)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints overloads or a call."""
    return _overloads(arguments) if arguments.call is None else _call(arguments)


# --- one recorded call -------------------------------------------------------------------------------------------------


def _call(arguments: argparse.Namespace) -> int:
    asked = options.of(arguments)
    environment = session.identify(asked)
    folder = session.recorded_corpus(asked, environment)
    names = list(corpus.read_manifest(folder)["overloads"])
    if arguments.overload not in names:
        alike = similar(arguments.overload, names)
        hint = f"; there are some of: {', '.join(alike)}" if alike else ""
        raise UnknownOverloadError(f"no recorded calls of {arguments.overload!r}{hint}")
    with session.sandbox_for(asked) as sandbox:
        shown: ShownCall = sandbox.request(
            "sweep.execution.run:show",
            name=arguments.overload,
            folder=str(folder),
            call=arguments.call,
            device=environment.device,
        )
    print(f"# {shown.source}\n{shown.text}")
    if not shown.exact:
        print(
            "# It has too many values to print, and these are others. To make the call with its own:\n"
            "from pathlib import Path; import torch; from sweep.calls import codec, corpus\n"
            f"call = corpus.load(Path({str(folder)!r}), {arguments.overload!r})[{arguments.call}]\n"
            f"args, kwargs = codec.build(call, {environment.device!r})\n"
            f"torch.ops.{arguments.overload}(*args, **kwargs)"
        )
    return 0


# --- what is known of overloads ----------------------------------------------------------------------------------------


def _overloads(arguments: argparse.Namespace) -> int:
    asked = options.of(arguments)
    results = Path(arguments.results).resolve()
    people = notes.read(results)
    folders = {f"{folder.parent.name}/{folder.name}": folder for folder in expect.checked_in(results)}
    baselines = {name: expect.load(folder) for name, folder in folders.items()}
    causes = {name: causes_file.load(folder) for name, folder in folders.items()}
    with session.sandbox_for(asked) as sandbox:
        environment: Environment = sandbox.request("sweep.operators.queries:environment", device=asked.device)
        names = _matching(arguments.overload, asked, environment.release, baselines, sandbox)
        device = environment.device_type
        facts: dict[str, Facts] = sandbox.request("sweep.operators.origins:facts", names=names, devices=[device])
    folder = session.recorded_corpus(asked, environment)
    try:
        recorded, missing = corpus.read_manifest(folder)["overloads"], ""
    except CorpusError as error:
        recorded, missing = {}, str(error)
    for name in names:
        print(name)
        known = facts.get(name)
        lines = [
            *_facts(known, environment),
            *_calls(folder, name, recorded, missing),
            *_findings(name, baselines, causes, people),
        ]
        print("".join(f"  {line}\n" for line in lines))
    return 0


def _matching(
    glob: str, asked: Options, release: str, baselines: Mapping[str, Mapping[str, ExpectFile]], sandbox: Sandbox
) -> list[str]:
    """The overloads that a glob matches.

    The expect files of a torch name all that it has. Without such files torch is asked, which takes seconds.

    Raises:
        UsageError: it matches none.
    """
    names = {name for files in baselines.values() for file in files.values() for name in file.overloads()}
    if asked.libraries or not any(folder.startswith(f"{release}/") for folder in baselines):
        names.update(sandbox.request("sweep.operators.queries:names"))
    return session.select(sorted(names), [glob])


def _facts(facts: Facts | None, environment: Environment) -> Iterator[str]:
    """Schema, kind, tags, kernels and the origin of the prediction."""
    if facts is None:
        yield f"torch {environment.torch} has no such overload"
        return
    overload = facts.overload
    yield f"schema: {overload.schema}"
    yield f"kind: {overload.kind.value}"
    yield f"tags: {' '.join(overload.tags) or 'none'}"
    reached = overload.kernels[environment.device_type]
    yield f"kernels that a call on {environment.device_type} can reach: {' '.join(reached) or 'none'}"
    yield "all kernels:" if facts.kernels else "all kernels: none"
    rows = [(f"  {key}", place) for key, place in facts.kernels.items()]
    yield from _table(rows)
    yield f"predicted by: {facts.static}"
    if facts.symbolic != facts.static:
        yield f"with symbolic sizes by: {facts.symbolic}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    width = max((len(row[0]) for row in rows), default=0)
    return [f"{first:{width}}  {'  '.join(rest)}".rstrip() for first, *rest in rows]


def _calls(folder: Path, name: str, recorded: Mapping[str, Any], missing: str) -> Iterator[str]:
    """The number of recorded calls, by where they come from and by variant.

    Args:
        folder: the corpus.
        name: the overload.
        recorded: the overloads that have recorded calls.
        missing: why there is no corpus; empty if there is one.
    """
    if missing or name not in recorded:
        yield f"recorded calls: {f'unknown; {missing}' if missing else 'none'}"
        return
    calls = corpus.load(folder, name)
    yield f"recorded calls: {len(calls)}"
    counts = Counter((re.split("[/ ]", call.source)[0], call.variant, call.recorded.value) for call in calls)
    rows = [(*key, count) for key, count in sorted(counts.items())]
    table = tabulate(rows, headers=("source", "variant", "ended", "calls"), tablefmt="plain")
    yield from (f"  {line}" for line in table.splitlines())


def _findings(
    name: str, baselines: Mapping[str, Mapping[str, ExpectFile]], causes: Mapping[str, Causes], people: Sequence[Note]
) -> Iterator[str]:
    """What every folder of expect files says, with the number by which ``repro`` takes a finding, and causes; then the notes."""
    if not baselines:
        yield "no expect files"
    for folder, files in reversed(list(baselines.items())):
        known = expect.known(files, name)
        yield f"{folder}: {known.standing}{f': {known.reason}' if known.reason else ''}"
        for number, finding in enumerate(known.findings):
            extent = f", {finding.extent}" if finding.extent else ""
            yield f"  {number}  {finding.title}: {finding.calls} of {finding.total}{extent}"
            cause = causes[folder].text_of(name, finding.title)
            if cause:
                yield f"     answered by: {cause}"
    yield from (str(note) for note in notes.of_overload(people, name))
