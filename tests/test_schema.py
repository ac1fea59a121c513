"""The crossref ``schema``: a planted lie of a schema is reported exactly, by no other crossref, and a true schema is silent."""

from __future__ import annotations

import pytest
import torch

from sweep import crossref
from sweep.findings.finding import Status
from tests import planted
from tests.planted import check, library


def define(name, schema, real, fake):
    return planted.define(f"schema_{name}", schema, real, fake)


def findings(op, *calls, crossrefs=None):
    made = [planted.call(op, *args) for args in calls]
    result = check(op, made, crossrefs or crossref.names())
    return [(f.author, f.what, f.calls) for f in result.findings]


def new(x):
    return torch.empty_like(x)


def hides_a_write(x):
    x.view(-1)[:1].fill_(float("nan"))
    return x.clone()


def returns_its_argument_if_positive(x):
    return x if (x > 0).all() else x.abs()


def writes_the_smallest_step(x):
    result = x.clone()
    x.copy_(torch.nextafter(x, torch.tensor(float("inf"))))
    return result


def test_a_hidden_write_is_reported_even_of_the_smallest_step():
    op = define("step", "(Tensor x) -> Tensor", writes_the_smallest_step, new)
    assert findings(op, (torch.ones(3),)) == [("schema", "argument x undeclared write", 1)]


def test_a_hidden_write_leaves_the_other_crossrefs_with_the_arguments_as_they_were():
    op = define("hides", "(Tensor x) -> Tensor", lambda x: x.add_(1).clone(), new)
    assert findings(op, (torch.ones(3),)) == [("schema", "argument x undeclared write", 1)]


def test_a_hidden_alias_is_reported():
    op = define("alias", "(Tensor x) -> Tensor", returns_its_argument_if_positive, new)
    found = findings(op, (torch.ones(3),), (-torch.ones(3),), crossrefs=["schema"])
    assert found == [("schema", "output 0 undeclared alias", 1)]


def test_a_hidden_view_is_reported():
    op = define("view", "(Tensor x) -> Tensor[]", lambda x: [x.clone(), x[:1]], lambda x: [new(x), new(x[:1])])
    assert findings(op, (torch.ones(3),), crossrefs=["schema"]) == [("schema", "output 0 undeclared alias", 1)]


def test_outputs_that_share_memory_with_each_other_are_reported():
    def two_views(x):
        new = x.clone()
        return new, new.view(-1)

    op = define("outputs", "(Tensor x) -> (Tensor, Tensor)", two_views, two_views)
    assert findings(op, (torch.ones(2, 3),), crossrefs=["schema"]) == [("schema", "output 1 undeclared alias", 1)]
    assert findings(op, (torch.ones(0, 3),), crossrefs=["schema"]) == [], "there is nothing to be shared"


def test_outputs_that_share_memory_as_the_schema_declares_are_not_reported():
    def two_views(x):
        return x[:1], x.view(-1)

    op = define("declared", "(Tensor(a) x) -> (Tensor(a), Tensor(a))", two_views, two_views)
    assert findings(op, (torch.ones(2, 3),), crossrefs=["schema"]) == []


def test_memory_of_an_argument_is_reported_once_for_each_output():
    op = define("both", "(Tensor x) -> (Tensor, Tensor)", lambda x: (x[:1], x[1:]), lambda x: (x[:1], x[1:]))
    found = findings(op, (torch.ones(2),), crossrefs=["schema"])
    assert found == [("schema", f"output {at} undeclared alias", 1) for at in (0, 1)]


def test_a_promised_write_that_never_comes_is_reported_once_no_call_refutes_it():
    def writes_if_large(x, y):
        if x.numel() > 3:
            y.zero_()

    op = define("lazy", "(Tensor x, Tensor(a!) y) -> ()", writes_if_large, lambda x, y: None)
    never = ("schema", "argument y declared write, never written", 2)
    calls = [(torch.ones(n), torch.ones(2)) for n in (1, 2)]
    assert findings(op, *calls) == [never]
    assert findings(op, *calls, (torch.ones(4), torch.ones(2))) == []
    assert findings(op, *calls, (torch.ones(1), torch.ones(0))) == [never], "an empty tensor says nothing"


