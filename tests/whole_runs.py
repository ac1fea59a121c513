"""Whole runs through pytest itself, their input, and changes to the expect files that they compare with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sweep import expect
from sweep.calls import corpus

ROOT = Path(__file__).resolve().parent.parent

#: An overload whose fake implementation has other strides than eager.
MISMATCHING = "aten.max_unpool2d.default"

#: The text of a finding that no run has.
INVENTED = """\
fake: output 0 dtype: 1 of 1 call, float32
  torch.ops.aten.detach.default(torch.zeros((), dtype=torch.float32))
  fake: float64 () strides ()
  real: float32 () strides ()
"""


def environment(*, accept):
    """The environment of a run: this one without what pytest and expecttest read."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "EXPECTTEST_"))}
    return {**clean, **({"EXPECTTEST_ACCEPT": "1"} if accept else {})}


def work_of(known):
    """The work folder of the runs over a folder's corpus."""
    return known / "work"


def command(known, results, *arguments, work=None):
    """The command line of a run over ``known / "corpus"``."""
    options = [f"--corpus={known / 'corpus'}", f"--results={results}", f"--work-dir={work or work_of(known)}"]
    return [sys.executable, "-m", "pytest", "-q", str(ROOT / "sweep"), *options, *arguments]


def sweep(known, results, *arguments, accept=False, work=None):
    """A completed run over ``known / "corpus"``."""
    line = command(known, results, *arguments, work=work)
    return subprocess.run(line, cwd=ROOT, env=environment(accept=accept), capture_output=True, text=True, timeout=300)


def sweep_library(module, results, work, *arguments, accept=False):
    """A completed run over a library's operators, whose calls it records."""
    options = [f"--import={module}", f"--work-dir={work}", *([f"--results={results}"] if results else [])]
    line = [sys.executable, "-m", "pytest", "-q", "sweep/", *options, *arguments]
    return subprocess.run(line, cwd=ROOT, env=environment(accept=accept), capture_output=True, text=True, timeout=300)


def make_corpus(folder, *calls):
    """Writes recorded calls as a corpus."""
    folder.mkdir()
    overloads = {}
    for name in dict.fromkeys(call.overload for call in calls):
        its = [call for call in calls if call.overload == name]
        size = corpus.write_file(folder / f"{name}.npz", [c.as_json() for c in its], [bytes(c.data) for c in its])
        overloads[name] = {"calls": len(its), "bytes": size}
    (folder / corpus.MANIFEST).write_text(json.dumps({"format": corpus.FORMAT, "overloads": overloads}))
    return folder


def ops(*names):
    return [part for name in names for part in ("--ops", name)]


def expect_folder(results):
    [folder] = results.glob("*/cpu")
    return folder


def run_file(work):
    """The only ``run.jsonl`` in a work folder."""
    [file] = work.rglob("run.jsonl")
    return file


def rows_of(file):
    """The rows of a ``run.jsonl`` by overload, and the runs by id, as JSON."""
    objects = [json.loads(line) for line in file.read_text().splitlines()]
    rows = {plain["overload"]: plain for plain in objects if plain["type"] == "overload"}
    return rows, {plain["id"]: plain for plain in objects if plain["type"] == "run"}


def copied(known, tmp_path):
    shutil.copytree(known / "results", tmp_path / "results")
    return tmp_path / "results"


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def change(results, **texts):
    """Rewrites sections of ``aten.expect`` by hand: overload (with ``__`` for dots) -> new text, or ``None`` to drop it."""
    path = expect_folder(results) / "aten.expect"
    file = expect.parse(path.read_text(), "aten", str(path))
    for name, text in texts.items():
        file.put(name.replace("__", "."), expect.ABSENT_TEXT if text is None else text)
    path.write_text(file.render())


def section(results, name):
    path = expect_folder(results) / "aten.expect"
    return expect.parse(path.read_text(), "aten", str(path)).text_of(name)


def until_says(process, *words, times=1):
    """Reads a process's output until so many lines hold one of some words, and returns it."""
    lines = []
    while sum(any(word in line for word in words) for line in lines) < times:
        lines.append(process.stdout.readline())
        assert lines[-1], "".join(lines)
    return "".join(lines)
