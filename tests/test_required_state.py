"""What an overload requires of the process is there while it is called, and gone afterwards."""

from __future__ import annotations

import pytest
import torch

from opinfo_adapters.handwritten import Family, call
from sweep.calls.codec import build, encode
from sweep.operators import process_group
from sweep.operators.inventory import resolve
from sweep.operators.required_state import CONTEXT_ID, EVENT, STREAM, quantized_engine, required_state
from sweep.operators.requirements import Requirement, requirement_of
from sweep.recording import tasks
from sweep.recording.recorder import Recorder

aten = torch.ops.aten
needs_onednn = pytest.mark.skipif("onednn" not in torch.backends.quantized.supported_engines, reason="needs oneDNN")


def quantized_linear():
    weight = torch.quantize_per_tensor(torch.randn(4, 8), 0.1, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(weight, None)
    x = torch.quantize_per_tensor(torch.randn(2, 8), 0.1, 0, torch.quint8)
    return torch.ops.quantized.linear_tanh.default(x, packed, 0.1, 0)


def rnn_layer_into_tensors():
    x, state, weights = torch.randn(2, 1, 3), torch.zeros(1, 4), (torch.randn(16, 3), torch.randn(16, 4), *torch.zeros(2, 16))
    arguments = (x, *weights, state, state, False, [], 2, 4, 1, True, False, False, True)
    outs = {f"out{at}": torch.empty(0) for at in range(3)}
    return aten.mkldnn_rnn_layer.out(*arguments, **outs, out3=torch.empty(0, dtype=torch.uint8))


CALLS = {
    "quantized.linear_tanh.default": pytest.param(quantized_linear, marks=needs_onednn),
    "aten.mkldnn_rnn_layer.out": pytest.param(
        rnn_layer_into_tensors, marks=pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
    ),
    "aten._make_dual.default": pytest.param(lambda: aten._make_dual.default(torch.zeros(2), torch.zeros(2), 0)),
    "aten._fw_primal_copy.default": pytest.param(lambda: aten._fw_primal_copy.default(torch.zeros(2), 0)),
    "streams.synchronize_stream.default": pytest.param(lambda: torch.ops.streams.synchronize_stream.default(STREAM)),
    "streams.wait_event.default": pytest.param(lambda: torch.ops.streams.wait_event.default(EVENT, STREAM)),
}


@pytest.mark.parametrize(("overload", "make"), [pytest.param(name, *p.values, marks=p.marks) for name, p in CALLS.items()])
def test_a_call_is_refused_without_the_required_state_before_and_after_it(overload, make):
    resolve(overload)  # imports the module that registers it
    for _ in range(2):
        with torch.no_grad(), pytest.raises((RuntimeError, AssertionError)):
            make()
        with torch.no_grad(), required_state(overload, "cpu"):
            make()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_distributed_autograd_has_the_context_whose_gradients_are_asked_for():
    for _ in range(2):
        with required_state("aten.get_gradients.default", "cpu"):
            assert aten.get_gradients.default(CONTEXT_ID) == {}


def test_a_device_without_streams_leaves_it_to_the_operator_to_say_so(monkeypatch):
    resolve("streams.synchronize_stream.default")

    def refuse(device):
        raise RuntimeError("no streams")

    monkeypatch.setattr(torch, "Stream", refuse)
    with required_state("streams.synchronize_stream.default", "cpu"), pytest.raises(AssertionError, match="not registered"):
        torch.ops.streams.synchronize_stream.default(STREAM)


def test_state_is_restored_if_a_call_raises():
    before = torch.backends.quantized.engine
    for overload in ("sparse.qlinear.default", "sparse.qlinear_dynamic.default", "aten._make_dual.default"):
        with pytest.raises(ValueError, match="planted"), required_state(overload, "cpu"):
            raise ValueError("planted")
    assert torch.backends.quantized.engine == before
    assert not torch.is_inference_mode_enabled()


def test_an_active_engine_is_kept_if_it_is_accepted_and_one_that_is_not_built_is_not_activated():
    engines = [engine for engine in torch.backends.quantized.supported_engines if engine != torch.backends.quantized.engine]
    active = torch.backends.quantized.engine
    for accepted, expected in ((["nonsense"], active), ([*engines, active], active), (engines, (*engines, active)[0])):
        with quantized_engine(accepted):
            assert torch.backends.quantized.engine == expected
        assert torch.backends.quantized.engine == active


@pytest.mark.parametrize("overload", ["aten.abs.default", "quantized.linear.default", "aten._fw_primal.default"])
def test_an_ordinary_overload_requires_nothing(overload):
    assert requirement_of(overload) is None


@pytest.mark.parametrize("overload", ["c10d.barrier.default", "_dtensor.mesh_get_process_group.default"])
def test_what_communicates_requires_a_process_group(overload):
    assert requirement_of(overload) is Requirement.PROCESS_GROUP


def test_tensors_are_built_in_inference_mode():
    encoded = encode("aten._make_dual.default", (torch.arange(6).view(2, 3).t(),), {}, device="cpu", source="test")
    with required_state(encoded.overload, "cpu"):
        [tensor], _ = build(encoded, "cpu")
        assert tensor.is_inference()
        assert tensor.tolist() == [[0, 3], [1, 4], [2, 5]]


def planted_family(*, alone):
    """A family with one task: a call of a composite operator, and one that is refused."""
    family = Family("tests.planted")

    def task(device):
        yield call(aten.linear.default, torch.zeros(2, 3), torch.zeros(4, 3))
        yield call(aten.mm.default, torch.zeros(2, 3), torch.zeros(2, 3))

    (family.alone if alone else family)(task)
    return family


def test_calls_inside_those_of_a_task_alone_are_not_recorded():
    recorded = {}
    for alone in (False, True):
        recorder = Recorder("cpu")
        with recorder.installed():
            planted_family(alone=alone).run("task", "cpu", recorder)
        recorded[alone] = {made.overload for made, _ in recorder.drain()}
    assert recorded[True] == {"aten.linear.default"}
    assert recorded[False] > {"aten.linear.default", "aten.mm.default"}


def test_the_first_error_of_a_handwritten_call_is_the_refusal_of_its_overload(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "load_adapter", lambda name: planted_family(alone=True))
    monkeypatch.setattr(tasks, "_recorders", {})
    outcome = tasks.run_task(tasks.Task(0, "planted", "task"), "cpu", str(tmp_path / "shard"), tasks.Progress())
    [(overload, refusal)] = outcome.refusals.items()
    assert overload == "aten.mm.default"
    assert refusal.startswith("RuntimeError: mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_the_mesh_of_the_process_group_is_flattened_and_the_same_every_time():
    mesh = process_group.mesh("cpu")
    assert mesh is process_group.mesh("cpu")
    assert mesh.mesh_dim_names == ("x", "y")
    resolve("device_mesh._get_flattened_submesh.default")
    assert torch.ops.device_mesh._get_flattened_submesh.default(mesh, [0, 1]).mesh_dim_names == ("x_y",)
