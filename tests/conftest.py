"""What several modules of tests share: a small corpus, a whole run over it, and a work folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from tests.whole_runs import ROOT, environment, run_file, sweep, work_of

#: The recorded tasks.
TASKS = ["opinfo:op_db/*/nn.functional.max_unpool2d/float32", "opinfo:op_db/*/sort/float32"]


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """The folder of a small corpus, the expect files that a whole run accepted for it, and that run's ``run.jsonl``.

    Built once for all workers of xdist.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "known"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "run.jsonl").exists():
            _build(folder)
    return folder


def _build(folder):
    only = [part for glob in TASKS for part in ("--only", glob)]
    folders = ["--corpus", str(folder / "corpus"), "--work-dir", str(work_of(folder))]
    record = [sys.executable, "-m", "sweep", "record", "--workers", "2", *only, *folders]
    recorded = subprocess.run(record, cwd=ROOT, env=environment(accept=False), capture_output=True, text=True, timeout=240)
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    completed = sweep(folder, folder / "results", "-n", "2", accept=True)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    shutil.copy(run_file(work_of(folder)), folder / "run.jsonl")


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A work folder for runs and commands without recorded calls of their own."""
    return tmp_path_factory.mktemp("work")
