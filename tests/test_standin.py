"""Whole runs on a stand-in for an accelerator, on machines without one (see ``tests/standin``)."""

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
from tests import standin
from tests.whole_runs import ROOT, content, environment, make_corpus

COMPILER = os.environ.get("CXX") or shutil.which("c++") or ""
RELEASE = ".".join(torch.__version__.split(".")[:2])

pytestmark = pytest.mark.skipif(not COMPILER or sys.platform != "linux", reason="needs Linux and a C++ compiler")


@pytest.fixture(scope="module")
def device(tmp_path_factory):
    """The environment variables with which torch has the device."""
    return standin.build(tmp_path_factory.mktemp("standin"), COMPILER)


@pytest.fixture
def run(device, work):
    def run(*arguments, accept=False):
        line = [sys.executable, "-m", *arguments, "--work-dir", str(work)]
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
def section(tmp_path):
    """A function that returns the section of an overload, after a run has accepted its results."""

    def section(name):
        files = expect.load(tmp_path / "results" / RELEASE / "standin")
        return files[name.partition(".")[0]].text_of(name)

    return section


def call(name, *args):
    """A recorded call that can be made on any device."""
    return encode(name, args, {}, device="cpu", source="test")


TASKS = [
    "opinfo:op_db/*/nn.functional.layer_norm/float32",  # has decompositions that only Python knows
    "opinfo:op_db/*/copysign/float32",  # the fallback is given undefined tensors
    "handwritten.distributed:functional",
    "*:aten.copysign.*",
]


def test_it_is_recorded_swept_and_accepted_like_any_device(run, sweep, section, tmp_path):
    corpus = tmp_path / "corpus"
    only = [part for glob in TASKS for part in ("--only", glob)]
    completed = run("sweep", "record", "--device", "standin", "--workers", "2", "--corpus", str(corpus), *only)
    assert completed.returncode == 0, completed.stderr
    log = corpus.with_suffix(".log").read_text()
    assert "lost processes, and what they were doing:\n\nsamples" in log, log
    assert "op_db/" not in log.partition("samples that could not be generated or run:")[2], log
    completed = sweep(corpus, "-n", "2", accept=True)
    assert completed.returncode == 0, completed.stdout
    accepted = content(tmp_path / "results")
    assert f"{RELEASE}/standin/aten.expect" in accepted
    assert b", standin, stand-in\n" in accepted[f"{RELEASE}/standin/aten.expect"]
    for name in ("aten.native_layer_norm.default", "_c10d_functional.all_reduce.default"):
        assert expect.restrict(section(name), ["fake", "functionalize"]) == expect.AGREE_TEXT  # values are rounded differently
    completed = sweep(corpus, "-n", "2")
    assert completed.returncode == 0, completed.stdout
    assert content(tmp_path / "results") == accepted


def test_a_call_that_loses_the_device_is_a_finding_and_the_next_has_another_process(sweep, section, tmp_path):
    good, bad = torch.ones(3), torch.full((2,), -1.0)
    calls = [call("standin.assert_positive.default", x) for x in (good, bad, torch.ones(2, 2))]
    neighbours = [call(name, good) for name in ("aten.abs.default", "standin.assert_positive.default", "aten.tan.default")]
    corpus = make_corpus(tmp_path / "corpus", *calls, *neighbours)
    completed = sweep(corpus, "-n", "0", accept=True)
    assert completed.returncode == 0, completed.stdout
    assert section("standin.assert_positive.default").splitlines() == [
        "call: real raises AcceleratorError: 1 of 4 calls, float32",
        "  torch.ops.standin.assert_positive.default(torch.tensor([-1.0, -1.0], dtype=torch.float32, device='standin'))",
        "  real: AcceleratorError",
    ]
    assert section("aten.abs.default") == section("aten.tan.default") == expect.AGREE_TEXT


