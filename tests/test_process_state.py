"""What a state guard counts as a change, beyond what the faulty operators show."""

import os
import sys

import pytest
import torch

from sweep.crossref import fake, schema
from sweep.errors import ProcessUnusableError
from sweep.execution.process_state import StateGuard
from sweep.findings.finding import Status
from tests import planted

needs_list = pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is open on is not known")


def test_a_default_device_that_was_set_before_is_no_change():
    torch.set_default_device("cpu")
    try:
        guard = StateGuard()
        assert guard.restore() == []
        torch.set_default_device("meta")
        assert guard.restore() == ["function modes"]
        assert torch.get_default_device() == torch.device("cpu")
        assert guard.restore() == []
    finally:
        torch.set_default_device(None)


def _exclude_functionalization():
    torch._C._dispatch_tls_set_dispatch_key_excluded(torch._C.DispatchKey.Functionalize, True)


def test_dispatch_keys_are_restored():
    guard = StateGuard()
    before = str(torch._C._dispatch_tls_local_exclude_set())
    for restore, names in ((guard.restore, ["dispatch keys"]), (guard.restore_dispatch_keys, None)):
        _exclude_functionalization()
        assert str(torch._C._dispatch_tls_local_exclude_set()) != before
        assert restore() == names
        assert str(torch._C._dispatch_tls_local_exclude_set()) == before
    assert guard.restore() == []


def test_dispatch_keys_that_a_prediction_leaves_changed_harm_no_other_and_are_no_change_of_the_call(monkeypatch):
    excluded = []

    def leaving(self, call, form):
        excluded.append(torch._C._dispatch_tls_is_dispatch_key_excluded(torch._C.DispatchKey.Functionalize))
        _exclude_functionalization()
        return []

    for crossref in (fake, schema):
        monkeypatch.setattr(crossref.CrossRef, "check", leaving)
    op = planted.truthful()
    result = planted.check(op, [planted.call(op, torch.ones(n)) for n in (2, 3)], ["fake", "schema"])
    assert (result.status, excluded) == (Status.AGREES, [False] * 6)


@needs_list
def test_what_a_driver_opens_and_closes_is_its_own():
    guard = StateGuard()
    first, second = os.eventfd(0), os.open("/dev/zero", os.O_RDONLY)
    assert guard.restore() == []
    number = os.open(__file__, os.O_RDONLY)
    assert guard.restore() == ["open files"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    os.close(first)
    os.close(second)
    assert guard.restore() == []


@needs_list
def test_a_file_that_is_closed_cannot_be_brought_back():
    number = os.open(__file__, os.O_RDONLY)
    guard = StateGuard()
    os.close(number)
    with pytest.raises(ProcessUnusableError, match="changes open files"):
        guard.restore()
