"""A call does its worst, and the sweep goes on: every fault has its right name, and every neighbour its right verdict."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sweep.findings import AGREES, KNOWN_BAD
from sweep.sandbox import Sandbox
from sweep.supervisor import Supervisor
from tests import faults
from tests.test_sandbox import goes_away


class FaultySandbox(Sandbox):
    """A sandbox whose children know the faulty operators."""

    corpus = None

    def _start(self):
        super()._start()
        self.request("tests.faults:register")
        if self.corpus is not None:  # imports are no call's doing, and a test's timeout is short
            arguments = {"folder": str(self.corpus), "device": "cpu", "crossrefs": ["fake", "functionalize"]}
            self.request("sweep.runner:run_overload", name=faults.overload("healthy"), **arguments)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    with FaultySandbox(folder / "scratch") as sandbox:
        sandbox.request("tests.faults:record", folder=str(folder))
    return folder


@pytest.fixture
def supervisor(corpus, tmp_path):
    with FaultySandbox(tmp_path, memory=16 << 30) as sandbox:
        sandbox.corpus = corpus
        yield Supervisor(sandbox, corpus, "cpu", ["fake", "functionalize"], timeout=2.0)


def healthy(supervisor):
    return [supervisor.run(faults.overload(name)).status for name in ("healthy", "healthier")] == [AGREES, AGREES]


@pytest.mark.parametrize("name", faults.ENDINGS)
def test_a_fault_has_its_name_and_its_neighbours_agree(supervisor, name):
    assert healthy(supervisor)
    result = supervisor.run(faults.overload(name))
    assert result.status == KNOWN_BAD
    assert [(f.crossref, f.what, f.calls) for f in result.findings] == [("every", faults.ENDINGS[name], 2)]
    assert result.findings[0].example.startswith(f"torch.ops.{faults.overload(name)}(torch.")
    assert result.calls == 2
    assert healthy(supervisor)


@pytest.mark.parametrize("name", faults.HARMLESS)
def test_what_can_be_cleaned_up_harms_nobody(supervisor, name):
    assert supervisor.run(faults.overload(name)).status == AGREES
    assert healthy(supervisor)
    assert supervisor.sandbox.starts == 1


def test_what_trying_an_example_changes_is_put_back_too(supervisor):
    result = supervisor.run(faults.overload("dtypeliar"))
    assert {(f.crossref, f.what) for f in result.findings} >= {("every", "changes default dtype"), ("fake", "output 0 dtype")}
    assert supervisor.sandbox.request("tests.faults:default_dtype") == "torch.float32"


def test_a_crash_of_the_fake_path_is_the_fake_paths(supervisor):
    result = supervisor.run(faults.overload("fakecrash"))
    assert {(f.crossref, f.what) for f in result.findings} == {("fake", "crash SIGSEGV")}
    assert healthy(supervisor)


def test_what_a_call_leaves_running_goes_with_its_child(supervisor):
    supervisor.run(faults.overload("orphan"))
    group = supervisor.sandbox._process.pid
    orphans = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and in_group(p, group) and int(p.name) != group]
    assert orphans
    supervisor.sandbox.close()
    assert all(goes_away(pid) for pid in orphans)


def in_group(process, group):
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_another_answer_in_a_fresh_process_is_another_answer(supervisor, monkeypatch):
    monkeypatch.setenv("SWEEP_COIN", "heads")
    first = supervisor.run(faults.overload("coin"))
    monkeypatch.setenv("SWEEP_COIN", "tails")
    assert supervisor.run(faults.overload("coin")).findings == first.findings != ()
    assert supervisor.afresh(faults.overload("coin")).status == AGREES


def test_all_of_them_in_any_order(supervisor):
    names = [*faults.ENDINGS, *faults.HARMLESS]
    random.Random(0).shuffle(names)
    for name in names:
        result = supervisor.run(faults.overload(name))
        expected = [faults.ENDINGS[name]] if name in faults.ENDINGS else []
        assert [f.what for f in result.findings] == expected, name
