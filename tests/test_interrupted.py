"""A sweep that is killed, interrupted or out of disk space leaves the expect files as they were, and the next run works."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweep import expect
from sweep.calls.corpus import FORMAT, MANIFEST
from sweep.plan import scratch_folder
from tests import faults
from tests.child_functions import accept_ctrl_c
from tests.test_sandbox import goes_away
from tests.whole_runs import (
    INVENTED,
    MISMATCHING,
    ROOT,
    change,
    command,
    content,
    copied,
    environment,
    expect_folder,
    ops,
    sweep,
    until_says,
    work_of,
)


def children(pid):
    """The processes that a process has started, with their command lines."""
    lines = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            try:
                lines[int(child)] = Path(f"/proc/{child}/cmdline").read_text()
            except FileNotFoundError:
                continue
    return lines


def callers(worker):
    """The processes that make a worker's calls: the children of its fork servers."""
    return [caller for pid, line in children(worker).items() if "sweep.isolation.fork_server" in line for caller in children(pid)]


def busy_worker(controller):
    """A worker of xdist that has a process for its calls."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for pid, line in children(controller).items():
            if "sweep.isolation.fork_server" not in line and callers(pid):
                return pid
        time.sleep(0.02)
    raise AssertionError("no worker started a child")


def interrupted(known, results, interrupt, *arguments):
    """Runs a sweep that accepts, interrupts it after its first overload, and returns its exit status and output."""
    change(results, aten__max_unpool2d__default=expect.AGREE_TEXT, aten__copy___default=INVENTED, aten__max_unpool2d__out=None)
    before = content(results)
    line = [*command(known, results, "-v", "-v", *arguments), *ops("aten.max_unpool2d*", "aten.copy_.default", "aten.sort.*")]
    with subprocess.Popen(
        line,
        cwd=ROOT,
        env=environment(accept=True),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=accept_ctrl_c,
    ) as process:
        output = until_says(process, "PASSED", "SKIPPED")
        interrupt(process.pid)
        rest, _ = process.communicate(timeout=60)
    assert content(results) == before
    return process.returncode, output + rest


def test_a_killed_worker_leaves_the_expect_files_as_they_were(known, tmp_path):
    status, output = interrupted(
        known, copied(known, tmp_path), lambda controller: os.kill(busy_worker(controller), signal.SIGKILL), "-n", "2"
    )
    assert status == 1, output
    assert "nothing was accepted" in output


@pytest.mark.parametrize("processes", ["0", "2"])
def test_an_interrupted_run_leaves_the_expect_files_as_they_were(known, tmp_path, processes):
    interrupt = lambda controller: os.kill(controller, signal.SIGINT)  # noqa: E731
    status, output = interrupted(known, copied(known, tmp_path), interrupt, "-n", processes)
    assert status == 2, output
    assert "nothing was accepted" in output


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_second_ctrl_c_leaves_them_as_they_were_too(known, tmp_path, processes):
    def interrupt(controller):
        os.kill(controller, signal.SIGINT)
        time.sleep(0.1)
        os.kill(controller, signal.SIGINT)

    status, output = interrupted(known, copied(known, tmp_path), interrupt, "-n", processes)
    assert status != 0, output
    assert "accepted: " not in output


def family(controller):
    """A process and all that it has started, directly or not."""
    pids = [controller]
    for pid in pids:
        pids += children(pid)
    return pids


def test_a_killed_controller_leaves_nothing_behind_and_the_next_run_passes(known, tmp_path):
    results = copied(known, tmp_path)
    pids = []

    def kill(controller):
        busy_worker(controller)
        pids.extend(family(controller))
        os.kill(controller, signal.SIGKILL)

    status, _ = interrupted(known, results, kill, "-n", "2")
    assert status == -signal.SIGKILL
    assert len(pids) >= 5  # the controller, two workers, and a child of at least one beside the inventory's
    assert all(goes_away(pid, seconds=30.0) for pid in pids)
    done = sweep(known, results, "-n", "2", *ops("aten.max_unpool2d*", "aten.copy_.default"), accept=True)
    assert done.returncode == 0, done.stdout + done.stderr
    owners = {folder.name.partition("-")[0] for folder in scratch_folder(str(work_of(known))).iterdir()}
    assert not owners & {str(pid) for pid in pids}


def limited(size):
    """For a process about to start: no file of it or its children grows beyond so many bytes, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    ("arguments", "what"), [([], "run.jsonl"), (ops("aten.max_unpool2d*"), "aten.expect")], ids=["whole", "subset"]
)
def test_a_full_disk_is_one_line_and_leaves_the_expect_files_as_they_were(known, tmp_path, arguments, what):
    results = copied(known, tmp_path)
    change(results, aten__max_unpool2d__default=expect.AGREE_TEXT)
    before = content(results)
    assert len(before[f"{expect_folder(results).relative_to(results)}/aten.expect"]) > 100_000
    line = command(known, results, "-n", "2", *arguments, work=tmp_path / "work")
    variables = environment(accept=True)
    done = subprocess.run(line, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, preexec_fn=limited(100_000))
    assert done.returncode == 1, done.stdout + done.stderr
    [said] = [text for text in done.stdout.splitlines() if text.startswith("cannot write ")]
    assert f"{what} (File too large): expect files are as they were" in said
    assert "Traceback" not in done.stdout + done.stderr
    assert content(results) == before


