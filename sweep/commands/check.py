"""``check``: asks the crossrefs about one call that the user writes."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from sweep import crossref, expect, session
from sweep.commands import options
from sweep.errors import ChildDiedError
from sweep.execution.explanation import Explanation
from sweep.findings.finding import Result, Status
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from sweep.plan import scratch_folder


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "check",
        parents=[options.work(), options.library(), options.device()],
        help="ask the crossrefs about one call; exit status 1 if one disagrees",
    )
    parser.add_argument("call", help="Python, such as 'torch.ops.aten.abs.default(torch.zeros(2))'")
    parser.add_argument("--crossref", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--native-cpu", action="store_true", help="use all instruction sets of this CPU")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Checks a call and explains what disagrees."""
    crossrefs = crossref.check_names(arguments.crossref)
    asked = options.of(arguments)
    environment = session.identify(asked)
    memory = session.memory_limit(environment)
    scratch = scratch_folder(session.absolute_work(asked))
    scratch.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(scratch, session.address_space(environment, memory), list(asked.libraries), native_cpu=asked.native_cpu)
    with sandbox, tempfile.TemporaryDirectory(dir=scratch) as folder:
        device = environment.device
        overload = sandbox.request("sweep.calls.parsing:record_text", text=arguments.call, folder=folder, device=device)
        supervisor = Supervisor(sandbox, Path(folder), device, crossrefs, asked.timeout, memory=memory)
        result = supervisor.run(overload)
        print(_typed(result, arguments.call), end="")
        if result.status is Status.AGREES:
            return 0
        sandbox.end_child()  # a crash in the call may have damaged its memory
        for line in _explained(sandbox, overload, folder, device, crossrefs, memory, asked.timeout):
            print(line)
    return options.DISAGREES


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
