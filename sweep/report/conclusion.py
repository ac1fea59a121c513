"""The end of a run, whether pytest's or that of merged shards: its notes, its ``run.jsonl``, accepting, and the exit status.

How verdicts are collected stands in ``collector``, how shards are put together in ``merging``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest

from sweep import expect
from sweep.causes import causes_file
from sweep.errors import CausesError, ExpectError
from sweep.expect import notes
from sweep.expect.folder import shown
from sweep.expect.notes import NoteState
from sweep.expect.verdict import Change, Verdict
from sweep.plan import RunSettings
from sweep.report import run_jsonl
from sweep.report.model import Row, Run, RunInfo
from sweep.report.note_states import states

#: Exit status of a run in which nothing is wrong except that some overloads are flaky.
ONLY_FLAKY = 6

#: Exit statuses of a run in which nothing failed.
_PASSED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


class Conclusion:
    """Concludes a run.

    Args:
        settings: what was run.
        info: what is said of the run; what is only known at its end is added.
        verdicts: overload -> its verdict.
        broken: item -> why it failed without a verdict, in one line.
        every_overload: whether every overload of this torch has a verdict.
        accept: whether to accept the verdicts.
        finished: whether the run came to its end.

    Attributes:
        notes: lines for the user.
    """

    def __init__(
        self,
        settings: RunSettings,
        info: RunInfo,
        verdicts: Mapping[str, Verdict],
        broken: Mapping[str, str],
        *,
        every_overload: bool,
        accept: bool,
        finished: bool,
    ) -> None:
        self.notes: list[str] = []
        self._settings = settings
        self._base = info
        self._verdicts = verdicts
        self._broken = broken
        self._every_overload = every_overload
        self._accept = accept
        self._finished = finished
        self._accepted = False
        self._expired = False

    def conclude(self, status: int) -> int:
        """Writes ``run.jsonl``, and the expect files if they are to be accepted.

        Args:
            status: pytest's exit status of the run: whether an item failed.

        Returns:
            The exit status of the run as a whole.
        """
        self.notes += [*self._remarks(), *self._notes_over()]
        try:
            self._save()  # first, since it is minutes of work; what becomes of accepting is added
            status = self._finish(status)
        except OSError as error:
            self.notes.append(f"cannot write {error.filename} ({error.strerror}): expect files are as they were; run again")
            status = status or pytest.ExitCode.TESTS_FAILED
        return pytest.ExitCode.TESTS_FAILED if self._expired and status in (*_PASSED, ONLY_FLAKY) else status

    def status_of_items(self) -> int:
        """The exit status that pytest has for a run with these verdicts."""
        judged = self._settings.expected and not self._accept
        wrong = any(v.change is Change.FLAKY or (judged and v.change is not None) for v in self._verdicts.values())
        return pytest.ExitCode.TESTS_FAILED if wrong or self._broken else pytest.ExitCode.OK

    def run(self) -> Run:
        """The run as plain data."""
        rows = [
            Row(
                overload,
                self._base.id,
                verdict,
                crossref_runs=dict.fromkeys(self._settings.crossrefs, self._base.id),
                accepted=self._accepted and verdict.change is not Change.FLAKY,
                notes=tuple(str(note) for note in notes.of_overload(self._settings.notes, overload)),
            )
            for overload, verdict in self._verdicts.items()
        ]
        rows += [Row(name, self._base.id, not_run=why) for name, why in self._broken.items() if name not in self._verdicts]
        return Run((self._info(),), tuple(sorted(rows, key=lambda row: row.overload)))

    def _info(self) -> RunInfo:
        settings, environment = self._settings, self._settings.environment
        return dataclasses.replace(
            self._base,
            torch=environment.torch,
            git=environment.git,
            device=environment.device,
            features=environment.features,
            native_cpu=environment.native_cpu,
            crossrefs=tuple(settings.crossrefs),
            all_crossrefs=settings.all_crossrefs,
            results=settings.results,
            whole=self._is_whole() and settings.all_crossrefs,
            expected=settings.expected,
            accepted=self._accepted,
            expired=self._expired,
            accept_command=settings.accept_command(self._subject()),
            notes=tuple(self.notes),
        )

    def _is_whole(self) -> bool:
        return self._every_overload and not self._broken

    def _subject(self) -> str | None:
        """The overload that the command to accept is about; ``...`` for a part, ``None`` for all."""
        changed = [overload for overload, verdict in self._verdicts.items() if verdict.change is not None]
        if len(changed) == 1:
            return changed[0]
        return None if self._is_whole() else "..."

    def _save(self) -> None:
        run_jsonl.update(self._settings.run_folder() / run_jsonl.NAME, self.run())

    def _finish(self, status: int) -> int:
        """Accepts if asked to, and returns the exit status."""
        failed = pytest.ExitCode.TESTS_FAILED
        wrong = {v.change for v in self._verdicts.values() if v.change is Change.FLAKY or (v.change and not self._accept)}
        ended = ONLY_FLAKY if wrong == {Change.FLAKY} and not self._broken and status == failed else status
        if self._accept:
            # An item fails for its result only if that is flaky; its section stays as it is.
            if not self._finished or self._broken:
                self.notes.append("nothing was accepted, since the run did not finish: expect files are as they were")
                ended = ended or failed
            elif not self._write_expect_files():
                ended = failed
            self._save()
        elif not self._settings.expected:
            self.notes.append(self._no_expect_files())
            ended = failed if ended in _PASSED else ended
            self._save()
        return ended

    def _write_expect_files(self) -> bool:
        """Accepts the verdicts; returns whether the expect files now say what they say."""
        settings = self._settings
        accepted = expect.accept(
            Path(settings.results),
            self._verdicts.values(),
            settings.environment,
            None if settings.all_crossrefs else settings.crossrefs,
            whole=self._is_whole(),
            whole_command=dataclasses.replace(settings, all_crossrefs=True).accept_command(),
        )
        self._accepted = accepted.done
        self.notes += accepted.notes
        if self._accepted:
            self.notes += self._findings_without_cause()
        return accepted.done

    def _findings_without_cause(self) -> list[str]:
        """What the file of causes beside the expect files lacks now, if there is one."""
        folder = Path(self._settings.results)
        if not (folder / causes_file.NAME).exists():
            return []
        try:
            lacking = causes_file.lacking(causes_file.load(folder), expect.load(folder), folder)
        except CausesError as error:
            lacking = str(error)
        return [lacking] if lacking else []

    # --- notes ---

    def _no_expect_files(self) -> str:
        environment = self._settings.environment
        near = expect.nearest(Path(self._settings.results).parent.parent, environment)
        nearest = f"; the nearest there are: {shown(near)}" if near else ""
        wanted = f"torch {environment.release} on {environment.device_type} in {shown(Path(self._settings.results))}"
        return f"no expect files for {wanted}{nearest}. To make them: {self._settings.accept_command()}"

    def _remarks(self) -> list[str]:
        """What may explain the results."""
        remarks = []
        if self._settings.unknown:
            remarks.append(
                f"the corpus has calls of {self._settings.unknown} overloads that this torch does not know; they were left out"
            )
        if self._settings.environment.native_cpu:
            return remarks
        try:
            differing = expect.differing_head(expect.load(Path(self._settings.results)), self._settings.environment)
        except ExpectError as error:
            return [*remarks, str(error)]
        if differing is not None:
            here = expect.head("", self._settings.environment)[1]
            remarks.append(f"the expect files were written by another torch or device ({differing}; here: {here})")
        return remarks

    def _notes_over(self) -> list[str]:
        """The notes of people that are gone or have expired."""
        environment = self._settings.environment
        file = shown(Path(self._settings.results).parent.parent / notes.NAME)
        lines = []
        try:
            for note, state in states(self._settings, self._verdicts, every_overload=self._every_overload):
                if state is NoteState.EXPIRED:
                    self._expired = True
                    over = f"this is torch {environment.release}, and it was to be over: renew or remove it in {file}"
                    lines.append(f"note expired: {note.subject}: {note}; {over}")
                elif state is NoteState.GONE and not environment.native_cpu:  # others are not the baseline's findings
                    lines.append(f"note gone: {note.subject}: {note}; remove it from {file}")
        except ExpectError as error:
            lines.append(str(error))
        return lines
