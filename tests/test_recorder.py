"""The recorder sees every distinct call once, composites included, and leaves torch as it was."""

from __future__ import annotations

import io
import platform

import pytest
import torch

from opinfo_adapters import opinfo
from opinfo_adapters.handwritten import Family, call, ops
from sweep.calls import corpus
from sweep.errors import UnknownTaskError
from sweep.findings.kind import Access
from sweep.progress import Activity, Progress
from sweep.recording import scheduler, tasks
from sweep.recording.journal import Journal
from sweep.recording.merge import SHARD_NAME, Merger
from sweep.recording.outcome import TaskOutcome
from sweep.recording.recorder import Recorder
from sweep.recording.shards import read_shard
from sweep.recording.stages import INCIDENTAL, Task


def recorded(function, *args, **options):
    recorder = Recorder("cpu")
    with recorder.installed(), recorder.observe("test", **options):
        function(*args)
    return [(call.overload, incidental) for call, incidental in recorder.drain()]


def test_a_composite_operator_is_seen_and_what_it_calls_is_incidental():
    calls = recorded(torch.nn.functional.linear, torch.zeros(2, 3), torch.zeros(4, 3), torch.zeros(4))
    assert ("aten.linear.default", None) in calls
    assert ("aten.addmm.default", "torch.float32") in calls


def test_the_same_call_is_written_once_whatever_its_values():
    calls = recorded(lambda: [torch.abs(torch.full((2,), value)) for value in (1.0, 2.0)])
    assert [name for name, _ in calls].count("aten.abs.default") == 1


def test_a_call_is_written_as_it_was_before_it_ran():
    recorder = Recorder("cpu")
    tensor = torch.zeros(2)
    with recorder.installed(), recorder.observe("test"):
        tensor.add_(torch.ones(2))
    [call] = [call for call, _ in recorder.drain() if call.overload == "aten.add_.Tensor"]
    assert bytes(call.data[:8]) == bytes(8)


def test_a_call_that_autograd_answers_is_written_when_made_through_the_recorder():
    recorder = Recorder("cpu")
    tensor = torch.zeros(2)
    with recorder.installed(), recorder.observe("test"):
        recorder.call(torch.ops.aten._fw_primal.default, tensor, 0)
        recorder.call(torch.ops.aten.full.default, [2], 1, device="cpu")
    written = [call.overload for call, _ in recorder.drain()]
    assert [written.count(f"aten.{name}.default") for name in ("_fw_primal", "full")] == [1, 1]


def test_a_call_that_raises_is_not_written():
    recorder = Recorder("cpu")
    tensor = torch.zeros(2, 3)
    with pytest.raises(RuntimeError), recorder.installed(), recorder.observe("test"):
        torch.mm(tensor, tensor)
    assert recorder.drain() == []


def test_a_decomposition_that_only_python_knows_is_not_taken_for_a_kernel():
    """Where the dispatcher has no kernel a call fails as it does without a recorder, and does not jump to one."""
    library = torch.library.Library("sweep_recorder", "FRAGMENT")
    library.define("decomposed(Tensor x) -> Tensor")
    op = torch.ops.sweep_recorder.decomposed.default
    op.py_impl(torch._C.DispatchKey.CompositeImplicitAutograd)(torch.clone)
    with pytest.raises(NotImplementedError):
        recorded(op, torch.zeros(2))


def test_an_operator_that_this_torch_does_not_have_costs_no_other_its_calls():
    family = Family("tests.absent")

    @family
    def task(device):
        yield call(ops.no_such_namespace.there.default)
        yield call(ops.aten.no_such_operator.default)
        yield call(ops.aten.abs.no_such_overload, torch.zeros(2))
        assert (yield call(ops.aten.abs, torch.ones(2))).sum() == 2
        yield call(ops.aten.neg.default, torch.zeros(2))

    recorder = Recorder("cpu")
    with recorder.installed():
        family.run("task", "cpu", recorder)
    assert {recorded.overload for recorded, _ in recorder.drain()} >= {"aten.abs.default", "aten.neg.default"}
    assert ops.aten.abs is ops.aten.abs
    assert ops.aten.abs.default is torch.ops.aten.abs.default
    assert [error.partition(" has ")[2] for _, error in recorder.failures] == [
        "no operator no_such_namespace.there",
        "no operator aten.no_such_operator",
        "no operator aten.abs.no_such_overload",
    ]


def test_incidental_calls_are_limited_and_those_asked_for_are_not():
    many = INCIDENTAL + 10
    inside = recorded(lambda: [torch.abs(torch.zeros(n)) for n in range(many)], incidental=True)
    asked = recorded(lambda: [torch.abs(torch.zeros(n)) for n in range(many)])
    assert [name for name, _ in inside].count("aten.abs.default") == INCIDENTAL
    assert [name for name, _ in asked].count("aten.abs.default") == many


def test_leaves_torch_as_it_was():
    cached = {op: dict(op._dispatch_cache) for op in torch._ops.get_cached_ops()}
    dispatch = torch._ops.OpOverload._get_dispatch
    recorded(torch.nn.functional.linear, torch.zeros(2, 3), torch.zeros(4, 3))
    assert torch._ops.OpOverload._get_dispatch is dispatch
    assert torch._C._len_torch_dispatch_stack() == 0
    assert not torch._C._dispatch_tls_is_dispatch_key_included(torch._C.DispatchKey.PythonDispatcher)
    assert all(not op._dispatch_cache for op in cached)


def test_every_opinfo_database_is_found():
    assert {"op_db", "foreach_unary_op_db", "python_ref_db", "njt_op_db"} <= set(opinfo.databases())


