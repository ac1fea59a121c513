"""Faulty operators end their processes in every way: each is named rightly, and the operators beside them get right verdicts."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweep import expect
from sweep.calls.corpus import FORMAT, MANIFEST
from sweep.crossref import LATE_IMPORTS
from sweep.findings.finding import CALL, Status
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from sweep.report import run_jsonl
from sweep.trials import Effort
from tests import faults
from tests.test_sandbox import goes_away
from tests.whole_runs import ROOT, environment


class FaultySandbox(Sandbox):
    """A sandbox whose children know the faulty operators."""

    corpus = None

    def prepare_child(self):
        super().prepare_child()
        self.request("tests.faults:register")
        if self.corpus is not None:  # so that late imports do not count towards a call's short timeout
            arguments = {"folder": str(self.corpus), "device": "cpu", "crossrefs": ["fake", "functionalize"]}
            self.request("sweep.execution.run:check_overload", name=faults.overload("healthy"), **arguments)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    with FaultySandbox(folder / "scratch") as sandbox:
        sandbox.request("tests.faults:record", folder=str(folder))
    return folder


@pytest.fixture(scope="module")
def sandbox(corpus):
    with FaultySandbox(corpus / "scratch", memory=16 << 30, preloads=("sweep.execution.run", *LATE_IMPORTS)) as sandbox:
        sandbox.corpus = corpus
        yield sandbox


@pytest.fixture
def supervisor(corpus, sandbox):
    sandbox.end_child()
    sandbox.starts = 0
    return Supervisor(sandbox, corpus, "cpu", ["fake", "functionalize"], timeout=2.0)


def summary(result):
    return [(f.crossref, f.what, f.calls) for f in result.findings]


def healthy_ones_agree(supervisor):
    return all(supervisor.run(faults.overload(name)).status is Status.AGREES for name in ("healthy", "healthier"))


@pytest.mark.parametrize("name", faults.ENDINGS)
def test_a_fault_is_named_and_healthy_operators_agree(supervisor, name):
    assert healthy_ones_agree(supervisor)
    result = supervisor.run(faults.overload(name))
    assert result.status is Status.KNOWN_BAD
    assert summary(result) == [(CALL, faults.ENDINGS[name], 2)]
    assert result.findings[0].example.startswith(f"torch.ops.{faults.overload(name)}(torch.")
    assert result.calls == 2
    assert healthy_ones_agree(supervisor)


@pytest.mark.parametrize("name", faults.HARMLESS)
def test_faults_that_can_be_cleaned_up_change_nothing(supervisor, name):
    assert supervisor.run(faults.overload(name)).status is Status.AGREES
    assert healthy_ones_agree(supervisor)
    assert supervisor.sandbox.starts == 1


def test_state_that_trying_an_example_changes_is_restored_too(supervisor):
    result = supervisor.run(faults.overload("wrongdtype"))
    assert {(f.crossref, f.what) for f in result.findings} >= {(CALL, "changes default dtype"), ("fake", "output 0 dtype")}
    assert supervisor.sandbox.request("tests.faults:default_dtype") == "torch.float32"


def test_a_crash_of_one_prediction_costs_no_other_crossref_its_calls(supervisor):
    result = supervisor.run(faults.overload("fakecrash"))
    assert summary(result) == [(crossref, "crash SIGSEGV", 2) for crossref in ("fake", "functionalize")]
    assert result.calls == 2
    assert healthy_ones_agree(supervisor)
    supervisor.crossrefs = ["functionalize"]
    [alone] = supervisor.run(faults.overload("fakecrash")).findings
    assert alone == result.findings[1]


def test_a_crash_of_a_printed_call_is_not_one_of_a_recorded_call(supervisor):
    """The simplest values that a call is printed with are zeros."""
    result = supervisor.run(faults.overload("nozeros"))
    assert summary(result) == [("fake", "output 0 dtype", 2), ("functionalize", "output 0 dtype", 2)]


def test_a_crash_of_a_smaller_call_costs_only_that_one(supervisor):
    supervisor.effort = Effort.SHRUNK
    result = supervisor.run(faults.overload("notsmall"))
    assert summary(result) == [("fake", "output 0 dtype", 2), ("functionalize", "output 0 dtype", 2)]
    assert {finding.example for finding in result.findings} == {
        f"torch.ops.{faults.overload('notsmall')}(torch.zeros((2,), dtype=torch.float32))"
    }


def test_processes_that_a_call_started_end_with_its_child(supervisor):
    supervisor.run(faults.overload("orphan"))
    group = supervisor.sandbox._fork_server.child
    orphans = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and in_group(p, group) and int(p.name) != group]
    assert orphans
    supervisor.sandbox.end_child()
    assert all(goes_away(pid) for pid in orphans)


def in_group(process, group):
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_rerun_in_a_fresh_process_has_its_own_result(supervisor, monkeypatch, tmp_path):
    monkeypatch.setenv("SWEEP_COIN", "heads")
    supervisor.sandbox.close()  # a fork_server keeps its environment
    first = supervisor.run(faults.overload("coin"))
    monkeypatch.setenv("SWEEP_COIN", "tails")
    assert supervisor.run(faults.overload("coin")).findings == first.findings != ()
    with FaultySandbox(tmp_path) as supervisor.fresh:
        assert supervisor.rerun_in_fresh_process(faults.overload("coin")).status is Status.AGREES
    assert supervisor.run(faults.overload("coin")).findings == first.findings


def test_an_overload_that_takes_too_long_is_given_up_and_says_so(supervisor):
    supervisor.overload_timeout = 1e-6
    result = supervisor.run(faults.overload("healthy"))
    assert [(f.crossref, f.what) for f in result.findings] == [(CALL, "overload timeout")]
    assert (result.calls, result.given_up) == (0, 2)
    supervisor.overload_timeout = 0.0
    assert healthy_ones_agree(supervisor)


def test_through_pytest_itself_with_two_workers(corpus, tmp_path):
    """A fault of every class of ending, and of those that leave state changed; the tests above have all faults."""
    endings = {name: faults.ENDINGS[name] for name in ("segfault", "leave3", "sleep", "hoard", "quit", "dtype", "descriptor")}
    part = tmp_path / "corpus"
    part.mkdir()
    for name in (*endings, *faults.HARMLESS):
        shutil.copy(corpus / f"{faults.overload(name)}.npz", part)
    sizes = {p.stem: {"calls": 2, "guessed": 0, "bytes": p.stat().st_size} for p in part.glob("*.npz")}
    manifest = {"format": FORMAT, "fingerprint": {}, "overloads": sizes, "log": {}, "seconds": 0}
    (part / MANIFEST).write_text(json.dumps(manifest))
    options = ["--import", "tests.faults_library", "--corpus", str(part), "--results", str(tmp_path / "results")]
    options += ["--work-dir", str(tmp_path / "work")]
    report = tmp_path / "report.xml"
    line = [sys.executable, "-m", "pytest", "-q", "-n", "2", "sweep/", "--call-timeout", "3", f"--junitxml={report}", *options]
    variables = {**environment(accept=True), "SWEEP_COIN": "heads"}
    done = subprocess.run(line, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    [folder] = (tmp_path / "results").glob("*/cpu")
    file = expect.parse((folder / f"{faults.NAMESPACE}.expect").read_text(), faults.NAMESPACE, "")
    [path] = (tmp_path / "work").glob("*/cpu/tests.faults_library/run.jsonl")
    rows = {row.overload: row for row in run_jsonl.read(path).rows}
    xml = report.read_text()
    for name, ending in endings.items():
        overload = faults.overload(name)
        assert file.text_of(overload).startswith(f"{CALL}: {ending}: 2 of 2 calls, float32\n"), name
        assert [f.what for f in rows[overload].verdict.result.findings] == [ending]
        assert f'name="test_overload[{overload}]"' in xml
    for name in faults.HARMLESS:
        assert file.text_of(faults.overload(name)) == expect.AGREE_TEXT


def test_faults_in_any_order(supervisor):
    names = [*faults.ENDINGS, *faults.HARMLESS]
    random.Random(0).shuffle(names)
    for name in names:
        result = supervisor.run(faults.overload(name))
        expected = [faults.ENDINGS[name]] if name in faults.ENDINGS else []
        assert [f.what for f in result.findings] == expected, name