def test_a_promised_alias_that_never_comes_is_reported_once_no_call_refutes_it():
    def maybe_view(x):
        return x.view(x.shape) if x.dim() == 1 else x.clone()

    op = define("never_view", "(Tensor(a) x) -> Tensor(a)", maybe_view, new)
    assert findings(op, (torch.ones(2, 2),), crossrefs=["schema"]) == [("schema", "output 0 declared alias, never shared", 1)]
    assert findings(op, (torch.ones(2, 2),), (torch.ones(2),), crossrefs=["schema"]) == []


SPARSE = torch.tensor([[0.0, 2.0], [0.0, 0.0]])


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_a_sparse_argument_is_its_parts(layout):
    name = f"hidden_{str(layout).removeprefix('torch.')}"
    key = "SparseCPU" if layout is torch.sparse_coo else "SparseCsrCPU"

    def real(x):
        (x._values() if layout is torch.sparse_coo else x.values()).add_(1)
        return torch.ones(1)

    if not hasattr(torch.ops.sweep_planted, name):
        library.define(f"{name}(Tensor x) -> Tensor")
        library.impl(name, real, key)
        torch.library.register_fake(f"sweep_planted::{name}", lambda x: torch.empty(1), lib=library)
    op = getattr(torch.ops.sweep_planted, name).default
    x = SPARSE.to_sparse() if layout is torch.sparse_coo else SPARSE.to_sparse_csr()
    assert findings(op, (x,), crossrefs=["schema"]) == [("schema", "argument x undeclared write", 1)]


def test_views_writes_and_lists_that_are_declared_are_silent():
    cases = [
        (torch.ops.aten._values.default, [(SPARSE.to_sparse(),)]),
        (torch.ops.aten.split.Tensor, [(torch.ones(4), 2)]),
        (torch.ops.aten.add_.Tensor, [(torch.ones(2), torch.ones(2))]),
        (torch.ops.aten.t_.default, [(torch.ones(2, 3),)]),
        (torch.ops.aten._foreach_add_.Scalar, [([torch.ones(2), torch.zeros(0)], 1)]),
        (torch.ops.aten.abs.default, [(torch.tensor([float("nan")]),)]),
        (torch.ops.aten.reshape.default, [(torch.ones(2, 3).t(), [6]), (torch.ones(2, 3), [6])]),
    ]
    for op, calls in cases:
        name = f"{op._schema.name.replace('::', '.')}.{op._overloadname}"
        recorded = [planted.encode(name, args, {}, device="cpu", source="test") for args in calls]
        assert check(op, recorded, ["schema"]).status is Status.AGREES, op


def test_a_true_schema_is_silent_under_every_crossref():
    op = define("truthful", "(Tensor x, Tensor(a!) y) -> Tensor", lambda x, y: y.copy_(x).clone(), lambda x, y: new(x))
    assert findings(op, (torch.ones(3), torch.zeros(3)), (torch.tensor([float("nan")]), torch.zeros(1))) == []


def test_in_place_on_memory_that_another_argument_shares_is_no_hidden_write():
    op = torch.ops.aten.add_.Tensor
    x = torch.ones(2)
    recorded = planted.encode("aten.add_.Tensor", (x, x.view(2)), {}, device="cpu", source="test")
    assert check(op, [recorded], ["schema"]).status is Status.AGREES


def test_nan_bytes_that_stay_are_no_write():
    op = define("hides_nan", "(Tensor x) -> Tensor", hides_a_write, new)
    assert findings(op, (torch.tensor([float("nan"), 1.0]),), crossrefs=["schema"]) == []
    assert findings(op, (torch.ones(2),), crossrefs=["schema"]) == [("schema", "argument x undeclared write", 1)]