LOST = {
    "standin.library_call.default": (-torch.ones(2), "call: real raises RuntimeError"),
    "standin.lying_assert_nonzero.default": (torch.ones(3), "fake: output 0 size[0]"),
    "quantized.standin_assert_nonzero.default": (torch.ones(3), "fake: fake raises AcceleratorError"),
}


def test_a_call_that_loses_the_device_has_a_finding_and_others_have_none(sweep, section, tmp_path):
    """A library's error, a printed example of zeros, and fake tensors that fall back on the real kernel."""
    calls = [call(name, x) for name, (x, _) in LOST.items()]
    neighbours = [call(f"aten.{name}.default", torch.ones(3)) for name in ("abs", "relu", "sigmoid", "tan", "trunc")]
    completed = sweep(make_corpus(tmp_path / "corpus", *calls, *neighbours), "-n", "0", accept=True)
    assert completed.returncode == 0, completed.stdout
    findings = {name: section(name).partition(": 1 of 1 call")[0] for name in LOST}
    assert findings == {name: finding for name, (_, finding) in LOST.items()}
    assert {section(neighbour.overload) for neighbour in neighbours} == {expect.AGREE_TEXT}


def test_a_kernel_that_is_wrong_on_it_alone_is_compared_with_the_cpus(sweep, section, tmp_path):
    tensors = torch.ones(3), torch.tensor([1.0, 200.0]), torch.tensor([200], dtype=torch.int64)
    wrong, right = "standin.doubled.default", "standin.rightly_doubled.default"
    corpus = make_corpus(tmp_path / "corpus", *(call(name, x) for name in (wrong, right) for x in tensors))
    completed = sweep(corpus, "-n", "0", accept=True)
    assert completed.returncode == 0, completed.stdout
    assert [line for line in section(wrong).splitlines() if not line.startswith(" ")] == [
        "equivalence[device]: output 0 value: 2 of 3 calls, float32 int64"
    ]
    assert section(right) == expect.AGREE_TEXT


def test_its_memory_has_a_limit_of_its_own(sweep, section, tmp_path):
    big = call("aten.repeat.default", torch.ones(1), [1 << 24])
    small = call("aten.abs.default", torch.ones(1 << 20))
    corpus = make_corpus(tmp_path / "corpus", big, small)
    assert sweep(corpus, accept=True).returncode == 0
    assert section("aten.repeat.default") == section("aten.abs.default") == expect.AGREE_TEXT
    assert sweep(corpus, "--memory", "0.003", accept=True).returncode == 0
    assert section("aten.repeat.default").splitlines()[0] == "call: out of memory: 1 of 1 call, float32"
    assert section("aten.abs.default").splitlines()[0] == "call: out of memory: 1 of 1 call, float32"


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("torch.ops.aten.abs.default(torch.ones(2, device='standin'))", "agrees"),
        ("torch.ones(2).to('standin').abs()", "[aten.abs.default] agrees"),
    ],
)
def test_what_a_text_calls_is_checked_on_it(text, last, run):
    completed = run("sweep", "check", text, "--device", "standin")
    assert completed.returncode == 0, completed
    assert last in completed.stdout.splitlines()


def test_the_inventory_says_what_it_runs_on_the_cpu(run):
    completed = run("sweep", "list", "--json", "--device", "standin", "--ops", "aten.view.default", "--ops", "aten.logit.default")
    kernels = [json.loads(line)["kernels"] for line in completed.stdout.splitlines()]
    assert kernels == [{"standin": ["fallback"]}, {"standin": ["PrivateUse1"]}], completed.stdout


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


def test_a_torch_without_the_device_says_so(work):
    line = [sys.executable, "-m", "pytest", "-q", "sweep/", "--device", "standin", "--work-dir", str(work)]
    completed = subprocess.run(line, cwd=ROOT, env=environment(accept=False), capture_output=True, text=True, timeout=60)
    assert completed.returncode == 4
    assert "unknown device 'standin': this torch knows cpu" in completed.stdout + completed.stderr
