"""Workers elsewhere use the sources and recorded calls that they have there, and stop the run if these are others."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweep import workers
from sweep.calls import corpus
from sweep.calls.codec import encode
from sweep.errors import WorkerError
from sweep.sharding import digest_of_corpus
from sweep.workers import Origin
from tests.test_report import ENVIRONMENT, plan_of
from tests.whole_runs import MISMATCHING, ROOT, make_corpus, ops, rows_of, run_file, sweep, until_says

CALL = encode("aten.abs.default", (torch.zeros(2),), {}, device="cpu", source="test")
OTHER_CALL = encode("aten.abs.default", (torch.zeros(3, 4),), {}, device="cpu", source="test")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The folder of a checkout, with a corpus, from which a run is started; the current folder is the worker's."""
    there = tmp_path / "checkout" / ".sweep" / "2.13" / "cpu"
    there.mkdir(parents=True)
    make_corpus(there / "corpus", CALL)
    (tmp_path / "worker").mkdir()
    monkeypatch.chdir(tmp_path / "worker")
    return tmp_path / "checkout"


def plan_in(checkout):
    folder = checkout / ".sweep" / "2.13" / "cpu" / "corpus"
    return plan_of(checkout, corpus=str(folder), corpus_digest=digest_of_corpus(corpus.read_manifest(folder)))


def corpus_of(checkout, plan):
    return workers.corpus_of(plan, Origin(str(checkout), ""), Path.cwd() / "rootdir")


@pytest.mark.parametrize("place", ["corpus", ".sweep/2.13/cpu/corpus", "rootdir/.sweep/2.13/cpu/corpus"])
def test_a_worker_prefers_its_own_copy_of_the_corpus(checkout, place):
    plan = plan_in(checkout)
    shutil.copytree(plan.corpus, place)
    assert corpus_of(checkout, plan) == Path.cwd() / place


def test_a_copy_with_other_calls_does_not_count(checkout):
    plan = plan_in(checkout)
    make_corpus(Path("corpus"), CALL, OTHER_CALL)
    assert corpus_of(checkout, plan) == Path(plan.corpus)


def test_without_a_copy_the_message_says_where_it_was_looked_for(checkout):
    plan = plan_in(checkout)
    shutil.rmtree(plan.corpus)
    with pytest.raises(WorkerError) as caught:
        corpus_of(checkout, plan)
    assert f" in {Path.cwd() / 'corpus'}, " in str(caught.value)
    assert str(caught.value).endswith(f"{plan.corpus}: send it with --rsyncdir={plan.corpus}")
    assert "\n" not in str(caught.value)


def test_other_sources_are_refused():
    workers.check_sources(Origin.here())
    with pytest.raises(WorkerError, match=r"has other sources in .* than this run: send them with --rsyncdir=CHECKOUT"):
        workers.check_sources(dataclasses.replace(Origin.here(), sources="0"))


class Child:
    """Answers what its torch is."""

    def __init__(self, environment):
        self.environment = environment

    def request(self, function, **arguments):
        return self.environment


def test_another_torch_is_refused(tmp_path):
    plan = plan_of(tmp_path)
    workers.check_environment(plan, Child(ENVIRONMENT))
    with pytest.raises(WorkerError, match=r"differs from where the run was started in torch: 2\.13\.0 and 2\.12\.1"):
        workers.check_environment(plan, Child(dataclasses.replace(ENVIRONMENT, torch="2.12.1")))


#: A plugin of pytest after which the plan names a corpus that is on no disk, as that of another machine is not on this one.
OTHER_MACHINE = """
import dataclasses
import pytest
from sweep import plugin_hooks

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        plan = config.stash[plugin_hooks._PLAN]
        config.stash[plugin_hooks._PLAN] = dataclasses.replace(plan, corpus="/other/machine/corpus")
"""


@pytest.fixture
def run_elsewhere(known, tmp_path, monkeypatch):
    """A completed run with workers elsewhere, for which the corpus is out of reach where it is; the sources are sent to them."""
    (tmp_path / "other_machine.py").write_text(OTHER_MACHINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(specifications, *arguments):
        tx = [part for each in specifications for part in ("--tx", each)]
        options = ["-p", "other_machine", "-p", "no:warnings", "--dist", "each", f"--rsyncdir={ROOT}", *tx, *arguments]
        return sweep(known, known / "results", *options, *ops(MISMATCHING), work=tmp_path / "work")

    return run


def folders(tmp_path):
    """Two folders, and the specifications of an interpreter in each."""
    places = [tmp_path / name for name in ("first", "second")]
    for place in places:
        place.mkdir()
    return places, [f"popen//python={sys.executable}//chdir={place}" for place in places]


def test_interpreters_in_other_folders_use_the_calls_that_were_sent_there(known, tmp_path, run_elsewhere):
    places, specifications = folders(tmp_path)
    completed = run_elsewhere(specifications, f"--rsyncdir={known / 'corpus'}")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "2 passed" in completed.stdout
    assert all((place / "corpus" / corpus.MANIFEST).exists() for place in places)
    rows, _ = rows_of(run_file(tmp_path / "work"))
    assert rows[MISMATCHING]["calls"] == 80


def test_an_interpreter_that_shares_nothing_but_a_socket_uses_the_sources_that_were_sent(known, tmp_path, run_elsewhere):
    checkout = tmp_path / "pyexecnetcache" / ROOT.name  # where xdist puts it
    checkout.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    line = [sys.executable, "-u", "-m", "execnet.script.socketserver", address]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join((str(checkout), str(tmp_path))), "PYTHONDONTWRITEBYTECODE": ""}
    with subprocess.Popen(
        line, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            until_says(server, "Entering Accept loop")
            completed = run_elsewhere([f"socket={address}"], f"--rsyncdir={known / 'corpus'}")
        finally:
            server.kill()
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "1 passed" in completed.stdout
    assert list(checkout.glob("sweep/isolation/__pycache__/supervisor.*.pyc")), "the sources that were imported"


def test_a_worker_without_the_calls_of_the_run_stops_it_in_one_line(known, tmp_path, run_elsewhere):
    places, specifications = folders(tmp_path)
    (places[0] / "corpus").mkdir()
    manifest = json.loads((known / "corpus" / corpus.MANIFEST).read_text())
    manifest["overloads"] = {}
    (places[0] / "corpus" / corpus.MANIFEST).write_text(json.dumps(manifest))
    completed = run_elsewhere(specifications[:1])
    assert completed.returncode == 4, completed.stdout + completed.stderr
    [line] = [line for line in completed.stdout.splitlines() if line.startswith(f"not run {MISMATCHING}: ")]
    assert f"has no copy of this run's corpus in {places[0] / 'corpus'}, " in line
    assert "Traceback" not in completed.stdout + completed.stderr
