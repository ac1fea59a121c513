"""``adopt``: takes the examples of findings that one baseline has and another lacks into every recording.

What is only refused by design is no finding for this purpose.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sweep import expect
from sweep.commands import options
from sweep.expect.difference import differences
from sweep.expect.known import KnownFinding
from sweep.findings.finding import CALL
from sweep.search import adopted
from sweep.search.adopted import ADOPTED


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parents = [options.results(), options.device()]
    text = "take the examples of findings that NEW has and OLD lacks into every recording"
    parser = commands.add_parser("adopt", parents=parents, help=text)
    parser.add_argument("old", metavar="OLD", help="a torch, a device, both as in 2.13/cpu, or a folder of expect files")
    parser.add_argument("new", metavar="NEW", help="likewise, such as the folder in which a sweep with more calls was accepted")
    parser.add_argument("--adopted", default=str(ADOPTED), metavar="DIR", help="folder of the calls (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Adds the calls to the adopted files, and prints how many there are and what was left out."""
    results = Path(arguments.results)
    old, new = (expect.load(expect.named(name, results, arguments.device)) for name in (arguments.old, arguments.new))
    folder = Path(arguments.adopted)
    calls = adopted.load(folder)
    count = 0
    for difference in differences(old, new):
        titles = {finding.title for finding in difference.old.findings}
        added = [f for f in difference.new.findings if f.title not in titles and not f.is_refusal]
        texts = dict.fromkeys(_texts(difference.overload, added))
        fresh = [text for text in texts if text not in calls.get(difference.overload, ())]
        if fresh:
            calls.setdefault(difference.overload, []).extend(fresh)
            count += len(fresh)
    adopted.save(folder, calls)
    print(f"{count} calls adopted, of {sum(map(len, calls.values()))}; see {folder}. Next: make record, make accept")
    return 0


def _texts(overload: str, findings: Sequence[KnownFinding]) -> Iterator[str]:
    """The examples of some findings that can be replayed; a line on standard error for each of the others."""
    for finding in findings:
        reason = _why_not(overload, finding)
        if reason:
            print(f"left out: {overload}: {finding.title}: {reason}", file=sys.stderr)
        else:
            yield finding.example


def _why_not(overload: str, finding: KnownFinding) -> str:
    """Why the example of a finding is not adopted; empty if it is."""
    if finding.crossref == CALL and finding.ends_process:
        return "it would end the process of the recording"
    return "" if adopted.overload_of(finding.example) == overload else "its example is not one call that can be pasted"
