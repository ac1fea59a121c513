"""Crossrefs leave torch as they found it, and what they leave out they say."""

from __future__ import annotations

import pytest
import torch
from torch._C import DispatchKey

from sweep import crossref
from sweep.calls.codec import encode
from sweep.crossref.common.exemptions import EXEMPTIONS
from sweep.crossref.common.fake_modes import Fakes
from sweep.findings.finding import NOT_CALLED
from sweep.operators.inventory import inventory, resolve
from sweep.execution.run import check_calls
from tests import planted


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
@pytest.mark.parametrize("liar", [None, "raises", "strides[1]"])
def test_leaving_a_crossref_leaves_torch_as_it_was(name, liar):
    op = planted.honest() if liar is None else planted.liars()[liar][0]
    call = planted.call(op, torch.zeros(2, 3, 4))
    check_calls(op, [call], "cpu", [name])
    before, random = state(), torch.get_rng_state()
    check_calls(op, [call, call], "cpu", [name])
    assert state() == before
    assert torch.equal(torch.get_rng_state(), random)
    assert before["cached"] == []


def test_random_operators_leave_the_random_state_as_it_was():
    call = encode("aten.bernoulli.default", (torch.full((3,), 0.5),), {}, device="cpu", source="test")
    random = torch.get_rng_state()
    assert check_calls(torch.ops.aten.bernoulli.default, [call], "cpu", crossref.names()).findings == ()
    assert torch.equal(torch.get_rng_state(), random)


def test_a_call_that_raises_under_a_crossref_leaves_torch_as_it_was():
    op = torch.ops.aten.mm.default
    call = encode("aten.mm.default", (torch.zeros(2, 3), torch.zeros(2, 3)), {}, device="cpu", source="test")
    before = state()
    [finding] = check_calls(op, [call], "cpu", crossref.names()).findings
    assert (finding.crossref, finding.what, finding.calls) == ("every", "real raises RuntimeError", 1)
    assert state() == before


def test_an_overload_that_every_crossref_excuses_is_not_said_to_agree():
    call = encode("aten.lift_fresh.default", (torch.zeros(2),), {}, device="cpu", source="test")
    result = check_calls(torch.ops.aten.lift_fresh.default, [call], "cpu", crossref.names())
    assert result.status == NOT_CALLED
    assert result.reason.startswith("exempt: ")


def test_excuses_name_crossrefs_and_overloads_that_exist():
    assert set(EXEMPTIONS) <= set(crossref.names())
    assert {overload for excuses in EXEMPTIONS.values() for overload in excuses} <= set(inventory())


@pytest.mark.parametrize("names", [["fake"], ["functionalize"], ["fake", "functionalize"]])
def test_an_overload_is_excused_if_no_crossref_looks_at_it_and_agrees_with_one_that_does_not(names):
    def result(overload, *arguments):
        call = encode(overload, arguments, {}, device="cpu", source="test")
        return check_calls(resolve(overload), [call], "cpu", names)

    lifted = result("aten.lift_fresh.default", torch.zeros(2))
    assert (lifted.status, lifted.reason) == (NOT_CALLED, f"exempt: {EXEMPTIONS['fake']['aten.lift_fresh.default']}")
    name = "aten._amp_foreach_non_finite_check_and_unscale.out"
    tensors = [torch.zeros(2)], torch.zeros(1), torch.ones(1)
    call = encode(name, tensors, {"out": [torch.zeros(2)]}, device="cpu", source="test")
    partly = check_calls(resolve(name), [call], "cpu", names)
    assert partly.status != NOT_CALLED
    assert all(f.crossref == "fake" for f in partly.findings)


def test_a_composite_operator_is_compared_whole_and_in_parts():
    args = [torch.zeros(2, 3, 4), torch.zeros(5, 4)]
    seen = []
    op = resolve("aten.linear.default")
    checker = crossref.load("functionalize")
    note = checker._note
    checker._note = lambda op, name, fake, real: (seen.append(name), note(op, name, fake, real))

    with checker.opened(op, Fakes(op)):
        assert checker.check(op, lambda: (args, {})) == []
    assert "aten.linear.default" in seen
    assert {"aten.mm.default", "aten.t.default"} & set(seen)


def test_a_fake_sparse_tensor_has_as_many_elements_as_the_real_one():
    tensor = torch.tensor([[0.0, 1], [2, 0]]).to_sparse()
    call = encode("aten._indices.default", (tensor,), {}, device="cpu", source="test")
    assert check_calls(torch.ops.aten._indices.default, [call], "cpu", ["fake"]).findings == ()


def test_unknown_crossrefs_are_refused_with_those_that_exist():
    with pytest.raises(crossref.UnknownCrossRef, match="there are: fake, functionalize"):
        crossref.check_names(["fake", "nonsense"])


def test_an_operator_that_takes_its_argument_over_is_given_memory_of_its_own():
    call = encode("aten._lazy_clone.default", (torch.zeros(2),), {}, device="cpu", source="test")
    assert check_calls(torch.ops.aten._lazy_clone.default, [call], "cpu", crossref.names()).findings == ()