def test_every_supported_dtype_is_a_task_and_so_are_error_inputs():
    names = [name for name in opinfo.tasks("cpu") if "/nn.functional.max_unpool2d/" in name and name.startswith("op_db")]
    assert [name.rpartition("/")[2] for name in names] == ["bfloat16", "float16", "float32", "float64", "errors"]


def test_a_glob_that_matches_no_task_is_refused():
    with pytest.raises(UnknownTaskError, match=r"no task matches 'opinfo:nothing\*'; tasks have names such as '.*:.*'"):
        tasks.list_tasks("cpu", 0, "", only=["opinfo:nothing*"])
    assert tasks.list_tasks("cpu", 0, "", only=["tensor_variants:aten.sort*"]) == []


def test_a_task_records_forward_backward_and_variants_and_counts_what_fails(tmp_path):
    [task] = tasks.list_tasks("cpu", 0, "", only=["opinfo:op_db/*/add/float32"])
    beats = []
    outcome = tasks.run_task(task, "cpu", str(tmp_path / "shard"), Progress(beat=lambda *beat: beats.append(beat)))
    calls = [call for call in read_shard(tmp_path / "shard") if call.repeats]
    assert outcome.calls == len(calls) > 20
    assert {"aten.add.Tensor", "aten.add_.Tensor"} <= {call.overload for call in calls}
    assert any(b"backward" in bytes(call.text) for call in calls)
    assert any("takes no keyword arguments" in failure for failure in outcome.failures)
    assert [phase.activity for _, phase in beats[:2]] == [Activity.RECORD, Activity.VERIFY]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc fills new memory")
def test_memory_to_which_nothing_was_written_is_recorded_with_the_same_content_every_time(tmp_path, monkeypatch):
    family = Family("tests.uninitialized")

    @family
    def task(device):
        yield call(torch.ops.aten.fill.Scalar, torch.empty(10_000, dtype=torch.uint8), 1)

    monkeypatch.setattr(tasks, "load_adapter", lambda name: family)
    for content in (3, 5):
        left_over = [torch.full((10_000,), content, dtype=torch.uint8) for _ in range(100)]
        del left_over
        monkeypatch.setattr(tasks, "_recorders", {})
        tasks.run_task(Task(0, "tests.uninitialized", "task"), "cpu", str(tmp_path / "shard"), Progress())
        [values] = [bytes(c.values) for c in read_shard(tmp_path / "shard") if c.overload == "aten.fill.Scalar"]
        assert values == bytes(10_000)


class FakeSandbox:
    """Answers every task with the outcome of its name, and notes after which one its child is ended."""

    def __init__(self, outcomes):
        self.outcomes, self.task, self.ended_after = outcomes, None, []

    def request(self, function, **arguments):
        return [Task(4, "tensor_variants", name) for name in self.outcomes]

    def send(self, function, *, task, **arguments):
        self.task = task.name

    def receive(self, timeout):
        return self.outcomes[self.task]

    def end_child(self):
        self.ended_after.append(self.task)


def test_no_task_runs_in_a_process_in_which_a_kernel_has_left_its_memory(tmp_path, monkeypatch):
    outside = TaskOutcome(out_of_bounds={Access.READ: "torch.ops.aten.neg.default(torch.zeros(0))"})
    sandbox = FakeSandbox(
        {"aten.abs.default": TaskOutcome(calls=1), "aten.neg.default": outside, "aten.sin.default": TaskOutcome()}
    )
    monkeypatch.setattr(scheduler, "each_done", lambda sandboxes, timeout: sandboxes)
    with Journal(tmp_path / "journal", {}, resume=False) as journal:
        scheduler.Scheduler([sandbox], 4, tmp_path, "cpu", journal, io.StringIO()).run(tmp_path, None)
        assert len(journal.tasks) == 3
    assert sandbox.ended_after == ["aten.neg.default"]


def test_what_is_kept_does_not_depend_on_which_process_ran_which_task(tmp_path, monkeypatch):
    globs = [f"opinfo:op_db/*/{name}/float32" for name in ("einsum", "matmul", "mul", "sum", "t")]
    listed = tasks.list_tasks("cpu", 0, "", only=globs)
    kept = []
    for processes in (1, 2, len(listed)):
        shards = tmp_path / f"{processes}" / "shards"
        shards.mkdir(parents=True)
        for process in range(processes):
            monkeypatch.setattr(tasks, "_recorders", {})
            for at in range(process, len(listed), processes):
                tasks.run_task(listed[at], "cpu", str(shards / SHARD_NAME.format(at)), Progress())
        merger = Merger(shards.parent)
        merger.add(shards, "recording")
        kept.append({name: [c["id"] for c, _ in corpus.read_file(shards.parent / f"{name}.npz")] for name in merger.index})
    assert any(len(ids) > INCIDENTAL for ids in kept[0].values())
    assert kept[0] == kept[1] == kept[2]


def test_what_has_nothing_to_do_with_the_device_is_not_recorded_for_it():
    here, there = torch.ones(2), torch.ones(2, device="meta")  # whose calls cannot be written down, but told apart
    is_elsewhere = Recorder("meta")._is_elsewhere
    assert is_elsewhere((here,), {}, here)
    assert is_elsewhere(([here, here],), {}, None)
    assert not is_elsewhere((there, here), {}, there)
    assert not is_elsewhere((2,), {}, there)
    assert not is_elsewhere((2,), {}, 3)
    assert not Recorder("cpu")._is_elsewhere((here,), {}, here)
