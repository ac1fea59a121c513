"""The commands behind the Makefile: ``python -m sweep list | record | show | check | clean``. Sweeping itself is pytest's."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

from sweep import crossref, session
from sweep.calls import corpus
from sweep.expect import expect_file as expect
from sweep.recording import record as recording
from sweep.isolation.sandbox import ChildError, Sandbox
from sweep.session import SCRATCH, Options, UsageError
from sweep.isolation.supervisor import Supervisor


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 2 where the user has to do something else."""
    parser = argparse.ArgumentParser(prog="python -m sweep", description=__doc__.partition(":")[0])
    imports = argparse.ArgumentParser(add_help=False)
    imports.add_argument(
        "--import",
        action="append",
        default=[],
        dest="libraries",
        metavar="MODULE",
        help="the operators that this module registers instead of torch's own; repeatable",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser(
        "list", parents=[imports], help="print the inventory: every overload, its kind, tags and kernels"
    )
    listing.add_argument("--ops", action="append", default=[], metavar="GLOB", help="only overloads that match; repeatable")
    listing.add_argument("--device", help="kernels of this device only")
    listing.add_argument("--json", action="store_true", help="one JSON object per line")
    record = commands.add_parser("record", parents=[imports], help="make the corpus anew")
    record.add_argument("--device", default=Options().device)
    record.add_argument("--workers", type=int, default=Options().workers, help="recording processes (default: %(default)s)")
    record.add_argument(
        "--only", action="append", metavar="GLOB", help="only tasks that match, as 'opinfo:*/float32'; needs --corpus"
    )
    record.add_argument("--corpus", metavar="DIR", help="where to put it (default: .sweep/)")
    show = commands.add_parser("show", parents=[imports], help="print one recorded call")
    show.add_argument("overload")
    show.add_argument("call", type=int, nargs="?", default=0)
    show.add_argument("--device", default=Options().device)
    show.add_argument("--corpus", metavar="DIR")
    check = commands.add_parser("check", parents=[imports], help="say what crossrefs find about one call, written as Python")
    check.add_argument("call", help="such as 'torch.ops.aten.abs.default(torch.zeros(2))'")
    check.add_argument("--device", default=Options().device)
    check.add_argument("--crossref", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    commands.add_parser("clean", help="remove corpora and what runs left behind; expect files stay")
    arguments = parser.parse_args(argv)
    try:
        globals()[f"_{arguments.command}"](arguments)
    except (UsageError, corpus.CorpusError, crossref.UnknownCrossRef) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except ChildError as error:
        if error.name not in ("DeviceError", "CorpusError", "IndexError", "LookupError", "LibraryError", "NotACall"):
            raise
        print(f"sweep: {error.message}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has had enough
    return 0


def _list(arguments: argparse.Namespace) -> None:
    with Sandbox(SCRATCH, libraries=arguments.libraries) as sandbox:
        overloads = sandbox.request("sweep.operators.environment:listing", device=arguments.device)
    names = set(session.select([o["name"] for o in overloads], arguments.ops))
    overloads = [o for o in overloads if o["name"] in names]
    if arguments.json:
        for overload in overloads:
            print(json.dumps(overload))
        return
    rows = [
        (o["name"], o["kind"], "; ".join(f"{d}: {' '.join(k) or 'none'}" for d, k in o["kernels"].items()), " ".join(o["tags"]))
        for o in overloads
    ]
    print(tabulate(rows, headers=("overload", "kind", "kernels", "tags"), tablefmt="plain"))
    print(f"{len(rows)} overloads")


def _record(arguments: argparse.Namespace) -> None:
    if arguments.only and not arguments.corpus:
        raise UsageError(
            "--only makes a partial corpus, which must not take the place of a whole one: say where with --corpus DIR"
        )
    if arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: at least 1 process has to record")
    identity = session.identify(arguments.device, arguments.libraries)
    folder = Path(arguments.corpus).resolve() if arguments.corpus else session.corpus_folder(identity)
    if folder.exists() and any(folder.iterdir()) and not (folder / corpus.MANIFEST).exists():
        raise UsageError(f"{folder} is not empty and not a corpus: name another folder")
    with recording.locked(folder):
        recording.record(folder, identity, workers=arguments.workers, scratch=SCRATCH, only=arguments.only)


def _show(arguments: argparse.Namespace) -> None:
    identity = session.identify(arguments.device, arguments.libraries)
    folder = Path(arguments.corpus).resolve() if arguments.corpus else session.corpus_folder(identity)
    names = list(corpus.read_manifest(folder)["overloads"])
    if arguments.overload not in names:
        close = fnmatch.filter(names, f"*{arguments.overload}*")[:5]
        raise UsageError(
            f"no recorded calls of {arguments.overload!r}" + (f"; there are some of: {', '.join(close)}" if close else "")
        )
    with Sandbox(SCRATCH, libraries=arguments.libraries) as sandbox:
        shown = sandbox.request(
            "sweep.execution.run:show",
            name=arguments.overload,
            folder=str(folder),
            call=arguments.call,
            device=identity["device"],
        )
    print(f"# {shown['source']}\n{shown['text']}")
    if not shown["exact"]:
        print(
            "# Its values are too many to be written down, and these are others; to make the call with them:\n"
            "from pathlib import Path; import torch; from sweep import calls, corpus\n"
            f"call = corpus.load(Path({str(folder)!r}), {arguments.overload!r})[{arguments.call}]\n"
            f"args, kwargs = calls.build(call, {identity['device']!r})\n"
            f"torch.ops.{arguments.overload}(*args, **kwargs)"
        )


def _check(arguments: argparse.Namespace) -> None:
    names = crossref.check_names(arguments.crossref)
    identity = session.identify(arguments.device, arguments.libraries)
    device, memory = identity["device"], session.memory_of(identity)
    with (
        Sandbox(SCRATCH, session.address_space(identity, memory), arguments.libraries) as sandbox,
        tempfile.TemporaryDirectory(dir=SCRATCH) as folder,
    ):
        overload = sandbox.request("sweep.calls.parsing:write_down", text=arguments.call, folder=folder, device=device)
        result = Supervisor(sandbox, Path(folder), device, names, Options().timeout, memory=memory).run(overload)
    print(expect.text_of_result(result), end="")


def _clean(arguments: argparse.Namespace) -> None:
    session.clean()


if __name__ == "__main__":
    sys.exit(main())
