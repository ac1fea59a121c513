"""What a state guard counts as a change, beyond what the faulty operators show."""

import os
import sys

import pytest
import torch

from sweep.errors import ProcessUnusableError
from sweep.execution.process_state import StateGuard

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
