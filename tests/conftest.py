"""What several modules of tests share: a small corpus, and a whole run over it, made once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from sweep.session import WORK
from tests.whole_runs import ROOT, environment, expect_folder, sweep

RECORDED = ["opinfo:op_db/*/nn.functional.max_unpool2d/float32", "opinfo:op_db/*/sort/float32"]


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """A small corpus, the expect files that a whole run accepted for it, and its ``run.jsonl``; made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "known"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "run.jsonl").exists():
            make(folder)
    yield folder
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.copytree(folder / "users", WORK, dirs_exist_ok=True)


def make(folder):
    for run in WORK.glob("*/cpu/run.jsonl"):
        (folder / "users" / run.parent.relative_to(WORK)).mkdir(parents=True)
        shutil.copy2(run, folder / "users" / run.relative_to(WORK))
    (folder / "users").mkdir(exist_ok=True)
    only = [part for glob in RECORDED for part in ("--only", glob)]
    record = [sys.executable, "-m", "sweep", "record", "--workers", "2", *only, "--corpus", str(folder / "corpus")]
    subprocess.run(record, cwd=ROOT, env=environment(accept=False), check=True, capture_output=True, timeout=120)
    done = sweep(folder, folder / "results", "-n", "2", accept=True)
    assert done.returncode == 0, done.stdout
    shutil.copy(WORK / expect_folder(folder / "results").relative_to(folder / "results") / "run.jsonl", folder / "run.jsonl")
