"""Accepting: writing the verdicts of a finished run into the expect files. What a run prints is the business of ``report``."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from sweep import files
from sweep.expect.expect_file import UNKNOWN_TEXT, ExpectFile
from sweep.expect.folder import head, load, shown, write
from sweep.expect.verdict import Change, Verdict
from sweep.operators.environment import Environment


def accepting() -> bool:
    """Whether this run is to accept what it finds: the environment variable ``EXPECTTEST_ACCEPT``, as in expecttest."""
    return bool(os.environ.get("EXPECTTEST_ACCEPT"))


@dataclass(frozen=True)
class Accepted:
    """What came of accepting.

    Attributes:
        done: whether the expect files now say what the run found.
        notes: lines for the user.
    """

    done: bool
    notes: tuple[str, ...]


def accept(
    folder: Path,
    verdicts: Iterable[Verdict],
    environment: Environment,
    crossrefs: Collection[str] | None,
    *,
    whole: bool,
    whole_command: str,
) -> Accepted:
    """Writes verdicts into the expect files of a folder, under its lock.

    The text of a flaky overload stays as it is.

    Args:
        folder: the expect files of this torch and device.
        verdicts: one per overload that was run.
        environment: for the heads of new files.
        crossrefs: names of the crossrefs that were run: findings of others are kept. ``None`` is all.
        whole: every overload was run.
        whole_command: the shell command that accepts everything.

    Raises:
        OSError: a file could not be written; all of them are as they were.
        ExpectError: a file cannot be parsed.
    """
    whole = whole and crossrefs is None
    with files.locked(folder):  # another run may be accepting its own part
        expected = load(folder)
        if not expected and not whole:
            note = f"nothing was accepted: {folder} has no expect files yet; make them all first: {whole_command}"
            return Accepted(False, (note,))
        if whole:
            expected = {}
        flaky = _put(expected, verdicts, environment, crossrefs)
        changed = write(folder, {name: file for name, file in expected.items() if file.overloads()}, whole=whole)
    notes = [f"not accepted, since it is flaky: {overload}" for overload in flaky]
    notes += [f"accepted: {shown(path)}" for path in changed] or ["accepted: nothing changed"]
    return Accepted(True, tuple(notes))


def _put(
    expected: dict[str, ExpectFile], verdicts: Iterable[Verdict], environment: Environment, crossrefs: Collection[str] | None
) -> list[str]:
    """Puts verdicts into files, making those that are missing, and returns the flaky overloads."""
    flaky = []
    for verdict in sorted(verdicts, key=lambda verdict: verdict.result.overload):
        overload = verdict.result.overload
        namespace = overload.partition(".")[0]
        if namespace not in expected:
            expected[namespace] = ExpectFile(head=head(namespace, environment))
        text = verdict.actual
        if verdict.change is Change.FLAKY:
            flaky.append(overload)
            text = verdict.expected
        if text != UNKNOWN_TEXT:
            expected[namespace].put(overload, text, crossrefs)
    return flaky
