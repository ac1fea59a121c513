"""Searched and adopted calls are recorded as they end; what cannot be constructed is counted."""

from __future__ import annotations

import pytest
import torch

from opinfo_adapters.derived import stored_calls
from sweep.calls.call import Recorded
from sweep.calls.codec import encode
from sweep.findings.kind import Access
from sweep.operators.inventory import resolve
from sweep.recording.attempts import Attempts
from sweep.recording.index import write_index
from sweep.recording.recorded import RecordedCalls
from sweep.recording.stages import PAIRS, STAGES
from sweep.search.plain import plain

NAME = "aten.celu.default"


def call(*args, name=NAME):
    return encode(name, args, {}, device="cpu", source="")


@pytest.fixture
def recorded(tmp_path):
    write_index(tmp_path, {})
    return RecordedCalls(tmp_path, "cpu")


@pytest.fixture
def attempted(monkeypatch, recorded):
    """Attempts stored calls of one overload, and returns what became of them."""

    def attempt(name, searched=(), adopted=()):
        monkeypatch.setattr(stored_calls, "_searched", lambda: {name: list(searched)} if searched else {})
        monkeypatch.setattr(stored_calls, "_adopted", lambda: {name: list(adopted)} if adopted else {})
        assert stored_calls.tasks(recorded) == [name]
        attempts = Attempts(name, resolve(name), "cpu")
        stored_calls.run(name, recorded, attempts)
        return attempts

    return attempt


def test_calls_of_both_kinds_are_kept(attempted):
    one, other = call(torch.ones(2, 3).t()), call(torch.zeros(2, 3).t(), 0.5)
    attempts = attempted(NAME, [plain(one)], ["torch.ops.aten.celu.default(torch.zeros((2, 3)).t(), 0.5)"])
    assert [(kept.key(), kept.source) for kept in attempts.kept] == [(one.key(), "searched 0"), (other.key(), "adopted 0")]
    assert not attempts.refused


def test_refused_calls_are_kept_as_such_and_what_cannot_be_constructed_is_counted(attempted):
    refused = call(torch.ones(2), 0)
    texts = ["torch.ops.aten.celu.default(torch.no_such_function())", "torch.ops.aten.celu.default(torch.zeros((4,)), 0)"]
    attempts = attempted(NAME, [plain(refused)], texts)
    assert [kept.recorded for kept in attempts.kept_refused] == [Recorded.REFUSED] * 2
    assert attempts.kept_refused[0].key() == refused.key()
    assert (attempts.kept, dict(attempts.refused)) == ([], {"RuntimeError": 2, "NotACallError": 1})


def test_a_call_that_writes_to_its_argument_is_kept_as_it_was_before(attempted):
    [kept] = attempted("aten.add_.Tensor", [], ["torch.ops.aten.add_.Tensor(torch.ones((2,)), torch.ones((2,)))"]).kept
    first, position, length = kept.storages[0]["bytes"]
    assert (first, bytes(kept.data[position : position + length])) == (0, torch.ones(2).numpy().tobytes())


def test_a_call_that_leaves_its_tensors_is_kept_apart(attempted):
    text = (
        "torch.ops.aten.upsample_bilinear2d.out(torch.zeros((2, 1, 1, 1), dtype=torch.uint8), [2, 2], False, "
        "out=torch.zeros((8,), dtype=torch.uint8).as_strided((2, 1, 2, 2), (1, 2, 2, 4)))"
    )
    attempts = attempted("aten.upsample_bilinear2d.out", [], [text])
    assert (attempts.kept, list(attempts.out_of_bounds)) == ([], [Access.WRITE])


def test_nothing_but_pairs_comes_after_them():
    assert STAGES[-2:] == ("stored_calls", PAIRS)


def test_overloads_that_there_are_not_are_no_tasks(monkeypatch, recorded):
    monkeypatch.setattr(stored_calls, "_searched", lambda: {"aten.no_such_operator.default": [{}]})
    monkeypatch.setattr(stored_calls, "_adopted", dict)
    assert stored_calls.tasks(recorded) == []
