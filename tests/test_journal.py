"""The journal of a recording, and recordings that are stopped and resumed from it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sweep.calls import corpus
from sweep.calls.call import COMBINED
from sweep.findings.kind import Access
from sweep.recording.journal import Journal
from sweep.recording.outcome import TaskOutcome
from sweep.recording.stages import Task

ROOT = Path(__file__).resolve().parent.parent
IDENTITY = {"fingerprint": {"torch": "2.13.0"}, "only": None}
OUTCOME = TaskOutcome(dispatched=5, calls=3, refused={"RuntimeError": 2}, unrecordable={"sparse": 1}, failures={"add: no": 1})
ADD, VARIANTS = Task(0, "opinfo", "add"), Task(4, "tensor_variants", "aten.add.Tensor")


def written(path):
    with Journal(path, IDENTITY, resume=False) as journal:
        journal.finish_task(ADD, 1.25, OUTCOME)
        journal.lose_process(VARIANTS, 2.0, "crash SIGSEGV at call 3 (attempt)")
        journal.finish_stage(0, 7.0)
        journal.finish_task(VARIANTS, 3.5, replace(OUTCOME, failures={}))
    return journal


def test_a_resumed_journal_has_all_that_was_written(tmp_path):
    before = written(tmp_path / "journal")
    text = (tmp_path / "journal").read_text()
    with Journal(tmp_path / "journal", IDENTITY, resume=True) as journal:
        assert (journal.tasks, journal.lost, journal.stages) == (before.tasks, before.lost, [7.0])
        assert journal.summary() == before.summary()
        assert (tmp_path / "journal").read_text() == text
        journal.finish_task(replace(VARIANTS, name="aten.sub.Tensor"), 0.1, OUTCOME)
    with Journal(tmp_path / "journal", IDENTITY, resume=True) as journal:
        assert len(journal.tasks) == 3


def test_a_line_that_was_cut_short_is_not_read(tmp_path):
    written(tmp_path / "journal")
    text = (tmp_path / "journal").read_text()
    (tmp_path / "journal").write_text(text[:-20])
    with Journal(tmp_path / "journal", IDENTITY, resume=True) as journal:
        assert list(journal.tasks) == [ADD]


def test_a_refusal_of_a_handwritten_call_takes_precedence_over_that_of_a_derived_one(tmp_path):
    with Journal(tmp_path / "journal", IDENTITY, resume=False) as journal:
        for task, error in (
            (Task(1, "overload_variants", "aten.a.out"), "RuntimeError: carried over"),
            (Task(0, "handwritten.family", "task"), "RuntimeError: written"),
        ):
            journal.finish_task(task, 1.0, replace(OUTCOME, refusals={"aten.a.out": error}))
    assert journal.refusals() == {"aten.a.out": "RuntimeError: written"}


def test_the_refusal_of_a_carried_call_takes_precedence_over_that_of_a_guess(tmp_path):
    refusals = (
        (Task(2, "schema_guesses", "aten.a.out"), "TypeError: guessed"),
        (Task(2, "schema_guesses", "aten.b.out"), "TypeError: guessed"),
        (Task(3, "overload_variants", "aten.a.out"), "RuntimeError: carried over"),
        (Task(1, "overload_variants", "aten.c.out"), ""),
    )
    with Journal(tmp_path / "journal", IDENTITY, resume=False) as journal:
        for task, refusal in refusals:
            journal.finish_task(task, 1.0, replace(OUTCOME, refusals={task.name: refusal} if refusal else {}))
    assert journal.refusals() == {"aten.a.out": "RuntimeError: carried over", "aten.b.out": "TypeError: guessed"}
    assert "\naten.a.out: RuntimeError: carried over\n" in journal.summary()


def test_a_summary_has_the_shortest_call_outside_of_bounds(tmp_path):
    with Journal(tmp_path / "journal", IDENTITY, resume=False) as journal:
        for stage, text in ((1, "torch.ops.aten.d.out(...)"), (3, "torch.ops.aten.d.out(longer)")):
            outcome = replace(OUTCOME, out_of_bounds={Access.WRITE: text})
            journal.finish_task(Task(stage, "overload_variants", "aten.d.out"), 1.0, outcome)
    assert "one per overload:\nwrites: torch.ops.aten.d.out(...)\n\n" in journal.summary()


OTHER = json.dumps({**IDENTITY, "fingerprint": {"torch": "2.12.0"}}) + '\n{"finished": 0, "seconds": 1.0}\n'


@pytest.mark.parametrize("content", ["", "nonsense\n", "[]\n", OTHER])
def test_a_journal_of_another_recording_is_not_resumed(tmp_path, content):
    (tmp_path / "journal").write_text(content)
    with Journal(tmp_path / "journal", IDENTITY, resume=True) as journal:
        assert not journal.tasks
        assert journal.stages == []


def test_a_summary_has_counts_lost_processes_and_the_slowest_tasks(tmp_path):
    text = written(tmp_path / "journal").summary()
    assert text.startswith("2 tasks, 10 dispatched calls; 7 s in the finished stages\n")
    for line in (
        "      2 tensor_variants: RuntimeError",
        "      2 opinfo: RuntimeError",
        "      2 sparse",
        "    3.5 tensor_variants:aten.add.Tensor",
        "      1 tensor_variants:aten.add.Tensor: crash SIGSEGV at call 3 (attempt)",
        "      1 add: no",
    ):
        assert f"\n{line}\n" in text


# --- a recording that is stopped ---------------------------------------------------------------------------------------

GLOBS = [*(f"opinfo:op_db/*/{name}/float32" for name in ("abs", "cumsum", "sort", "max_pool2d*", "nn.functional.max_unpool2d"))]
DERIVED = [f"{module}:aten.sort*" for module in ("overload_variants", "tensor_variants", "pairs")]
ONLY = ["--pairs", *(part for glob in (*GLOBS, *DERIVED) for part in ("--only", glob))]


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


def tasks_in(lines):
    return sorted((line["stage"], line["module"], line["task"]) for line in lines)


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
    assert tasks_in(after) == tasks_in(ended(whole))
    assert calls(killed) == calls(whole)
    assert COMBINED in {call["variant"] for call in calls(whole)["aten.sort.default"]}
    assert "pairs of mutations of one call's arguments:\n" in (whole / "corpus.log").read_text()
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}


def test_corpora_side_by_side_have_journals_of_their_own(tmp_path):
    for name in ("one", "other"):
        line = [sys.executable, "-m", "sweep", "record", "--only", "handwritten.windows:*", "--corpus", str(tmp_path / name)]
        assert subprocess.run(line, cwd=ROOT, capture_output=True, timeout=120).returncode == 0
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}  # locks have hidden names
    assert names == {f"{name}{end}" for name in ("one", "other") for end in ("", ".jsonl", ".log")}