def test_a_full_disk_stops_a_recording_in_one_line_and_the_next_one_goes_on(tmp_path):
    only = ["--only", "opinfo:op_db/*/abs/float32", "--only", "opinfo:op_db/*/grid_sampler_3d/float32"]
    line = [sys.executable, "-m", "sweep", "record", "--workers", "1", *only, "--corpus", str(tmp_path / "corpus")]
    line += ["--work-dir", str(tmp_path / "work")]
    record = {"cwd": ROOT, "env": environment(accept=False), "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(line, **record, preexec_fn=limited(100_000))
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("sweep: cannot write ")
    assert "make room, and record again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "corpus").exists()
    assert subprocess.run(line, **record).returncode == 0
    assert (tmp_path / "corpus" / "aten.grid_sampler_3d.default.npz").exists()


def test_two_runs_at_the_same_time_accept_both_their_parts(known, tmp_path):
    results = copied(known, tmp_path)
    change(results, aten__max_unpool2d__default=expect.AGREE_TEXT, aten__sort__stable=INVENTED)
    lines = [command(known, results, *ops(name)) for name in (MISMATCHING, "aten.sort.stable")]
    variables = environment(accept=True)
    runs = [subprocess.Popen(line, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True) for line in lines]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert content(results) == content(known / "results")


def test_a_killed_child_is_asked_again_and_its_neighbours_have_their_verdicts(tmp_path):
    """The sleeping operator is known to time out; killed from outside it ends otherwise, which does not happen again."""
    names = [faults.overload(name) for name in ("healthier", "healthy", "sleep")]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    subprocess.run(
        [sys.executable, "-c", f"from tests import faults; faults.register(); faults.record({str(corpus)!r})"],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    sizes = {name: {"calls": 2, "guessed": 0, "bytes": (corpus / f"{name}.npz").stat().st_size} for name in names}
    (corpus / MANIFEST).write_text(json.dumps({"format": FORMAT, "fingerprint": {}, "overloads": sizes}))
    shared = ["--import", "tests.faults_library", "--call-timeout", "3", "-n", "1"]
    everything = sweep(tmp_path, tmp_path / "results", *shared, accept=True)
    assert everything.returncode == 0, everything.stdout
    before = content(tmp_path / "results")
    line = command(tmp_path, tmp_path / "results", "-v", "-v", *shared, *ops(*names))
    with subprocess.Popen(line, cwd=ROOT, env=environment(accept=False), stdout=subprocess.PIPE, text=True) as process:
        until_says(process, "PASSED", times=2)  # the healthy ones, which come first
        time.sleep(1.0)  # and the sleeping one is asleep
        worker = busy_worker(process.pid)
        [caller] = callers(worker)
        os.kill(caller, signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 6, output
    assert f"flaky {faults.overload('sleep')}: call: timeout -> call: crash SIGKILL; call: timeout, then call: timeout" in output
    assert "2 passed" in output
    assert content(tmp_path / "results") == before
