"""The data that the page's script searches and shows, as JSON; ``assets/data.js`` reads it, and nothing else does.

Every text and every finding is stored once, whichever overloads, devices and torches have it, and is referred to by its position.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sweep.causes.cause import Cause
from sweep.errors import ReproError
from sweep.expect.known import KnownFinding
from sweep.findings.kind_class import KindClass
from sweep.page.model import Changes, Folder, Page, Status, status_of
from sweep.page.scripts import FIRST_MARKER, skeleton_of
from sweep.repro.script import SEPARATOR, arguments_of

_Value = TypeVar("_Value", bound=Hashable)

#: Stands for a text or a script that there is not.
_NONE = -1


class _Positions(Generic[_Value]):
    """Distinct values in the order in which they come."""

    def __init__(self) -> None:
        self._positions: dict[_Value, int] = {}

    def __call__(self, value: _Value) -> int:
        """The position of a value, which is added if it is new."""
        return self._positions.setdefault(value, len(self._positions))

    def values(self) -> list[_Value]:
        return list(self._positions)


class _Encoder:
    """Collects the texts, scripts and findings of a page."""

    def __init__(self) -> None:
        self.strings: _Positions[str] = _Positions()
        self.scripts: _Positions[tuple[int, ...]] = _Positions()
        self.findings: _Positions[tuple[int, ...]] = _Positions()

    def folder(self, folder: Folder, causes: Sequence[Cause], positions: Mapping[str, int]) -> dict[str, Any]:
        """A folder: of each overload its status, and what more is said of it."""
        statuses, reasons, findings, causes_of = [_NONE] * len(positions), {}, {}, {}
        order = list(Status)
        cause_of = {
            (name, title): at for at, cause in enumerate(causes) for name, titles in cause.findings.items() for title in titles
        }
        for overload, known in folder.overloads.items():
            at, status = positions[overload], status_of(known)
            if status is not None:
                statuses[at] = order.index(status)
            if known.reason:
                reasons[at] = self.strings(known.reason)
            if known.findings:
                findings[at] = [self.finding(overload, finding, folder.head) for finding in known.findings]
                if causes:
                    causes_of[at] = [cause_of.get((overload, finding.title), _NONE) for finding in known.findings]
        return {
            "name": folder.name,
            "head": folder.head,
            "statuses": statuses,
            "reasons": reasons,
            "findings": findings,
            "causes": [str(cause.function) for cause in causes],
            "causesOf": causes_of,
        }

    def finding(self, overload: str, finding: KnownFinding, head: str) -> int:
        """The position of a finding, without the name of its overload."""
        skeleton = skeleton_of(overload, finding, head)
        no_script = isinstance(skeleton, ReproError)
        arguments = arguments_of(overload, finding)
        rest = finding.example if arguments is None else finding.example.removeprefix(f"torch.ops.{overload}({arguments})")
        record = (
            self.strings(finding.crossref),
            self.strings(finding.form),
            self.strings(finding.what),
            list(KindClass).index(finding.kind),
            finding.calls,
            finding.total,
            self.strings(finding.extent),
            _NONE if arguments is None else self.strings(arguments),
            self.strings(rest),
            _NONE if isinstance(skeleton, ReproError) else self.scripts(tuple(map(self.strings, skeleton))),
            self.strings(str(skeleton)) if no_script else _NONE,
            *(self.strings(text) for side in finding.sides for text in side),
        )
        return self.findings(record)

    def changes(self, changes: Changes) -> dict[str, Any]:
        """What differs between two folders: kind, overload and lines."""
        rows = [[self.strings(str(d.kind)), d.overload, list(map(self.strings, d.texts))] for d in changes.differences]
        return {"old": changes.old, "new": changes.new, "rows": rows}


def encode(page: Page) -> str:
    """The data of a page as JSON that may stand in a ``script`` element."""
    encoder = _Encoder()
    overloads = page.overloads()
    positions = {overload: at for at, overload in enumerate(overloads)}
    folders = [encoder.folder(folder, page.causes_of(folder), positions) for folder in page.folders]
    changes = [encoder.changes(each) for each in page.changes]
    notes = [[n.overload, n.finding, n.reason, n.issue, n.owner, n.expires] for n in page.notes]
    data = {
        "statuses": [status.value for status in Status],
        "kinds": [kind.value for kind in KindClass],
        "firstMarker": ord(FIRST_MARKER),
        "separator": SEPARATOR,
        "overloads": overloads,
        "folders": folders,
        "changes": changes,
        "notes": notes,
        "findings": encoder.findings.values(),
        "scripts": encoder.scripts.values(),
        "strings": encoder.strings.values(),
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
