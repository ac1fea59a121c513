"""What was told of an overload before its process died is not found again, and what comes out is the same."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from sweep import crossref
from sweep.execution import run as runner
from sweep.calls.codec import encode
from sweep.execution.run import Found, check_calls
from tests import planted


@pytest.fixture
def told(monkeypatch):
    """What a whole run told, as it arrives on the other side."""
    monkeypatch.setattr(runner, "_TOLD_EVERY", 0.0)
    arrived = []
    return arrived, lambda found: arrived.append(json.loads(json.dumps(found)))


def test_a_run_goes_on_where_another_one_died(told):
    arrived, tell = told
    op = planted.liars()["strides[1]"][0]
    calls = [planted.call(op, torch.zeros(2, 3, 4, dtype=dtype)) for dtype in (torch.float32, torch.float64, torch.int64)]
    whole = check_calls(op, calls, "cpu", crossref.names(), found=Found((), tell))
    assert [following for following, _ in arrived] == [0, 1, 2, 3]
    for done in range(4):
        begun = []
        rest = check_calls(
            op,
            calls,
            "cpu",
            crossref.names(),
            found=Found(arrived[: done + 1]),
            heartbeat=lambda at, phase, begun=begun: begun.append((at, phase)),
        )
        assert dataclasses.replace(rest, seconds=0) == dataclasses.replace(whole, seconds=0)
        made = {at for at, phase in begun if phase in crossref.names()}
        assert made == set(range(done, 3))


def test_a_call_that_is_made_again_counts_once():
    found = Found(
        [[1, [[0, ["fake", "output 0", "dtype", None], "a", "b"]]], [1, [[0, ["fake", "output 0", "dtype", None], "a", "b"]]]]
    )
    assert found.start == 1
    assert {key: list(where) for key, where in found.shown.items()} == {("fake", "output 0", "dtype", None): [0]}


def test_nothing_is_told_while_it_is_too_early():
    told = []
    found = Found((), told.append)
    found.tell(1)
    assert told == []
    found.tell(2, now=True)
    assert told == [[2, []]]


def test_a_call_that_resizes_what_it_writes_to_has_memory_of_its_own():
    call = encode("aten.stack.out", ([torch.zeros(2)] * 2,), {"out": torch.zeros(1)}, device="cpu", source="test")
    assert check_calls(torch.ops.aten.stack.out, [call], "cpu", crossref.names()).findings == ()
