"""The journal of a recording says what happened, also of one that was stopped, and the next recording goes on from it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweep.calls import corpus
from sweep.recording.journal import Journal

ROOT = Path(__file__).resolve().parent.parent
WHAT = {"fingerprint": {"torch": "2.13.0"}, "only": None}
DONE = {
    "dispatched": 5,
    "calls": 3,
    "refused": {"layouts: RuntimeError": 2},
    "unrecordable": {"sparse": 1},
    "failures": {"add: no": 1},
}


def written(path):
    with Journal(path, WHAT, resume=False) as journal:
        journal.ended(0, "opinfo:add", 1.25, DONE)
        journal.replaced(1, "layouts:aten.add.Tensor", 2.0, "crash SIGSEGV at call 3 (attempt)")
        journal.finished(0, 7.0)
        journal.ended(1, "layouts:aten.add.Tensor", 3.5, {})
    return journal


def test_one_that_goes_on_knows_all_that_was_written(tmp_path):
    before = written(tmp_path / "journal")
    text = (tmp_path / "journal").read_text()
    with Journal(tmp_path / "journal", WHAT, resume=True) as journal:
        assert (journal.tasks, journal.lost, journal.stages) == (before.tasks, before.lost, [7.0])
        assert journal.summary() == before.summary()
        assert (tmp_path / "journal").read_text() == text
        journal.ended(1, "layouts:aten.sub.Tensor", 0.1, DONE)
    with Journal(tmp_path / "journal", WHAT, resume=True) as journal:
        assert len(journal.tasks) == 3


def test_what_forms_of_an_operator_are_refused_for_says_more_than_what_guesses_are(tmp_path):
    with Journal(tmp_path / "journal", WHAT, resume=False) as journal:
        for stage, task, why in (
            (2, "schemas:aten.a.out", "TypeError: guessed"),
            (2, "schemas:aten.b.out", "TypeError: guessed"),
            (3, "siblings:aten.a.out", "RuntimeError: carried over"),
            (1, "siblings:aten.c.out", ""),
        ):
            journal.ended(stage, task, 1.0, {**DONE, "why": why})
        journal.ended(1, "layouts:aten.d.out", 1.0, {**DONE, "outside": {"WritesOutside": "torch.ops.aten.d.out(...)"}})
        journal.ended(3, "siblings:aten.d.out", 1.0, {**DONE, "outside": {"WritesOutside": "torch.ops.aten.d.out(longer)"}})
    assert "one of each overload:\nWritesOutside: torch.ops.aten.d.out(...)\n\n" in journal.summary()
    assert journal.refusals() == {"aten.a.out": "RuntimeError: carried over", "aten.b.out": "TypeError: guessed"}
    assert "\naten.a.out: RuntimeError: carried over\n" in journal.summary()


OTHER = json.dumps({**WHAT, "fingerprint": {"torch": "2.12.0"}}) + '\n{"finished": 0, "seconds": 1.0}\n'


@pytest.mark.parametrize("content", ["", "nonsense\n", "[]\n", OTHER])
def test_what_is_of_another_recording_is_begun_anew(tmp_path, content):
    (tmp_path / "journal").write_text(content)
    with Journal(tmp_path / "journal", WHAT, resume=True) as journal:
        assert not journal.tasks
        assert journal.stages == []


def test_a_summary_counts_and_names_what_was_lost_and_what_took_longest(tmp_path):
    text = written(tmp_path / "journal").summary()
    assert text.startswith("2 tasks, 5 dispatched calls; 7 s in the finished stages\n")
    for line in (
        "      2 layouts: RuntimeError",
        "      1 sparse",
        "    3.5 layouts:aten.add.Tensor",
        "      1 layouts:aten.add.Tensor: crash SIGSEGV at call 3 (attempt)",
        "      1 add: no",
    ):
        assert f"\n{line}\n" in text


# --- a recording that is stopped ---------------------------------------------------------------------------------------

GLOBS = [*(f"opinfo:op_db/*/{name}/float32" for name in ("abs", "cumsum", "sort", "max_pool2d*", "nn.functional.max_unpool2d"))]
ONLY = [part for glob in (*GLOBS, "siblings:aten.sort*", "layouts:aten.sort*") for part in ("--only", glob)]


def recording(folder):
    command = [sys.executable, "-m", "sweep", "record", "--workers", "2", *ONLY, "--corpus", str(folder / "corpus")]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def calls(folder):
    return {path.stem: [call for call, _ in corpus.read_file(path)] for path in sorted((folder / "corpus").glob("*.npz"))}


def ended(folder):
    try:
        text = (folder / "corpus.jsonl").read_text()
    except FileNotFoundError:
        return []
    lines = [json.loads(line) for line in text.splitlines(keepends=True)[1:] if line.endswith("\n")]
    return [line for line in lines if "task" in line and "lost" not in line]


def test_a_recording_that_was_killed_goes_on_and_makes_the_same_corpus(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    with recording(whole) as process:
        assert process.wait(timeout=120) == 0
    for wanted in (1, len(GLOBS) + 1):  # in the first stage, and in one that goes on from it
        with recording(killed) as process:
            until = time.monotonic() + 60
            while len(ended(killed)) < wanted and process.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert not (killed / "corpus").exists()
    before = ended(killed)
    assert len(before) >= len(GLOBS) + 1
    with recording(killed) as process:
        assert process.wait(timeout=120) == 0
    after = ended(killed)
    assert after[: len(before)] == before
    assert sorted(line["task"] for line in after) == sorted(line["task"] for line in ended(whole))
    assert calls(killed) == calls(whole)
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}


def test_corpora_side_by_side_have_journals_of_their_own(tmp_path):
    for name in ("one", "other"):
        line = [sys.executable, "-m", "sweep", "record", "--only", "handwritten.windows:*", "--corpus", str(tmp_path / name)]
        assert subprocess.run(line, cwd=ROOT, capture_output=True, timeout=120).returncode == 0
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {f"{name}{end}" for name in ("one", "other") for end in ("", ".jsonl", ".lock", ".log")}
