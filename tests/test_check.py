"""The check loop: checkpoints outlive a process, and a run that goes on from them comes to the same result."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
import torch

from sweep import crossref
from sweep.calls.codec import encode
from sweep.errors import UnknownCallError
from sweep.execution import checkpoints as checkpoints_module
from sweep.execution import run
from sweep.execution.checkpoints import Checkpoint, Observations
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import CALL, WHOLE, Key, Mismatch, Place, Status
from sweep.findings.kind import Difference, StateChange
from sweep.progress import Activity, Phase, Progress
from tests import planted
from tests.planted import check
from tests.whole_runs import make_corpus

#: What differs between two runs that find the same.
NO_TIME = {"seconds": 0.0, "seconds_of": {}}


@pytest.fixture
def saved(monkeypatch):
    """The checkpoints of a run, one per call, as they arrive in another process."""
    monkeypatch.setattr(checkpoints_module, "_INTERVAL", 0.0)
    arrived = []
    return arrived, Progress(checkpoint=lambda checkpoint: arrived.append(pickle.loads(pickle.dumps(checkpoint))))


def test_a_run_goes_on_where_another_one_died(saved):
    arrived, progress = saved
    op = planted.mismatches()["strides[1]"][0]
    calls = [planted.call(op, torch.zeros(2, 3, 4, dtype=dtype)) for dtype in (torch.float32, torch.float64, torch.int64)]
    whole = check(op, calls, crossref.names(), progress=progress)
    assert [checkpoint.following for checkpoint in arrived] == [0, 1, 2, 3]
    all_calls = ("bounds", "equivalence", "fake", "functionalize", "schema")
    assert whole.compared == dict.fromkeys(all_calls, 3) | {"symbolic": 2, "unbacked": 2}
    for done in range(4):
        beats = []
        rest = check(
            op,
            calls,
            crossref.names(),
            checkpoints=arrived[: done + 1],
            progress=Progress(beat=lambda at, phase, beats=beats: beats.append((at, phase))),
        )
        assert dataclasses.replace(rest, **NO_TIME) == dataclasses.replace(whole, **NO_TIME)
        assert set(rest.seconds_of) == set(whole.compared)
        assert {at for at, phase in beats if phase == Phase(Activity.REAL)} == set(range(done, 3))


def test_a_call_that_is_made_again_counts_once():
    mismatch = Mismatch(Place(output=0), Difference.DTYPE, None, "a", "b")
    twice = Checkpoint(1, ((0, "fake", "", mismatch),), {"fake": 1})
    observations = Observations([twice, dataclasses.replace(twice, compared={})])
    assert observations.start == 1
    assert observations.mismatches == {Key("fake", Place(output=0), Difference.DTYPE): {0: mismatch}}
    assert observations.compared == {"fake": 1}


def test_no_checkpoint_is_saved_before_its_time():
    saved = []
    observations = Observations((), saved.append)
    observations.checkpoint(1)
    assert saved == []
    observations.checkpoint(2, now=True)
    assert saved == [Checkpoint(2, (), {})]


def test_what_was_skipped_is_neither_made_nor_predicted():
    op = planted.mismatches()["strides[1]"][0]
    calls = [planted.call(op, torch.zeros(2, 3, 4, dtype=dtype)) for dtype in (torch.float32, torch.float64, torch.int64)]
    beats = []
    result = check(
        op,
        calls,
        ["fake", "functionalize"],
        skipped=run.Skipped.of([(0, "", ""), (1, "fake", "")]),
        progress=Progress(beat=lambda at, phase: beats.append((at, phase.activity, phase.crossref, phase.form))),
    )
    assert [beat for beat in beats if beat[1] is not Activity.EXAMPLE] == [
        (1, Activity.REAL, "", ""),
        (1, Activity.PREDICTION, "functionalize", ""),
        (2, Activity.REAL, "", ""),
        (2, Activity.PREDICTION, "fake", ""),
        (2, Activity.PREDICTION, "fake", "cache"),
        (2, Activity.PREDICTION, "functionalize", ""),
    ]
    assert (result.calls, result.compared) == (2, {"fake": 1, "functionalize": 2})


def test_a_call_that_resizes_what_it_writes_to_has_memory_of_its_own():
    call = encode("aten.stack.out", ([torch.zeros(2)] * 2,), {"out": torch.zeros(1)}, device="cpu", source="test")
    of_values = ["decomposition", "equivalence", "fake", "functionalize"]
    assert check(torch.ops.aten.stack.out, [call], of_values).findings == ()


def raised(side):
    return Ending(EndingKind.RAISED, "AcceleratorError", side)


@pytest.mark.parametrize(
    ("author", "kind", "sides"),
    [
        (CALL, Ending(EndingKind.CRASH, "SIGSEGV"), ("", "crash SIGSEGV", ("fake", "real"))),
        (CALL, StateChange(("open files",)), ("", "changes open files", ("fake", "real"))),
        (CALL, raised("real"), ("", "AcceleratorError", ("fake", "real"))),
        ("functionalize", raised("functionalized"), ("", "AcceleratorError", ("fake", "functionalized"))),
        ("fake", raised("fake"), ("AcceleratorError", "", ("fake", "real"))),
    ],
)
def test_what_cost_the_process_stands_on_its_side(author, kind, sides, tmp_path):
    calls = [encode("aten.abs.default", (torch.ones(size),), {}, device="cpu", source="test") for size in (3, 2)]
    folder = str(make_corpus(tmp_path / "corpus", *calls))
    finding = run.describe_death("aten.abs.default", folder, [0, 1], "cpu", Key(author, WHOLE, kind))
    assert (finding.predicted, finding.actual, finding.labels) == sides
    assert (finding.calls, finding.example) == (2, "torch.ops.aten.abs.default(torch.ones((2,), dtype=torch.float32))")


def test_a_prediction_does_not_run_under_what_the_real_call_has_changed():
    def kernel(x):
        torch.set_default_dtype(torch.float64)
        return x.clone()

    op = planted.define(
        "changes_default", "(Tensor x) -> Tensor", kernel, lambda x: torch.empty(x.shape, dtype=torch.get_default_dtype())
    )
    result = check(op, [planted.call(op, torch.zeros(2))], ["fake"])
    assert [(f.crossref, f.kind) for f in result.findings] == [(CALL, StateChange(("default dtype",)))]
    assert result.status is Status.KNOWN_BAD


def test_an_explanation_has_the_whole_message_of_a_refusal_and_what_was_predicted(tmp_path):
    call = encode("aten.celu.default", (torch.ones(3), 0.0), {}, device="cpu", source="typed: celu")
    folder = str(make_corpus(tmp_path / "corpus", call))
    explanation = run.explain("aten.celu.default", folder, 0, "cpu", ["fake", "functionalize"])
    assert explanation.source == "typed: celu"
    first, *rest = explanation.lines()
    assert first.startswith("real raises RuntimeError: ")
    assert len(first) > len("real raises RuntimeError: ")
    assert rest[0] == "fake: fake float32 (3,) strides (1,)"
    with pytest.raises(UnknownCallError, match="1 recorded calls, 0 to 0: there is no call 1"):
        run.explain("aten.celu.default", folder, 1, "cpu", ["fake"])
