"""The form ``cache`` of the crossref ``fake``: a cached answer that differs is reported exactly, and a right one is silent."""

from __future__ import annotations

import itertools
import os
import signal

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sweep import crossref
from sweep.calls.codec import encode
from sweep.crossref import LATE_IMPORTS
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import Outcome
from sweep.crossref.common.fake_cache import FakeCache, Uncached, structure
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.protocol import DoesNotApply, Shared
from sweep.crossref.fake import CACHE
from sweep.execution.accelerator import prediction
from sweep.execution.real_call import prepare
from sweep.findings.finding import Status
from sweep.isolation.sandbox import Sandbox
from sweep.isolation.supervisor import Supervisor
from sweep.operators.inventory import resolve
from tests import planted, test_auto_functionalize
from tests.planted import check
from tests.whole_runs import make_corpus

ONE, TWO = "(Tensor x) -> Tensor", "(Tensor x, Tensor y) -> Tensor"
AUTHOR, LABELS = "fake[cache]", ("cached", "uncached")


@pytest.fixture(autouse=True)
def cached_operators(monkeypatch):
    """Has torch cache the planted operators: by itself it caches no operators but its own."""
    cache("sweep_planted", monkeypatch)


def cache(namespace, monkeypatch):
    is_builtin = torch._library.utils.is_builtin
    monkeypatch.setattr(torch._library.utils, "is_builtin", lambda op: op.namespace == namespace or is_builtin(op))


def define(name, schema, impl, fake=None):
    return planted.define(f"cached_{name}", schema, impl, fake or impl)


def share(x, y):
    return x.untyped_storage()._cdata == y.untyped_storage()._cdata


def transposed_if_shared(x, y):
    return x.new_empty(x.shape[::-1]).t() if share(x, y) else x.new_empty(x.shape)


def resize(x, *, out):
    out.resize_(x.shape)


def alternating():
    """Returns a view of an empty tensor, and a new tensor every second time."""
    count = itertools.count()
    return lambda x: x.new_empty(x.shape) if next(count) % 2 else x.view(x.shape)


EMPTY, MATRIX = torch.zeros(0, 3), torch.arange(6.0).view(2, 3)

#: Some of these kernels branch on sizes and on shared memory, which is what the two left out are about.
OTHERS = [other for other in crossref.names() if other not in ("equivalence", "unbacked")]

