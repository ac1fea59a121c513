"""The protocol of crossrefs: torch is left as it was, exemptions have reasons, and adding a crossref is adding a file."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from torch._C import DispatchKey

from sweep import crossref, expect
from sweep.calls.codec import encode
from sweep.crossref.common import protocol
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.protocol import PreparedCall, Shared
from sweep.errors import UnknownCrossRefError
from sweep.execution.accelerator import prediction
from sweep.execution.check import Skipped
from sweep.execution.real_call import prepare
from sweep.expect.expect_file import merge
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import CALL, Status
from sweep.findings.reason import Reason, ReasonKind
from sweep.operators.inventory import inventory, resolve
from sweep.progress import Progress
from tests import planted
from tests.planted import check


def state():
    return {
        "modes": torch._C._len_torch_dispatch_stack(),
        "functionalize": torch._C._dispatch_tls_is_dispatch_key_included(DispatchKey.Functionalize),
        "python dispatcher": torch._C._dispatch_tls_is_dispatch_key_included(DispatchKey.PythonDispatcher),
        "excluded": str(torch._C._dispatch_tls_local_exclude_set()),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "crossref": torch._dispatch.python.CROSSREF_FUNCTIONALIZE,
        "make": torch._dispatch.python.make_crossref_functionalize,
        "cached": [op for op in torch._ops.get_cached_ops() if DispatchKey.Functionalize in op._dispatch_cache],
    }


@pytest.mark.parametrize("name", crossref.names())
@pytest.mark.parametrize("mismatch", [None, "raises", "strides[1]"])
def test_leaving_a_crossref_leaves_torch_as_it_was(name, mismatch):
    op = planted.truthful() if mismatch is None else planted.mismatches()[mismatch][0]
    call = planted.call(op, torch.zeros(2, 3, 4))
    check(op, [call], [name])
    before, random = state(), torch.get_rng_state()
    check(op, [call, call], [name])
    assert state() == before
    assert torch.equal(torch.get_rng_state(), random)
    assert before["cached"] == []


def test_random_operators_leave_the_random_state_as_it_was():
    call = encode("aten.bernoulli.default", (torch.full((3,), 0.5),), {}, device="cpu", source="test")
    random = torch.get_rng_state()
    assert check(torch.ops.aten.bernoulli.default, [call], crossref.names()).findings == ()
    assert torch.equal(torch.get_rng_state(), random)


def test_a_call_that_raises_under_a_crossref_leaves_torch_as_it_was():
    op = torch.ops.aten.mm.default
    call = encode("aten.mm.default", (torch.zeros(2, 3), torch.zeros(2, 3)), {}, device="cpu", source="test")
    before = state()
    [finding] = check(op, [call], crossref.names()).findings
    assert (finding.crossref, finding.kind, finding.calls) == (CALL, Ending(EndingKind.RAISED, "RuntimeError", "real"), 1)
    assert state() == before


LIFT = "aten.lift_fresh.default"
AMP = "aten._amp_foreach_non_finite_check_and_unscale.out"


def test_exemptions_name_overloads_that_exist():
    for name in crossref.names():
        assert set(protocol.load(name).exemptions) <= set(inventory())


@pytest.mark.parametrize("names", [["fake"], ["functionalize"], ["fake", "functionalize"]])
def test_an_overload_that_no_crossref_looks_at_does_not_agree(names):
    lift = encode(LIFT, (torch.zeros(2),), {}, device="cpu", source="test")
    result = check(resolve(LIFT), [lift], names)
    assert (result.status, result.calls, result.compared) == (Status.NOT_CALLED, 0, {})
    assert result.reason is not None
    assert (result.reason.kind, result.reason.detail) == (ReasonKind.EXEMPT, protocol.load(names[0]).exemptions[LIFT])


@pytest.mark.parametrize(
    ("names", "compared"), [(["fake"], {"fake": 1}), (["functionalize"], {}), (["fake", "functionalize"], {"fake": 1})]
)
def test_only_calls_that_a_crossref_compared_count_for_it(names, compared):
    tensors = [torch.zeros(2)], torch.zeros(1), torch.ones(1)
    call = encode(AMP, tensors, {"out": [torch.zeros(2)]}, device="cpu", source="test")
    result = check(resolve(AMP), [call], names)
    assert result.compared == compared
    assert (result.status is Status.NOT_CALLED) == (not compared)


def shared(op):
    return Shared(FakeModes(op), lambda side: prediction(side, lambda: None))


def test_a_composite_operator_is_compared_whole_and_in_parts(monkeypatch):
    args = [torch.zeros(2, 3, 4), torch.zeros(5, 4)]
    compared = []
    op = resolve("aten.linear.default")
    checker = protocol.load("functionalize")
    monkeypatch.setattr(checker, "_compare", lambda op, name, fake, functionalized: compared.append(name))
    with checker.opened(op, shared(op)):
        assert checker.check(prepare(op, lambda: (args, {}), lambda: None), "") == []
    assert "aten.linear.default" in compared
    assert {"aten.mm.default", "aten.t.default"} & set(compared)


def test_a_fake_sparse_tensor_has_as_many_elements_as_the_real_one():
    tensor = torch.tensor([[0.0, 1], [2, 0]]).to_sparse()
    call = encode("aten._indices.default", (tensor,), {}, device="cpu", source="test")
    assert check(torch.ops.aten._indices.default, [call], ["fake"]).findings == ()


def test_unknown_crossrefs_are_refused_with_those_that_exist():
    with pytest.raises(UnknownCrossRefError, match=r"there are: .*functionalize"):
        crossref.check_names(["fake", "nonsense"])


def test_an_operator_that_takes_its_argument_over_is_given_memory_of_its_own():
    call = encode("aten._lazy_clone.default", (torch.zeros(2),), {}, device="cpu", source="test")
    assert check(torch.ops.aten._lazy_clone.default, [call], crossref.names()).findings == ()


#: A crossref in one file: it predicts what an overload returns by calling it twice, and its values have to be the same.
TWICE = """
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome, Tolerance


