"""What a run says about people's notes: which hold, which are gone, which have expired. The file of notes is ``expect.notes``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from sweep import expect
from sweep.expect.known import Known
from sweep.expect.notes import Note, NoteState
from sweep.expect.verdict import Change, Verdict
from sweep.findings.finding import CALL
from sweep.plan import RunSettings


def states(settings: RunSettings, verdicts: Mapping[str, Verdict], *, every_overload: bool) -> Iterator[tuple[Note, NoteState]]:
    """Says of each note that a run can judge whether it holds.

    A note on a finding that only another device of the same torch has, by its expect files, holds. Not judged are notes on
    overloads that were not run or are flaky, and those on findings of crossrefs that were not run.

    Args:
        settings: what was run.
        verdicts: overload -> its verdict.
        every_overload: whether every overload has a verdict.

    Raises:
        ExpectError: the expect files of another device cannot be read.
    """
    release = settings.environment.release
    others: list[dict[str, expect.ExpectFile]] | None = None
    for note in settings.notes:
        if not _is_judged(note, settings, verdicts, every_overload=every_overload):
            continue
        verdict = verdicts.get(note.overload)
        state = note.state(expect.read_section(note.overload, verdict.actual) if verdict else Known(), release)
        if state is NoteState.GONE:
            others = _other_devices(settings) if others is None else others
            state = next(
                (s for s in (note.state(expect.known(o, note.overload), release) for o in others) if s is not state), state
            )
        yield note, state


def _is_judged(note: Note, settings: RunSettings, verdicts: Mapping[str, Verdict], *, every_overload: bool) -> bool:
    verdict = verdicts.get(note.overload)
    if verdict is None:
        return every_overload
    if verdict.change is Change.FLAKY:
        return False
    return settings.all_crossrefs or (bool(note.finding) and note.crossref in {*settings.crossrefs, CALL})


def _other_devices(settings: RunSettings) -> list[dict[str, expect.ExpectFile]]:
    """The expect files of the other devices of a run's torch."""
    own = Path(settings.results)
    return [
        expect.load(folder) for folder in expect.checked_in(own.parent.parent) if folder.parent == own.parent and folder != own
    ]
