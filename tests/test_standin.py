"""Whole runs on an accelerator, where there is none: on a stand-in that has the ways of one (see ``tests/standin``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from sweep import expect
from sweep.calls.codec import encode
from sweep.session import WORK
from tests import standin
from tests.whole_runs import ROOT, content, environment, make_corpus

COMPILER = os.environ.get("CXX") or shutil.which("c++") or ""
RELEASE = ".".join(torch.__version__.split(".")[:2])

pytestmark = pytest.mark.skipif(not COMPILER or sys.platform != "linux", reason="needs Linux and a C++ compiler")


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """The environment in which torch has it."""
    yield standin.build(tmp_path_factory.mktemp("standin"), COMPILER)
    shutil.rmtree(WORK / RELEASE / "standin", ignore_errors=True)


@pytest.fixture
def run(device):
    def run(*arguments, accept=False):
        line = [sys.executable, "-m", *arguments]
        env = {**environment(accept=accept), **device}
        return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def sweep(run, tmp_path):
    def sweep(corpus, *arguments, accept=False):
        options = ["--device", "standin", f"--corpus={corpus}", f"--results={tmp_path / 'results'}"]
        return run("pytest", "-q", "sweep/", *options, *arguments, accept=accept)

    return sweep


@pytest.fixture
def found(tmp_path):
    """Overload -> its section, after a run has accepted what it found."""

    def found(name):
        files = expect.load(tmp_path / "results" / RELEASE / "standin")
        return files[name.partition(".")[0]].text_of(name)

    return found


def call(name, *args):
    """A recorded call, which can be made on any device."""
    return encode(name, args, {}, device="cpu", source="test")


RECORDED = [
    "opinfo:op_db/*/nn.functional.layer_norm/float32",  # has decompositions that only Python knows
    "opinfo:op_db/*/copysign/float32",  # the fallback is given undefined tensors
    "handwritten.distributed:functional",
    "*:aten.copysign.*",
]


def test_it_is_recorded_swept_and_accepted_like_any_device(run, sweep, found, tmp_path):
    corpus = tmp_path / "corpus"
    only = [part for glob in RECORDED for part in ("--only", glob)]
    done = run("sweep", "record", "--device", "standin", "--workers", "2", "--corpus", str(corpus), *only)
    assert done.returncode == 0, done.stderr
    log = corpus.with_suffix(".log").read_text()
    assert "processes that were lost, and what they were at:\n\nsamples" in log, log
    assert "op_db/" not in log.partition("samples that could not be generated or run:")[2], log
    done = sweep(corpus, "-n", "2", accept=True)
    assert done.returncode == 0, done.stdout
    accepted = content(tmp_path / "results")
    assert f"{RELEASE}/standin/aten.expect" in accepted
    assert b", standin, stand-in\n" in accepted[f"{RELEASE}/standin/aten.expect"]
    assert found("aten.native_layer_norm.default") == found("_c10d_functional.all_reduce.default") == expect.AGREE_TEXT
    done = sweep(corpus, "-n", "2")
    assert done.returncode == 0, done.stdout
    assert content(tmp_path / "results") == accepted


def test_a_call_that_loses_the_device_is_a_finding_and_the_next_has_another_process(sweep, found, tmp_path):
    good, bad = torch.ones(3), torch.full((2,), -1.0)
    calls = [call("standin.assert_positive.default", x) for x in (good, bad, torch.ones(2, 2))]
    neighbours = [call(name, good) for name in ("aten.abs.default", "standin.assert_positive.default", "aten.tan.default")]
    corpus = make_corpus(tmp_path / "corpus", *calls, *neighbours)
    done = sweep(corpus, "-n", "0", accept=True)
    assert done.returncode == 0, done.stdout
    assert found("standin.assert_positive.default").splitlines() == [
        "every: real raises AcceleratorError: 1 of 4 calls, float32",
        "  torch.ops.standin.assert_positive.default(torch.tensor([-1.0, -1.0], dtype=torch.float32, device='standin'))",
        "  real: AcceleratorError",
    ]
    assert found("aten.abs.default") == found("aten.tan.default") == expect.AGREE_TEXT


LOST = {
    "standin.library_call.default": (-torch.ones(2), "every: real raises RuntimeError"),
    "standin.lying_assert_nonzero.default": (torch.ones(3), "fake: output 0 size[0]"),
    "quantized.standin_assert_nonzero.default": (torch.ones(3), "fake: fake raises AcceleratorError"),
}


def test_who_loses_the_device_is_told_and_nobody_else_is_harmed(sweep, found, tmp_path):
    """A library's error, a printed example of zeros, and fake tensors that fall back on the real kernel."""
    calls = [call(name, x) for name, (x, _) in LOST.items()]
    neighbours = [call(f"aten.{name}.default", torch.ones(3)) for name in ("abs", "relu", "sigmoid", "tan", "trunc")]
    done = sweep(make_corpus(tmp_path / "corpus", *calls, *neighbours), "-n", "0", accept=True)
    assert done.returncode == 0, done.stdout
    assert {name: found(name).partition(": 1 of 1 call")[0] for name in LOST} == {name: what for name, (_, what) in LOST.items()}
    assert {found(neighbour.overload) for neighbour in neighbours} == {expect.AGREE_TEXT}


def test_its_memory_has_a_limit_of_its_own(sweep, found, tmp_path):
    big = call("aten.repeat.default", torch.ones(1), [3 << 27])
    given = call("aten.abs.default", torch.ones(1 << 20))
    corpus = make_corpus(tmp_path / "corpus", big, given)
    assert sweep(corpus, accept=True).returncode == 0
    assert found("aten.repeat.default") == found("aten.abs.default") == expect.AGREE_TEXT
    assert sweep(corpus, "--memory", "0.003", accept=True).returncode == 0
    assert found("aten.repeat.default").splitlines()[0] == "every: out of memory: 1 of 1 call, float32"
    assert found("aten.abs.default").splitlines()[0] == "every: out of memory: 1 of 1 call, float32"


def test_a_typed_call_is_checked_on_it(run):
    done = run("sweep", "check", "torch.ops.aten.abs.default(torch.ones(2, device='standin'))", "--device", "standin")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "agrees"), done


def test_the_inventory_says_what_it_runs_on_the_cpu(run):
    done = run("sweep", "list", "--json", "--device", "standin", "--ops", "aten.view.default", "--ops", "aten.logit.default")
    kernels = [json.loads(line)["kernels"] for line in done.stdout.splitlines()]
    assert kernels == [{"standin": ["fallback"]}, {"standin": ["PrivateUse1"]}], done.stdout


def test_a_process_that_is_forked_after_its_first_use_has_lost_it(device):
    """Else the tests above would not show that the process which forks children never uses it."""
    script = """
import os, torch
torch.ones(1, device="standin")
pid = os.fork()
if not pid:
    try:
        torch.ones(1, device="standin")
    except RuntimeError:
        os._exit(3)
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    line = [sys.executable, "-c", script]
    assert subprocess.run(line, env={**environment(accept=False), **device}, timeout=60, check=False).returncode == 3


def test_where_torch_does_not_have_it_that_is_said(tmp_path):
    line = [sys.executable, "-m", "pytest", "-q", "sweep/", "--device", "standin"]
    done = subprocess.run(line, cwd=ROOT, env=environment(accept=False), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert "unknown device 'standin': this torch knows cpu" in done.stdout + done.stderr
