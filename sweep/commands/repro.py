"""``repro``: prints or writes standalone scripts of an overload's findings."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep import expect
from sweep.causes import causes_file
from sweep.causes.cause import Causes
from sweep.commands import options
from sweep.errors import ReproError, UnknownOverloadError, UsageError
from sweep.expect.known import KnownFinding
from sweep.operators.overload import similar
from sweep.repro import script


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.results(), options.device()]
    parser = commands.add_parser("repro", parents=parents, help="print a script that shows a finding with torch alone")
    parser.add_argument("overload")
    parser.add_argument("--finding", type=int, metavar="N", help="its number, from 0, as `show` prints it (default: the first)")
    parser.add_argument("--torch", metavar="VERSION", help="of the results of this torch (default: the newest there are)")
    parser.add_argument("--write", metavar="DIR", help="write a file there for every finding, or for that of --finding")
    parser.add_argument("--markdown", action="store_true", help="the body of an issue report")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints one script, or writes those of all findings."""
    name, results = arguments.overload, Path(arguments.results)
    folder = expect.named(arguments.torch or arguments.device, results, arguments.device)
    files = expect.load(folder)
    file = files.get(name.partition(".")[0])
    if file is None or name not in file.overloads():
        alike = similar(name, [overload for each in files.values() for overload in each.overloads()])
        hint = f"; similar ones: {', '.join(alike)}" if alike else ""
        raise UnknownOverloadError(f"{expect.shown(folder)} has no overload {name!r}{hint}")
    findings = file.known(name).findings
    if not findings:
        print(f"{name} has no finding in {expect.shown(folder)}: {file.text_of(name).rstrip()}")
        return 0
    head = file.head[1] if len(file.head) > 1 else f"results in {expect.shown(folder)}"
    printer = _Printer(name, head, causes_file.load(folder), markdown=arguments.markdown)
    if arguments.write:
        return _write(Path(arguments.write), printer, _chosen(name, findings, arguments.finding))
    [(number, finding)] = _chosen(name, findings, arguments.finding or 0)
    print(printer.text(finding), end="")
    if arguments.finding is None and len(findings) > 1:
        others = ", ".join(f"{at}: {other.title}" for at, other in enumerate(findings) if at != number)
        print(f"this is finding {number} of {name}; others for --finding: {others}", file=sys.stderr)
    return 0


def _chosen(name: str, findings: tuple[KnownFinding, ...], number: int | None) -> list[tuple[int, KnownFinding]]:
    if number is None:
        return list(enumerate(findings))
    if not 0 <= number < len(findings):
        raise UsageError(f"{name} has findings 0 to {len(findings) - 1}: there is no finding {number}")
    return [(number, findings[number])]


@dataclass(frozen=True)
class _Printer:
    """Makes the texts of one overload's findings.

    Attributes:
        name: the overload.
        head: the line of the expect file that says what wrote it.
        causes: what is known of causes.
        markdown: as issue reports.
    """

    name: str
    head: str
    causes: Causes
    markdown: bool

    def text(self, finding: KnownFinding) -> str:
        """The script of a finding, or the issue report with it.

        Raises:
            ReproError: no script can be written.
        """
        cause = self.causes.text_of(self.name, finding.title)
        text = script.script_of(self.name, finding, self.head, cause)
        return script.issue_of(self.name, finding, self.head, text, cause) if self.markdown else text


def _write(folder: Path, printer: _Printer, chosen: list[tuple[int, KnownFinding]]) -> int:
    """Writes a file for each finding of which a script can be written, and says so of the others."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, finding in chosen:
            try:
                text = printer.text(finding)
            except ReproError as reason:
                print(reason, file=sys.stderr)
                continue
            path = folder / script.file_name(printer.name, number, finding)
            path = path.with_suffix(".md") if printer.markdown else path
            path.write_text(text)
            print(path)
    except OSError as error:
        raise UsageError(f"cannot write to {folder} ({error.strerror}): name another folder with --write DIR") from None
    return 0
