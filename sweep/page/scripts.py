"""Scripts of findings as references to parts that many of them share.

All scripts together are 70 MB, and nearly all of that is the same few templates. A part of a script is therefore stored once, and
what is of a finding alone, such as its arguments, is a marker in it. Whoever shows a script replaces the markers and joins the
parts; how a script is put together stays the business of ``repro``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.errors import ReproError
from sweep.expect.known import KnownFinding
from sweep.repro import script

#: Marker of the first field of a finding; that of another is as many characters behind it. A printed call escapes all of them.
FIRST_MARKER = "\ue000"


def fields_of(overload: str, finding: KnownFinding, head: str) -> list[str]:
    """The texts that markers stand for: arguments, overload, title, head, and each side with its label.

    Args:
        overload: qualified name.
        finding: one of its findings.
        head: as in :func:`sweep.repro.script.script_of`.
    """
    sides = [f"{label}: {text}" for label, text in finding.sides]
    return [script.arguments_of(overload, finding) or "", overload, finding.title, head, *sides]


def skeleton_of(overload: str, finding: KnownFinding, head: str) -> Sequence[str] | ReproError:
    """The parts of a finding's script with markers in place of its fields, or why there is no script.

    Args:
        overload: qualified name.
        finding: one of its findings.
        head: as in :func:`sweep.repro.script.script_of`.
    """
    try:
        parts = script.parts_of(overload, finding, head)
    except ReproError as reason:
        return reason
    fields = fields_of(overload, finding, head)
    by_length = sorted(range(len(fields)), key=lambda at: -len(fields[at]))  # the title is in no side, but the overload may be
    for number, part in enumerate(parts):
        if overload in part:  # others are the same for every overload
            for at in by_length:
                part = part.replace(fields[at], _marker(at)) if fields[at] else part
            parts[number] = part
    return parts


def filled(skeleton: Sequence[str], fields: Sequence[str]) -> str:
    """The script of which :func:`skeleton_of` made a skeleton; the page does the same.

    Args:
        skeleton: the parts.
        fields: as :func:`fields_of` returns them.
    """
    table = {ord(_marker(at)): field for at, field in enumerate(fields)}
    return script.SEPARATOR.join(part.translate(table) for part in skeleton) + "\n"


def _marker(at: int) -> str:
    return chr(ord(FIRST_MARKER) + at)