#: Name -> the operator and its calls, the crossrefs, and what is found of how many calls.
FAULTS = {
    "alias_of_empty": (
        lambda: define("alias_of_empty", ONE, lambda x: x.clone() if x.numel() else x.view(x.shape)),
        [(MATRIX,), (EMPTY,), (EMPTY.double(),), (torch.zeros(2, 0),)],
        {"output 0 aliasing": 3},
    ),
    "counter": (
        lambda: define("counter", ONE, lambda x: x.view(x.shape), alternating()),
        [(EMPTY,)],
        {"output 0 aliasing": 1},
    ),
    "hidden_from_the_key": (
        lambda: define("hidden_from_the_key", TWO, transposed_if_shared),
        [(MATRIX, MATRIX.clone()), (MATRIX.view(3, 2), MATRIX.view(3, 2)), (MATRIX, MATRIX.view(2, 3))],
        {"output 0 strides[0]": 2},
    ),
    "offset": (
        lambda: define("offset", ONE, lambda x: x.new_empty(7)[1:]),
        [(MATRIX,), (MATRIX.t(),)],
        {"output 0 offset": 2},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_reported_exactly_and_by_no_other_crossref(name):
    make, arguments, found = FAULTS[name]
    op = make()
    result = check(op, [planted.call(op, *args) for args in arguments], OTHERS)
    assert {f.what: f.calls for f in result.findings} == found
    assert {(f.author, f.labels) for f in result.findings} == {(AUTHOR, LABELS)}


def test_outputs_that_no_longer_share_memory_are_reported_beside_what_the_schema_hides():
    op = define("outputs_that_share", "(Tensor x) -> (Tensor, Tensor)", lambda x: ((y := x.clone()), y.t()))
    result = check(op, [planted.call(op, MATRIX)], OTHERS)
    assert {(f.author, f.what) for f in result.findings} == {
        (AUTHOR, "output 1 aliasing"),
        ("schema", "output 1 undeclared alias"),
    }


TWINS = {
    "alias_of_empty": (ONE, lambda x: x.clone(), [(MATRIX,), (EMPTY,), (torch.zeros(2, 0),)]),
    "hidden_from_the_key": (TWO, lambda x, y: x.new_zeros(x.shape), [(MATRIX, MATRIX.clone()), (MATRIX, MATRIX.view(2, 3))]),
    "offset": (ONE, lambda x: x.new_zeros(6), [(MATRIX,)]),
    "outputs_that_share": ("(Tensor x) -> (Tensor, Tensor)", lambda x: (x.clone(), x.t().clone()), [(MATRIX,)]),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_truthful_twin_is_silent(name):
    schema, impl, arguments = TWINS[name]
    op = define(f"{name}_rightly", schema, impl)
    result = check(op, [planted.call(op, *args) for args in arguments], crossref.names())
    assert (result.status, result.findings) == (Status.AGREES, ())
    for args in arguments:
        assert hit(op, *args) is not None


def test_what_a_call_did_to_its_arguments_is_compared_whether_or_not_the_schema_declares_it():
    schema = "(Tensor x, *, Tensor(a!) out) -> ()"
    op = define("resizing", schema, resize)
    [finding] = check(op, [planted.call(op, MATRIX, out=torch.zeros(0)), planted.call(op, MATRIX, out=MATRIX)], ["fake"]).findings
    assert (finding.author, finding.what, finding.calls) == (AUTHOR, "argument out rank", 1)
    assert (finding.predicted, finding.actual) == ("float32 (0,) strides (1,)", "float32 (2, 3) strides (3, 1)")
    undeclared = define("resizing_undeclared", schema.replace("(a!)", ""), lambda x, *, out: None, resize)
    [finding] = check(undeclared, [planted.call(undeclared, MATRIX, out=torch.zeros(0))], ["fake"]).findings
    assert (finding.author, finding.what) == (AUTHOR, "argument out rank")


def test_an_exception_that_only_the_cache_raises_is_reported():
    """torch asserts that an operator that returns a view takes a single tensor."""
    op = define("view_of_the_first", "(Tensor(a) x, Tensor y) -> Tensor(a)", lambda x, y: x.view(-1))
    [finding] = check(op, [planted.call(op, MATRIX, MATRIX)], ["fake"]).findings
    assert (finding.author, finding.what, finding.labels) == (AUTHOR, "cached raises AssertionError", LABELS)
    assert (finding.predicted, finding.actual) == ("AssertionError", "float32 (6,) strides (1,)")


def test_an_answer_where_the_mode_raises_without_the_cache_is_reported():
    def fake(x, y):
        if share(x, y):
            raise LookupError("planted")
        return torch.empty_like(x)

    op = define("raising_if_shared", TWO, lambda x, y: x.clone(), fake)
    findings = check(op, [planted.call(op, MATRIX, MATRIX)], ["fake"]).findings
    assert [(f.author, f.what) for f in findings] == [
        ("fake", "fake raises LookupError"),
        (AUTHOR, "uncached raises LookupError"),
    ]


@pytest.mark.parametrize("name", sorted(test_auto_functionalize.correct))
def test_a_correct_custom_operator_is_silent(name):
    op, args, kwargs = test_auto_functionalize.correct[name]()
    assert test_auto_functionalize.findings(op, args, kwargs, crossref.names()) == []


#: Without operators that write: those that torch caches need more than a fake impl.
FUNCTIONAL = sorted(name for name, make in test_auto_functionalize.correct.items() if not name.startswith(("writes", "is_")))


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_a_correct_operator_that_torch_caches_is_silent(name, monkeypatch):
    cache("sweep_custom", monkeypatch)
    op, args, kwargs = test_auto_functionalize.correct[name]()
    assert test_auto_functionalize.findings(op, args, kwargs, crossref.names()) == []


# --- torch's own operators ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [[[-1, 8]], [[-1, 8], [0, 8]], [[0, 8]]])
def test_a_view_of_an_empty_tensor_is_no_view_once_what_it_calls_is_cached(shapes):
    op = torch.ops.aten.view.default
    calls = [encode("aten.view.default", (torch.zeros(0, 8), shape), {}, device="cpu", source="test") for shape in shapes]
    [finding] = check(op, calls, ["fake"]).findings
    assert (finding.author, finding.what, finding.calls) == (AUTHOR, "output 0 aliasing", len(calls))
    assert (finding.predicted, finding.actual) == ("new storage", "shares the storage of argument 0")


def test_a_list_that_is_resized_is_not_resized_by_a_hit():
    op = torch.ops.aten._foreach_abs.out
    call = encode("aten._foreach_abs.out", ([MATRIX],), {"out": [torch.zeros(0)]}, device="cpu", source="test")
    assert [(f.author, f.what) for f in check(op, [call], ["fake"]).findings] == [(AUTHOR, "argument out[] rank")]


def test_scalars_that_are_equal_do_not_meet():
    op = torch.ops.aten.add.Scalar
    scalars = (1, True, 1.0, 1 + 0j, 0.0, -0.0)
    calls = [encode("aten.add.Scalar", (torch.ones(2, dtype=torch.int8), s), {}, device="cpu", source="test") for s in scalars]
    assert check(op, calls, ["fake"]).findings == ()


# --- where it does not apply -------------------------------------------------------------------------------------------


def hit(op, *args, **kwargs):
    """What a hit returns to a call."""
    return opened(op, lambda crossref, call: crossref.predict(call, CACHE), args, kwargs)


def opened(op, use, args, kwargs):
    checker = protocol.load("fake")
    shared = Shared(FakeModes(op), lambda side: prediction(side, lambda: None))
    with checker.opened(op, shared):
        return use(checker, prepare(op, lambda: (list(args), dict(kwargs)), lambda: None))


NOT_CACHED = {
    "what it decomposes into": ("aten.reshape.default", (MATRIX, [6]), {}),
    "kwarg aliases output": ("aten.add.out", (MATRIX, MATRIX), {"out": torch.zeros(2, 3)}),
    "inplace view": ("aten.t_.default", (MATRIX.clone(),), {}),
    "depends on data": ("aten.nonzero.default", (MATRIX,), {}),
    "non-FakeTensor output": ("aten.unbind.int", (MATRIX,), {}),
    "does not equal itself": ("aten.add.Scalar", (MATRIX, float("nan")), {}),
    "torch.sparse_coo tensor": ("aten.abs.default", (MATRIX.to_sparse(),), {}),
}


@pytest.mark.parametrize("reason", NOT_CACHED)
def test_it_says_why_it_does_not_apply(reason):
    name, args, kwargs = NOT_CACHED[reason]
    op = resolve(name)
    with pytest.raises(DoesNotApply, match=reason):
        hit(op, *args, **kwargs)
    with pytest.raises(DoesNotApply, match=reason):
        opened(op, lambda crossref, call: crossref.check(call, CACHE), args, kwargs)
    call = encode(name, args, kwargs, device="cpu", source="test")
    result = check(op, [call, call], ["fake"])
    assert (result.findings, result.compared) == ((), {"fake": 2})


def test_torch_caches_no_custom_operator(monkeypatch):
    monkeypatch.undo()
    op = define("custom", ONE, lambda x: x.clone(), torch.empty_like)
    with pytest.raises(DoesNotApply, match="non-builtin"):
        hit(op, MATRIX)


# --- around it ---------------------------------------------------------------------------------------------------------


def test_calls_of_one_structure_are_asked_once(monkeypatch):
    op = define("of_one_structure", ONE, lambda x: x.new_empty(7)[1:])
    asked = []
    mismatches = FakeCache.mismatches
    monkeypatch.setattr(FakeCache, "mismatches", lambda self, call: asked.append(call) or mismatches(self, call))
    tensors = [MATRIX, MATRIX.int(), torch.ones(4), torch.zeros(5, 2, 1)]
    [finding] = check(op, [planted.call(op, tensor) for tensor in tensors], ["fake"]).findings
    alone = 1  # for the example
    assert (finding.what, finding.calls, len(asked)) == ("output 0 offset", 4, 1 + alone)


def test_what_can_make_a_difference_is_in_the_structure():
    op, other = torch.ops.aten.add_.Tensor, MATRIX.clone()

    def of(*args, result=None):
        return structure(op, Uncached(args, {}, Outcome(args, {}, result), is_pure=True))

    new = torch.ones(2)
    different = [
        of(MATRIX, other, result=new),
        of(MATRIX, MATRIX, result=new),
        of(MATRIX, MATRIX.t(), result=new),
        of(MATRIX, 1, result=new),
        of(MATRIX, other, result=EMPTY),
        of(MATRIX, other, result=torch.ones(3)[1:]),
        of(MATRIX, other, result=MATRIX),
        of(MATRIX, other, result=MATRIX.t()),
        of(MATRIX, other, result=other),
        structure(op, Uncached((EMPTY, other), {}, Outcome((MATRIX, other), {}, new), is_pure=True)),
        structure(op, Uncached((MATRIX, other), {}, LookupError("planted"), is_pure=True)),
    ]
    assert len(set(different)) == len(different)
    assert of(MATRIX, other, result=new) == of(torch.ones(4).double(), torch.ones(1), result=torch.zeros(5, 5))


def test_torchs_own_cache_is_neither_used_nor_left_changed():
    op = define("of_another_mode", TWO, transposed_if_shared)
    with FakeTensorMode() as mode:
        x = mode.from_tensor(MATRIX)
        op(x, x)
    cache = dict(FakeTensorMode.cache)
    assert cache

    def use(crossref, call):
        FakeTensorMode.cache.update(cache)  # opening a crossref clears it
        before = FakeTensorMode.cache
        strides = crossref.predict(call, CACHE).result.stride()
        assert (FakeTensorMode.cache is before, FakeTensorMode.cache) == (True, cache)
        return strides, crossref.check(call, CACHE)

    assert opened(op, use, (MATRIX, MATRIX.clone()), {}) == ((3, 1), [])


# --- in a process of its own -------------------------------------------------------------------------------------------


class FaultySandbox(Sandbox):
    """A sandbox whose children know the operator below."""

    def prepare_child(self):
        super().prepare_child()
        self.request("tests.test_fake_cache:register")


def register():
    """Registers an operator whose fake impl a process does not survive."""
    define("crashing", ONE, lambda x: x.clone(), lambda x: os.kill(os.getpid(), signal.SIGSEGV))


def test_a_crash_without_the_cache_is_not_tried_with_it(tmp_path):
    op = define("crashing", ONE, lambda x: x.clone(), torch.empty_like)
    corpus = make_corpus(tmp_path / "corpus", planted.call(op, MATRIX))
    with FaultySandbox(tmp_path / "scratch", preloads=("sweep.execution.run", *LATE_IMPORTS)) as sandbox:
        result = Supervisor(sandbox, corpus, "cpu", ["fake"], timeout=60.0).run("sweep_planted.cached_crashing.default")
    assert [(f.author, f.what, f.calls) for f in result.findings] == [("fake", "crash SIGSEGV", 1)]