class CrossRef(protocol.CrossRef):
    labels = ("again", "once")
    tolerance = Tolerance()
    exemptions = {"aten.abs.default": "a reason"}

    def why_not(self, op):
        return "no values" if op.namespace == "prims" else None

    def predict(self, call, form):
        args, kwargs = call.arguments()
        return Outcome(args, kwargs, call.op(*args, **kwargs))
"""


@contextmanager
def added(name, text, folder, monkeypatch):
    """Context in which there is a further crossref, added by adding its file."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(crossref, "__path__", [*crossref.__path__, str(folder)])
    yield
    sys.modules.pop(f"sweep.crossref.{name}", None)


@pytest.fixture
def twice(tmp_path, monkeypatch):
    with added("twice", TWICE, tmp_path, monkeypatch):
        yield


@pytest.mark.usefixtures("twice")
def test_adding_a_crossref_is_adding_a_file():
    assert {"fake", "functionalize", "twice"} <= set(crossref.names())
    assert crossref.check_names(["twice"]) == ["twice"]
    counter = iter(range(100))
    op = planted.define("counter", "(Tensor x) -> Tensor", lambda x: x + next(counter), lambda x: torch.empty_like(x))
    result = check(op, [planted.call(op, torch.zeros(3))], ["fake", "twice"])
    [finding] = result.findings
    assert (finding.crossref, finding.what, finding.labels) == ("twice", "output 0 value", ("again", "once"))
    assert result.compared == {"fake": 1, "twice": 1}
    op = planted.truthful()
    calls = [planted.call(op, torch.tensor([float("nan"), float("inf"), -0.0, 1.0])), planted.call(op, torch.arange(3))]
    assert check(op, calls, ["twice"]).status is Status.AGREES
    for name, reason in (("aten.abs.default", "a reason"), ("prims.abs.default", "no values")):
        call = encode(name, (torch.zeros(2),), {}, device="cpu", source="test")
        assert check(resolve(name), [call], ["twice"]).reason.detail == reason


#: A crossref with forms: what an overload returns for an argument that is multiplied beforehand.
SCALED = """
import torch

from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome, Tolerance
from sweep.crossref.common.protocol import DoesNotApply


class CrossRef(protocol.CrossRef):
    labels = ("scaled", "plain")
    tolerance = Tolerance()

    def forms(self, op):
        return ["by 1", "by 2"]

    def labels_of(self, form):
        return (form, "plain")

    def predict(self, call, form):
        args, kwargs = call.arguments()
        if args[0].dtype is torch.bool:
            raise DoesNotApply("cannot be multiplied")
        scaled = [args[0] * int(form[-1]), *args[1:]]
        return Outcome(scaled, kwargs, call.op(*scaled, **kwargs))
"""


