"""What a guard takes for a change, beyond what the faulty operators show."""

import torch

from sweep.process_state import Guard


def test_a_default_device_that_was_set_before_is_no_change():
    torch.set_default_device("cpu")
    try:
        guard = Guard()
        assert guard.restore() == []
        torch.set_default_device("meta")
        assert guard.restore() == ["function modes"]
        assert torch.get_default_device() == torch.device("cpu")
        assert guard.restore() == []
    finally:
        torch.set_default_device(None)
