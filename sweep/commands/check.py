"""``check``: asks the crossrefs about the calls that a user's text dispatches."""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep import crossref, session
from sweep.commands import options
from sweep.errors import ChildDiedError, NotACallError, UsageError
from sweep.execution.explanation import Explanation
from sweep.findings.finding import Result, Status
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from sweep.operators.environment import Environment
from sweep.recording.evaluation import DispatchedCall, Evaluation
from sweep.report.checked import CheckedCall, as_json, as_text, stops, summary, total

#: Modules that the children need, for the fork server: a text can take many children.
_PRELOADS = ("sweep.recording.text", "sweep.execution.run", *crossref.LATE_IMPORTS)

_EPILOG = """\
The text may use torch, nn (torch.nn), F (torch.nn.functional), math and np (NumPy), and import anything. It runs once, with the
random seed 0, and every overload that it dispatches is checked with the arguments that it got, inside composite operators and in
backward too. Of a single call of a name in torch.ops, only that overload is checked.
"""


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser(
        "check",
        parents=[options.work(), options.library(), options.device()],
        help="ask the crossrefs about the calls of a Python expression; exit status 1 if one disagrees",
        epilog=_EPILOG,
    )
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("text", nargs="?", help="Python, such as 'F.celu(torch.ones(3), 0.5)'; several statements too")
    text.add_argument("--file", metavar="PATH", help="a script, which can import what is in its folder")
    parser.add_argument("--crossref", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--native-cpu", action="store_true", help="use all instruction sets of this CPU")
    parser.add_argument("--json", action="store_true", help="an object per call and line, and one for the text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Checks the calls of a text and explains what disagrees."""
    crossrefs = crossref.check_names(arguments.crossref)
    file = "" if arguments.file is None else str(Path(arguments.file).resolve())
    text = _read(file) if file else arguments.text
    with _checker(arguments, crossrefs) as checker:
        evaluation = checker.evaluate(text, file)
        if not arguments.json:
            print("".join(f"{line}\n" for line in stops(evaluation)), end="")
        is_alone = evaluation.is_single_call
        checked = []
        for dispatched in evaluation.calls:
            call = checker.check(dispatched, is_alone=is_alone)
            print(json.dumps(as_json(call)) if arguments.json else as_text(call, is_alone=is_alone), flush=True)
            checked.append(call)
    status = exit_status(evaluation, checked)
    if arguments.json:
        print(json.dumps({**summary(evaluation, checked), "exit_status": status}))
    elif not is_alone:
        print("".join(f"{line}\n" for line in total(evaluation, checked)), end="")
    return status


def _read(file: str) -> str:
    """The text of a script.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file} ({error}): name a Python script with --file PATH") from None


def exit_status(evaluation: Evaluation, checked: Sequence[CheckedCall]) -> int:
    """The exit status: what agreed counts for nothing if the text did not come to its end."""
    if evaluation.ending or any(call.disagrees for call in checked):
        return options.DISAGREES
    if evaluation.raised:
        return options.BAD_REQUEST
    return 0 if any(call.was_compared for call in checked) else options.DISAGREES


# --- checking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Checker:
    """Evaluates texts and checks calls in a sandbox.

    Attributes:
        sandbox: the sandbox.
        folder: where the calls are written.
        device: the device under test.
        crossrefs: names of the crossrefs.
        timeout: seconds that one call may take.
        memory: bytes of an accelerator's memory that a child may use; 0 is no limit.
    """

    sandbox: Sandbox
    folder: str
    device: str
    crossrefs: list[str]
    timeout: float
    memory: int

    def evaluate(self, text: str, file: str) -> Evaluation:
        """Evaluates a text, which may end the child.

        Raises:
            NotACallError: nothing that it calls can be checked.
        """
        arguments = {"text": text, "file": file, "folder": self.folder, "device": self.device, "memory": self.memory}
        try:
            evaluation: Evaluation = self.sandbox.request("sweep.recording.text:evaluate", timeout=self.timeout, **arguments)
        except ChildDiedError as error:
            evaluation = Evaluation.interrupted(error.checkpoints, error.ending)
        if not evaluation.calls:
            how = f" before it ends its process: {evaluation.ending}" if evaluation.ending else ""
            unchecked = ", ".join(map(str, evaluation.unchecked)) or "it dispatches nothing"
            raise NotACallError(f"there is nothing to check{how}: {unchecked}")
        if not evaluation.is_single_call:
            self.sandbox.end_child()  # what the text has set or imported must not change how its calls are checked
        return evaluation

    def check(self, call: DispatchedCall, *, is_alone: bool) -> CheckedCall:
        """Checks one call, and explains it if it does not agree; beside others, only if a side raised something."""
        folder = Path(call.folder)
        supervisor = Supervisor(self.sandbox, folder, self.device, self.crossrefs, self.timeout, memory=self.memory)
        result = _written_as(call.text, supervisor.run(call.overload))
        if result.status is Status.AGREES or not (is_alone or any(finding.has_error for finding in result.findings)):
            return CheckedCall(call, result)
        self.sandbox.end_child()  # a crash in the call may have damaged its memory
        try:
            explanation: Explanation = self.sandbox.request(
                "sweep.execution.run:explain",
                timeout=self.timeout,
                name=call.overload,
                folder=call.folder,
                call=0,
                device=self.device,
                crossrefs=self.crossrefs,
                memory=self.memory,
            )
        except ChildDiedError as error:
            return CheckedCall(call, result, ended=f"the process that was to explain it ended: {error}")
        return CheckedCall(call, result, explanation)


@contextmanager
def _checker(arguments: argparse.Namespace, crossrefs: list[str]) -> Iterator[_Checker]:
    """Context in which there is a sandbox, and a folder for the calls."""
    asked = options.of(arguments)
    sandbox = session.sandbox_for(asked, preloads=_PRELOADS)
    sandbox.scratch.mkdir(parents=True, exist_ok=True)
    with sandbox, tempfile.TemporaryDirectory(dir=sandbox.scratch) as folder:
        environment: Environment = sandbox.request("sweep.operators.queries:environment", device=asked.device)
        memory = session.memory_limit(environment)
        sandbox.end_child()  # the next one has the device's limit
        sandbox.memory = session.address_space(environment, memory)
        yield _Checker(sandbox, folder, environment.device, crossrefs, asked.timeout, memory)


def _written_as(text: str, result: Result) -> Result:
    """A result whose examples are a text; the result itself if there is no text."""
    if not text:
        return result
    example = " ".join(text.split("\n"))
    findings = tuple(dataclasses.replace(finding, example=example) for finding in result.findings)
    return dataclasses.replace(result, findings=findings)