@pytest.fixture
def scaled(tmp_path, monkeypatch):
    with added("scaled", SCALED, tmp_path, monkeypatch):
        yield


def sin_calls():
    tensors = torch.ones(2), torch.ones(3), torch.ones(2, dtype=torch.bool)
    return [encode("aten.sin.default", (t,), {}, device="cpu", source="test") for t in tensors]


@pytest.mark.usefixtures("scaled")
def test_a_finding_names_the_form_and_a_call_counts_once_however_many_there_are():
    beats = []
    progress = Progress(beat=lambda at, phase: beats.append((at, phase.form)))
    result = check(torch.ops.aten.sin.default, sin_calls(), ["scaled"], progress=progress)
    [finding] = result.findings
    assert (finding.author, finding.what, finding.calls, finding.labels) == (
        "scaled[by 2]",
        "output 0 value",
        2,
        ("by 2", "plain"),
    )
    assert finding.example == "torch.ops.aten.sin.default(torch.ones((2,), dtype=torch.float32))"
    assert result.compared == {"scaled": 2}
    assert set(result.seconds_of) == {"scaled"}
    assert beats[:3] == [(0, ""), (0, "by 1"), (0, "by 2")]


@pytest.mark.usefixtures("scaled")
def test_a_form_that_ended_a_process_leaves_the_call_to_the_others():
    skipped = Skipped.of([(0, "scaled", "by 1"), (1, "scaled", "by 2")])
    result = check(torch.ops.aten.sin.default, sin_calls(), ["scaled"], skipped=skipped)
    assert [(f.form, f.calls) for f in result.findings] == [("by 2", 1)]


@pytest.mark.usefixtures("scaled")
def test_an_overload_none_of_whose_calls_a_crossref_applies_to_is_not_called_and_says_why():
    result = check(torch.ops.aten.sin.default, sin_calls()[2:], ["scaled"])
    assert (result.status, result.reason) == (Status.NOT_CALLED, Reason(ReasonKind.EXEMPT, "cannot be multiplied"))


@pytest.mark.usefixtures("scaled")
def test_a_section_names_the_form_and_comes_back_from_a_file():
    result = check(torch.ops.aten.sin.default, sin_calls(), ["scaled"])
    text = expect.text_of_result(dataclasses.replace(result, overload="aten.sin.default"))
    assert text.startswith("scaled[by 2]: output 0 value: 2 of 3 calls, float32\n")
    assert merge(text, expect.AGREE_TEXT, ["fake"]) == text
    assert merge(text, expect.AGREE_TEXT, ["scaled"]) == expect.AGREE_TEXT


@pytest.mark.usefixtures("twice")
def test_registering_a_further_crossref_changes_nothing_for_the_others():
    lift = encode(LIFT, (torch.zeros(2),), {}, device="cpu", source="test")
    assert check(resolve(LIFT), [lift], ["fake"]).status is Status.NOT_CALLED
    assert check(resolve(LIFT), [lift], ["fake", "functionalize"]).status is Status.NOT_CALLED


def test_a_crossref_that_this_torch_cannot_import_applies_to_nothing_and_says_why(tmp_path, monkeypatch):
    (tmp_path / "later.py").write_text("import torch.of_the_future")
    (tmp_path / "broken.py").write_text("import no_such_module")
    monkeypatch.setattr(crossref, "__path__", [*crossref.__path__, str(tmp_path)])
    result = check(planted.truthful(), [planted.call(planted.truthful(), torch.zeros(2))], ["later"])
    assert result.status is Status.NOT_CALLED
    assert "lacks what it needs: No module named 'torch.of_the_future'" in str(result.reason)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        protocol.load("broken")


def test_the_real_call_is_made_once_for_all_crossrefs():
    count = []
    op = planted.define("real_once", "(Tensor x) -> Tensor", lambda x: count.append(1) or x.clone(), torch.empty_like)
    check(op, [planted.call(op, torch.zeros(2))], ["fake"])
    assert len(count) == 1
    prepared = prepare(op, lambda: ([torch.zeros(2)], {}), lambda: None)
    assert isinstance(prepared, PreparedCall)
    with protocol.load("fake").opened(op, shared(op)):
        assert len(count) == 2


def test_listing_crossrefs_does_not_import_torch():
    script = "import sys; from sweep import crossref; print(crossref.names(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{crossref.names()} False\n"
