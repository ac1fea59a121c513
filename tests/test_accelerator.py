"""Waiting for a device and losing it, with the errors of an accelerator but without one."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from sweep.crossref import LATE_IMPORTS
from sweep.errors import ProcessUnusableError
from sweep.execution.accelerator import check_not_lost, limit_memory, prediction, waiter
from sweep.execution.real_call import RealCallEndedError, prepare
from sweep.findings.ending import EndingKind, ending_of
from sweep.progress import Progress
from sweep.recording.attempts import Attempts
from tests.whole_runs import ROOT

ABS = torch.ops.aten.abs.default


class Device:
    """One that reports an error when it is waited for, so many times."""

    def __init__(self, errors: int) -> None:
        self.errors = errors

    def wait(self) -> None:
        if self.errors:
            self.errors -= 1
            raise torch.AcceleratorError("device-side assert triggered")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_there_is_nothing_to_wait_for_where_calls_are_over_when_they_return(device, monkeypatch):
    def synchronize(place):
        raise AssertionError(f"{place} was synchronized")

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    assert waiter(device)() is None


def test_a_device_is_lost_when_its_error_shows_again():
    with pytest.raises(ProcessUnusableError, match="real raises AcceleratorError"):
        check_not_lost(torch.AcceleratorError("x"), Device(1).wait)
    for error, errors in ((torch.AcceleratorError("x"), 0), (RuntimeError("x"), 1), (ValueError("x"), 2)):
        device = Device(errors)
        assert check_not_lost(error, device.wait) is None
        assert device.errors == (2 if isinstance(error, ValueError) else 0), "a usable device was waited for until it was quiet"
    with pytest.raises(ProcessUnusableError, match="real raises RuntimeError"):
        check_not_lost(RuntimeError("x"), Device(2).wait)


def test_an_error_of_a_predicted_path_shows_and_a_device_that_it_costs_is_told_apart():
    def path(side, error, wait):
        with prediction(side, wait):
            if error is not None:
                raise error

    assert path("fake", None, Device(0).wait) is None
    with pytest.raises(torch.AcceleratorError):
        path("fake", None, Device(1).wait)
    with pytest.raises(ValueError, match="x"):
        path("fake", ValueError("x"), Device(1).wait)
    with pytest.raises(ProcessUnusableError, match="fake raises AcceleratorError") as lost:
        path("fake", None, Device(2).wait)
    assert lost.value.by_prediction
    with pytest.raises(ProcessUnusableError, match="functionalized raises ValueError") as lost:
        path("functionalized", ValueError("x"), Device(2).wait)
    assert lost.value.by_prediction


@pytest.mark.parametrize(
    "text", ["CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED when calling cublasCreate"]
)
def test_there_is_no_memory_in_many_words(text):
    assert ending_of("real", RuntimeError(text)).kind is EndingKind.OUT_OF_MEMORY


def test_a_limit_to_memory_names_one_device(monkeypatch):
    """As CUDA's does: it refuses a device without an index."""
    asked = []
    properties = SimpleNamespace(total_memory=1000)
    module = SimpleNamespace(
        current_device=lambda: 3,
        get_device_properties=lambda index: properties,
        set_per_process_memory_fraction=lambda share, index: asked.append((share, index)),
    )
    monkeypatch.setattr(torch, "get_device_module", lambda place: module)
    for device in ("cuda", "cuda:1"):
        limit_memory(device, 250)
    limit_memory("cpu", 250)
    limit_memory("cuda", 0)
    assert asked == [(0.25, 3), (0.25, 1)]


def test_an_error_that_shows_only_after_a_call_has_returned_is_that_calls():
    with pytest.raises(RealCallEndedError) as raised:
        prepare(ABS, lambda: ([torch.ones(2)], {}), Device(1).wait)
    assert type(raised.value.error) is torch.AcceleratorError


def test_no_call_is_made_on_a_device_that_is_lost():
    with pytest.raises(ProcessUnusableError, match="real raises AcceleratorError"):
        prepare(ABS, lambda: ([torch.ones(2)], {}), Device(2).wait)


def test_nor_is_one_tried_there(monkeypatch):
    monkeypatch.setattr("sweep.recording.attempts.waiter", lambda device: Device(2).wait)
    attempts = Attempts("aten.abs.default", ABS, "cpu", Progress())
    with pytest.raises(ProcessUnusableError, match="real raises AcceleratorError"):
        attempts([torch.ones(2)], {}, "test")
    assert not attempts.kept


def test_what_the_fork_server_imports_starts_no_device():
    """No process that is forked afterwards could use it."""
    script = """
import importlib, sys, torch
def asked(name):
    return lambda *arguments, **options: sys.exit(f"{name} was called")
for name in ("is_available", "device_count", "current_device", "get_device_properties", "_lazy_init"):
    setattr(torch.cuda, name, asked(name))
torch._C._accelerator_getAccelerator = asked("_accelerator_getAccelerator")
for module in sys.argv[1:]:
    importlib.import_module(module)
"""
    modules = ["sweep.execution.run", "sweep.recording.tasks", *LATE_IMPORTS]
    done = subprocess.run([sys.executable, "-c", script, *modules], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
