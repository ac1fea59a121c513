"""Whole runs through pytest itself, what they are given, and what tests do with the expect files that they compare with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sweep.calls import corpus
from sweep.expect import expect_file as expect

ROOT = Path(__file__).resolve().parent.parent
LIAR = "aten.max_unpool2d.default"
INVENTED = """\
fake: output 0 dtype: 1 of 1 call, float32
  torch.ops.aten.detach.default(torch.zeros((), dtype=torch.float32))
  fake: float64 () strides ()
  real: float32 () strides ()
"""


def environment(*, accept):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "EXPECTTEST_"))}
    return {**clean, **({"EXPECTTEST_ACCEPT": "1"} if accept else {})}


def command(known, results, *arguments):
    options = [f"--corpus={known / 'corpus'}", f"--results={results}"]
    return [sys.executable, "-m", "pytest", "-q", str(ROOT / "sweep"), *options, *arguments]


def sweep(known, results, *arguments, accept=False):
    line = command(known, results, *arguments)
    return subprocess.run(line, cwd=ROOT, env=environment(accept=accept), capture_output=True, text=True, timeout=300)


def make_corpus(folder, *calls):
    """Writes recorded calls down as a corpus."""
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
