"""The commands: ``python -m sweep list | record | show | check | report | clean``. Sweeping itself is pytest's business.

Each command is a function of its parsed arguments that returns an exit status; what they share with pytest stands in ``session``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from sweep import crossref, expect, session
from sweep.calls import corpus
from sweep.errors import ChildDiedError, UnknownOverloadError, UsageError, UserError
from sweep.execution.explanation import Explanation, ShownCall
from sweep.findings.finding import Result, Status
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from sweep.operators.module import Module
from sweep.operators.overload import Overload, similar
from sweep.plan import Options, scratch_folder, work_folder
from sweep.recording import record as recording
from sweep.report import renderers, run_jsonl

#: Exit status of ``check`` for a call that a crossref is wrong about, and of every command for a bad request.
DISAGREES = 1
BAD_REQUEST = 2

#: The renderer of ``report`` that prints what a run prints at its end.
DEFAULT_FORMAT = "terminal"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        Its exit status: 0 for success, 1 if ``check`` finds something, 2 for a request that cannot be met.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except UserError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return BAD_REQUEST
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output, such as `head`, is gone
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m sweep", description=__doc__.partition(". ")[0])
    common = argparse.ArgumentParser(add_help=False)
    work = "folder of recorded calls and of what runs leave behind (default: %(default)s)"
    common.add_argument("--work-dir", default=default.work, metavar="DIR", help=work)
    library = argparse.ArgumentParser(add_help=False)
    imported = "the operators that this module registers instead of torch's own; repeatable"
    library.add_argument("--import", action="append", default=[], dest="libraries", metavar="MODULE", help=imported)
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default=default.device, help="such as cpu, cuda, cuda:1 (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)

    listing = commands.add_parser(
        "list", parents=[common, library], help="print the inventory: every overload, its kind, tags and kernels"
    )
    listing.add_argument("--ops", action="append", default=[], metavar="GLOB", help="only overloads that match; repeatable")
    listing.add_argument("--device", help="kernels of this device only")
    listing.add_argument("--json", action="store_true", help="one JSON object per line")
    modules = "instead, the modules of torch that register operators when they are imported, and those that cannot be"
    listing.add_argument("--modules", action="store_true", help=modules)
    listing.set_defaults(run=_list)

    record = commands.add_parser("record", parents=[common, library, device], help="record the corpus anew")
    record.add_argument("--workers", type=int, default=default.workers, help="recording processes (default: %(default)s)")
    only = "only tasks that match, as 'opinfo:*/float32'; needs --corpus"
    record.add_argument("--only", action="append", metavar="GLOB", help=only)
    record.add_argument("--corpus", metavar="DIR", help="where to put it (default: in the work folder)")
    record.set_defaults(run=_record)

    show = commands.add_parser("show", parents=[common, library, device], help="print one recorded call")
    show.add_argument("overload")
    show.add_argument("call", type=int, nargs="?", default=0, help="its number, from 0")
    show.add_argument("--corpus", metavar="DIR", help="the recorded calls (default: in the work folder)")
    show.set_defaults(run=_show)

    check = commands.add_parser(
        "check", parents=[common, library, device], help="ask the crossrefs about one call; exit status 1 if one disagrees"
    )
    check.add_argument("call", help="Python, such as 'torch.ops.aten.abs.default(torch.zeros(2))'")
    check.add_argument("--crossref", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    check.add_argument("--native-cpu", action="store_true", help="use all instruction sets of this CPU")
    check.set_defaults(run=_check)

    report = commands.add_parser("report", parents=[common, library, device], help="print the last run again")
    formats = ", ".join(renderers.names())
    report.add_argument("--format", default=DEFAULT_FORMAT, metavar="NAME", help=f"one of: {formats} (default: %(default)s)")
    report.set_defaults(run=_report)

    clean = commands.add_parser("clean", parents=[common], help="remove the work folder; expect files stay")
    clean.set_defaults(run=_clean)
    return parser


def _options(arguments: argparse.Namespace) -> Options:
    """The options of a command that asks a child about torch."""
    return Options(
        device=getattr(arguments, "device", None) or Options().device,
        corpus=getattr(arguments, "corpus", None),
        work=arguments.work_dir,
        libraries=tuple(arguments.libraries),
        native_cpu=getattr(arguments, "native_cpu", False),
    )


def _list(arguments: argparse.Namespace) -> int:
    if arguments.modules:
        return _list_modules(arguments)
    with session.sandbox_for(_options(arguments)) as sandbox:
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
    with session.sandbox_for(_options(arguments)) as sandbox:
        modules: list[Module] = sandbox.request("sweep.operators.queries:modules")
    if arguments.json:
        for module in modules:
            print(json.dumps(dataclasses.asdict(module)))
        return 0
    rows = [(module.name, len(module.operators), module.failure) for module in modules]
    print(tabulate(rows, headers=("module", "operators", "cannot be imported"), tablefmt="plain"))
    return 0


def _record(arguments: argparse.Namespace) -> int:
    if arguments.only and not arguments.corpus:
        raise UsageError("--only records a part, which must not replace the whole corpus: name another folder with --corpus DIR")
    if arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1 process has to record")
    options = _options(arguments)
    environment = session.identify(options)
    folder = session.recorded_corpus(options, environment)
    if folder.exists() and any(folder.iterdir()) and not (folder / corpus.MANIFEST).exists():
        raise UsageError(f"{folder} is not empty and not a corpus: name another folder")
    scratch = scratch_folder(session.absolute_work(options))
    with session.corpus_lock(folder):
        recording.record(folder, environment, workers=arguments.workers, scratch=scratch, only=arguments.only)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    options = _options(arguments)
    environment = session.identify(options)
    folder = session.recorded_corpus(options, environment)
    names = list(corpus.read_manifest(folder)["overloads"])
    if arguments.overload not in names:
        alike = similar(arguments.overload, names)
        hint = f"; there are some of: {', '.join(alike)}" if alike else ""
        raise UnknownOverloadError(f"no recorded calls of {arguments.overload!r}{hint}")
    with session.sandbox_for(options) as sandbox:
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


def _check(arguments: argparse.Namespace) -> int:
    crossrefs = crossref.check_names(arguments.crossref)
    options = _options(arguments)
    environment = session.identify(options)
    memory = session.memory_limit(environment)
    scratch = scratch_folder(session.absolute_work(options))
    scratch.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(scratch, session.address_space(environment, memory), list(options.libraries), native_cpu=options.native_cpu)
    with sandbox, tempfile.TemporaryDirectory(dir=scratch) as folder:
        device = environment.device
        overload = sandbox.request("sweep.calls.parsing:record_text", text=arguments.call, folder=folder, device=device)
        supervisor = Supervisor(sandbox, Path(folder), device, crossrefs, options.timeout, memory=memory)
        result = supervisor.run(overload)
        print(_typed(result, arguments.call), end="")
        if result.status is Status.AGREES:
            return 0
        sandbox.end_child()  # a crash in the call may have damaged its memory
        for line in _explained(sandbox, overload, folder, device, crossrefs, memory, options.timeout):
            print(line)
    return DISAGREES


def _typed(result: Result, text: str) -> str:
    """A result as an expect file has it, with the call as the user typed it."""
    example = " ".join(text.split("\n"))
    findings = tuple(dataclasses.replace(finding, example=example) for finding in result.findings)
    return expect.text_of_result(dataclasses.replace(result, findings=findings))


def _explained(
    sandbox: Sandbox, overload: str, folder: str, device: str, crossrefs: list[str], memory: int, timeout: float
) -> list[str]:
    """What the real call did and what each crossref predicts, with full messages; nothing if that ends the process."""
    arguments = {"name": overload, "folder": folder, "call": 0, "device": device, "crossrefs": crossrefs, "memory": memory}
    try:
        explanation: Explanation = sandbox.request("sweep.execution.run:explain", timeout=timeout, **arguments)
    except ChildDiedError as error:
        return [f"the process that was to explain it ended: {error}"]
    return explanation.lines()


def _report(arguments: argparse.Namespace) -> int:
    name = renderers.check_name(arguments.format)
    options = _options(arguments)
    environment = session.identify(options)
    run = run_jsonl.read(work_folder(session.absolute_work(options), environment) / run_jsonl.NAME)
    print(renderers.render(name, run), end="")
    return 0


def _clean(arguments: argparse.Namespace) -> int:
    shutil.rmtree(arguments.work_dir, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
