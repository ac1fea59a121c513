"""What two folders of expect files, of two torches or of two devices, say differently about each overload."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.expect.expect_file import ExpectFile
from sweep.expect.folder import known
from sweep.expect.known import Known, KnownFinding, Standing


class Kind(enum.Enum):
    """How an overload differs; the order is that of a table."""

    #: It disagrees with a crossref, and did not before.
    NEW_KNOWN_BAD = "new known-bad"
    #: It has other findings than before.
    CHANGED = "changed"
    #: It disagrees with no crossref any more.
    FIXED = "fixed"
    #: It is called, and was not before.
    NEWLY_CALLABLE = "newly callable"
    #: It is not called, and was before.
    NO_LONGER_CALLABLE = "no longer callable"
    #: Only the new files mention it, and it is not known-bad.
    ADDED = "added"
    #: Only the old files mention it.
    GONE = "gone"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Step:
    """One finding from the old files to the new ones.

    Attributes:
        old: the finding before; ``None`` if it is new.
        new: the finding after; ``None`` if it is gone.
    """

    old: KnownFinding | None
    new: KnownFinding | None

    def __str__(self) -> str:
        old, new = self.old, self.new
        if old is None or new is None:
            return f"{old.title} -> none" if old else f"none -> {new.title}" if new else ""
        if old.title == new.title:
            return f"{old.title}: {old.extent or 'no dtype'} -> {new.extent or 'no dtype'}"
        return f"{old.title} -> {new.what}"

    def as_json(self) -> dict[str, Any]:
        """The step as JSON data."""
        return {name: _finding_as_json(finding) for name, finding in (("old", self.old), ("new", self.new))}


def _finding_as_json(finding: KnownFinding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {
        "crossref": finding.crossref,
        "form": finding.form,
        "what": finding.what,
        "calls": finding.calls,
        "total": finding.total,
        "extent": finding.extent,
        "example": finding.example,
        "sides": dict(finding.sides),
    }


@dataclass(frozen=True)
class Difference:
    """One overload about which the two folders say different things.

    Attributes:
        overload: qualified name.
        kind: how it differs.
        old: what the old files say.
        new: what the new files say.
        steps: the findings that differ.
    """

    overload: str
    kind: Kind
    old: Known
    new: Known
    steps: tuple[Step, ...]

    @property
    def texts(self) -> list[str]:
        """A line for what the overload was and is as a whole, if that differs, and one for each finding."""
        before, after = self.old.standing, self.new.standing
        lines = [str(step) for step in self.steps]
        if before is after:
            return lines
        reason = self.new.reason or self.old.reason
        return [f"{before} -> {after}" + (f" ({reason})" if reason else ""), *lines]

    def as_json(self) -> dict[str, Any]:
        """The difference as JSON data."""
        return {
            "overload": self.overload,
            "change": self.kind.value,
            "old": _known_as_json(self.old),
            "new": _known_as_json(self.new),
            "findings": [step.as_json() for step in self.steps],
        }


def _known_as_json(known: Known) -> dict[str, str]:
    return {"standing": known.standing.value, "reason": known.reason}


def differences(old: Mapping[str, ExpectFile], new: Mapping[str, ExpectFile]) -> list[Difference]:
    """Lists the overloads that differ, by kind and then by name.

    Findings are the same if they have the same crossref, form, place, kind, dtypes and variants. How many calls show one, and its
    example, depend on what was recorded and do not count; neither does the reason of an overload that is called on neither side.

    Args:
        old: the expect files of one folder by namespace.
        new: those of the other one.

    Raises:
        ExpectError: a section is not of this format.
    """
    overloads = {overload for files in (old, new) for file in files.values() for overload in file.overloads()}
    found = []
    for overload in sorted(overloads):
        before, after = known(old, overload), known(new, overload)
        steps = tuple(_steps(before.findings, after.findings))
        kind = _kind(before.standing, after.standing, steps)
        if kind is not None:
            found.append(Difference(overload, kind, before, after, steps))
    order = list(Kind)
    return sorted(found, key=lambda difference: order.index(difference.kind))


def _kind(old: Standing, new: Standing, steps: Sequence[Step]) -> Kind | None:
    """How an overload differs; ``None`` if it does not."""
    if new is Standing.ABSENT:
        return Kind.GONE
    if old is Standing.ABSENT:
        return Kind.NEW_KNOWN_BAD if new is Standing.KNOWN_BAD else Kind.ADDED
    if old.is_called != new.is_called:
        return Kind.NEWLY_CALLABLE if new.is_called else Kind.NO_LONGER_CALLABLE
    if old is not new and Standing.KNOWN_BAD in (old, new):
        return Kind.NEW_KNOWN_BAD if new is Standing.KNOWN_BAD else Kind.FIXED
    return Kind.CHANGED if steps else None


def _steps(old: Sequence[KnownFinding], new: Sequence[KnownFinding]) -> Iterator[Step]:
    """The findings that differ. One gone and one new make one step if their crossref has no other such finding."""
    before, after = {finding.title: finding for finding in old}, {finding.title: finding for finding in new}
    for title in sorted(before.keys() & after.keys()):
        if before[title].extent != after[title].extent:
            yield Step(before[title], after[title])
    gone = [finding for finding in old if finding.title not in after]
    added = [finding for finding in new if finding.title not in before]
    for author in sorted({finding.author for finding in (*gone, *added)}):
        of_old = [finding for finding in gone if finding.author == author]
        of_new = [finding for finding in added if finding.author == author]
        if len(of_old) == len(of_new) == 1:
            yield Step(of_old[0], of_new[0])
        else:
            yield from (Step(finding, None) for finding in of_old)
            yield from (Step(None, finding) for finding in of_new)
