"""Notes of people on known findings: why they stand, where they are reported, whose they are, and until which torch.

They are a file of their own beside the expect files, which only people write: accepting leaves it as it is.
"""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.errors import NotesError
from sweep.expect.known import Known, Standing

#: The file, in the folder of all results.
NAME = "notes.toml"

_REASON, _ISSUE, _OWNER, _EXPIRES = _FIELDS = ("reason", "issue", "owner", "expires")
_HEADER = "as in [aten.abs.default], or in [aten.abs.default.'fake: output 0 dtype'] for one finding"


class NoteState(enum.Enum):
    """What a run says about a note."""

    #: What it is about is there.
    HOLDS = "holds"
    #: What it is about is not there any more.
    GONE = "gone"
    #: What it is about is there, and the torch that it was to be fixed by is here.
    EXPIRED = "expired"


@dataclass(frozen=True)
class Note:
    """One note.

    Attributes:
        overload: qualified name.
        finding: the finding that it is about, as the first line of its block begins: ``fake: output 0 strides[1]``; empty for the
            overload as a whole.
        reason: why the disagreement stands.
        issue: link to where it is reported; may be empty.
        owner: who looks after it; may be empty.
        expires: the torch from which on it counts no more, such as ``2.15``; empty for never.
    """

    overload: str
    finding: str
    reason: str
    issue: str = ""
    owner: str = ""
    expires: str = ""

    @property
    def crossref(self) -> str:
        """The crossref that reports the finding that it is about; empty for the overload as a whole."""
        return self.finding.partition(":")[0].partition("[")[0]

    @property
    def subject(self) -> str:
        """What it is about: the overload, and the finding if it is about one."""
        return f"{self.overload}, {self.finding}" if self.finding else self.overload

    def __str__(self) -> str:
        """The note in one line, without the overload."""
        details = [self.issue, self.owner and f"owner {self.owner}", self.expires and f"until torch {self.expires}"]
        shown = ", ".join(filter(None, details))
        about = f" on {self.finding}" if self.finding else ""
        return f"note{about}: {self.reason}" + (f" ({shown})" if shown else "")

    def state(self, known: Known, release: str) -> NoteState:
        """What results say about it.

        Args:
            known: what is found about the overload.
            release: torch's major and minor version.
        """
        titles = {finding.title for finding in known.findings}
        is_there = self.finding in titles if self.finding else known.standing not in (Standing.ABSENT, Standing.AGREES)
        if not is_there:
            return NoteState.GONE
        is_over = bool(self.expires) and _numbers(release) >= _numbers(self.expires)
        return NoteState.EXPIRED if is_over else NoteState.HOLDS


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", release))


def of_overload(notes: Iterable[Note], overload: str) -> list[Note]:
    """The notes on an overload."""
    return [note for note in notes if note.overload == overload]


def read(results: Path) -> tuple[Note, ...]:
    """The notes in the folder of all results; none if it has no file of them.

    Raises:
        NotesError: the file cannot be read as notes; the message names the line or the section.
    """
    path = results / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise NotesError(f"{path} cannot be read: {error.strerror}") from None
    try:
        sections = tomllib.loads(data.decode())
    except tomllib.TOMLDecodeError as error:
        raise NotesError(f"{path} is not TOML: {error}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise NotesError(f"{path} is not UTF-8 (at line {line})") from None
    return tuple(note for name, table in _overloads(sections, path) for note in _notes(name, table, path))


def _overloads(sections: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sections of overloads: three names deep, since TOML takes the dots of a header for levels."""
    for namespace, operators in sections.items():
        _check_level("", namespace, operators, path)
        for operator, overloads in operators.items():
            _check_level(f"{namespace}.", operator, overloads, path)
            for overload, table in overloads.items():
                _check_level(f"{namespace}.{operator}.", overload, table, path)
                yield f"{namespace}.{operator}.{overload}", table


def _check_level(above: str, name: str, value: Any, path: Path) -> None:
    """Checks one part of the name of an overload.

    Raises:
        NotesError: it is no name, or no section.
    """
    if not re.fullmatch(r"\w+", name):
        raise NotesError(f"{path}: section [{above}{name!r}] is no overload; write its header without quotes, {_HEADER}")
    if not isinstance(value, dict):
        raise NotesError(f"{path}: {above}{name} is in no section of an overload; write headers {_HEADER}")


def _notes(overload: str, table: Mapping[str, Any], path: Path) -> Iterator[Note]:
    """The note on an overload, if it has one, and those on its findings."""
    fields = {key: value for key, value in table.items() if not isinstance(value, dict)}
    of_findings = {key: value for key, value in table.items() if isinstance(value, dict)}
    if fields or not of_findings:
        yield _note(overload, "", fields, f"{path}: section [{overload}]")
    for finding, inner in of_findings.items():
        place = f"{path}: section [{overload}.{finding!r}]"
        if ": " not in finding:
            raise NotesError(f"{place} is no finding; write one as the expect file has it before the numbers, {_HEADER}")
        yield _note(overload, finding, inner, place)


def _note(overload: str, finding: str, fields: Mapping[str, Any], place: str) -> Note:
    """A note from the fields of a section.

    Raises:
        NotesError: a field is unknown, missing or of another form.
    """
    for key, value in fields.items():
        if key not in _FIELDS:
            raise NotesError(f"{place} has an unknown key {key!r}; there are: {', '.join(_FIELDS)}")
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise NotesError(f"{place}: {key} has to be a text of one line, in quotes")
    if _REASON not in fields:
        raise NotesError(f"{place} has no {_REASON}")
    if not re.match(r"https?://\S+$", fields.get(_ISSUE, "https://none")):
        raise NotesError(f"{place}: {_ISSUE} has to be a link, as 'https://github.com/pytorch/pytorch/issues/1'")
    if not re.fullmatch(r"\d+\.\d+", fields.get(_EXPIRES, "0.0")):
        raise NotesError(f"{place}: {_EXPIRES} has to be a torch version, as '2.15'")
    return Note(overload, finding, **fields)
