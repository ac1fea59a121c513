"""Custom operators as users write them: what ``torch.library.opcheck`` passes is silent, and only what is wrong is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from sweep import crossref
from sweep.calls.codec import encode
from sweep.crossref.common.auto_functionalize import auto_functionalized, fallback_refuses
from sweep.findings.finding import Status
from sweep.operators.inventory import resolve
from tests import planted
from tests.planted import check
from tests.test_crossrefs import state

library = torch.library.Library("sweep_custom", "FRAGMENT")

#: Name -> the overload and one call of it.
Example = tuple[torch._ops.OpOverload, tuple[Any, ...], dict[str, Any]]
correct: dict[str, Callable[[], Example]] = {}


def example(make: Callable[[], Example]) -> Callable[[], Example]:
    correct[make.__name__] = make
    return make


def defined(name: str, schema: str, real: Any, fake: Any, tags: Sequence[torch.Tag] = ()) -> torch._ops.OpOverload:
    """An operator of ``library``, defined once per process."""
    if not hasattr(torch.ops.sweep_custom, name):
        library.define(f"{name}{schema}", tags=tuple(tags))
        library.impl(name, real, "CPU")
        torch.library.register_fake(f"sweep_custom::{name}", fake, lib=library)
    return getattr(torch.ops.sweep_custom, name).default


# --- operators written with torch.library.custom_op --------------------------------------------------------------------


@torch.library.custom_op("sweep_custom::fill_one", mutates_args={"x"})
def fill_one(x: Tensor, value: float) -> None:
    x.fill_(value)


@torch.library.custom_op("sweep_custom::swap", mutates_args={"x", "y"})
def swap(x: Tensor, y: Tensor) -> None:
    kept = x.clone()
    x.copy_(y)
    y.copy_(kept)


@torch.library.custom_op("sweep_custom::scale_all", mutates_args={"xs"})
def scale_all(xs: list[Tensor], by: float) -> None:
    for x in xs:
        x.mul_(by)


@torch.library.custom_op("sweep_custom::maybe_clear", mutates_args={"seen"})
def maybe_clear(x: Tensor, seen: Tensor | None) -> Tensor:
    if seen is not None:
        seen.zero_()
    return x.t().clone()


@maybe_clear.register_fake
def _(x: Tensor, seen: Tensor | None) -> Tensor:
    return torch.empty_like(x.t())


@torch.library.custom_op("sweep_custom::accumulate", mutates_args={"total"})
def accumulate(total: Tensor, x: Tensor) -> Tensor:
    total.add_(x)
    return total.sum(0)


@accumulate.register_fake
def _(total: Tensor, x: Tensor) -> Tensor:
    return total.new_empty(total.shape[1:])


@torch.library.custom_op("sweep_custom::positive", mutates_args=())
def positive(x: Tensor) -> Tensor:
    return x[x > 0]


@positive.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(torch.library.get_ctx().new_dynamic_size())


@torch.library.custom_op("sweep_custom::cube", mutates_args=())
def cube(x: Tensor) -> Tensor:
    return x**3


cube.register_fake(torch.empty_like)
cube.register_autograd(
    lambda ctx, grad: grad * 3 * ctx.saved_tensors[0] ** 2,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


# --- and how they are called -------------------------------------------------------------------------------------------


@example
def writes_to_one_tensor() -> Example:
    return torch.ops.sweep_custom.fill_one.default, (torch.zeros(2, 3), 1.0), {}


@example
def writes_to_two_tensors() -> Example:
    return torch.ops.sweep_custom.swap.default, (torch.zeros(2, 3), torch.ones(2, 3)), {}


@example
def writes_to_a_list_of_tensors() -> Example:
    return torch.ops.sweep_custom.scale_all.default, ([torch.ones(2), torch.ones(3, 4).t()], 2.0), {}


@example
def writes_to_an_optional_tensor() -> Example:
    return torch.ops.sweep_custom.maybe_clear.default, (torch.ones(2, 3), torch.ones(4)), {}


@example
def is_given_no_optional_tensor() -> Example:
    return torch.ops.sweep_custom.maybe_clear.default, (torch.ones(2, 3), None), {}


@example
def writes_and_returns_a_new_tensor() -> Example:
    return torch.ops.sweep_custom.accumulate.default, (torch.zeros(2, 3), torch.ones(2, 3)), {}


@example
def writes_to_a_keyword_argument() -> Example:
    op = defined("negated", "(Tensor x, *, Tensor(a!) out) -> ()", _negated, lambda x, *, out: None)
    return op, (torch.ones(2, 3),), {"out": torch.zeros(2, 3)}


def _negated(x: Tensor, *, out: Tensor) -> None:
    out.copy_(x.neg())


@example
def writes_to_views_of_one_tensor() -> Example:
    base = torch.arange(24.0).view(4, 6)
    return torch.ops.sweep_custom.swap.default, (base[:2, 1:4], base.t()[3:, 2:].t()), {}


@example
def writes_to_a_strided_view() -> Example:
    return torch.ops.sweep_custom.accumulate.default, (torch.zeros(6, 8)[1::2, 2:7:2], torch.ones(3, 3).t()), {}


@example
def has_a_size_that_depends_on_data() -> Example:
    return torch.ops.sweep_custom.positive.default, (torch.tensor([1.0, -1, 2]),), {}


@example
def has_a_backward_formula() -> Example:
    return torch.ops.sweep_custom.cube.default, (torch.ones(2, 3, requires_grad=True),), {}


@example
def returns_a_tuple_and_a_number() -> Example:
    op = defined("parts", "(Tensor x) -> (Tensor, Tensor)", lambda x: (x.amin(0), x.t().clone()), _parts_fake)
    return op, (torch.ones(2, 3),), {}


def _parts_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1:]), torch.empty_like(x.t())


@example
def returns_a_list() -> Example:
    schema = "(Tensor x) -> Tensor[]"
    op = defined("both", schema, lambda x: [x.clone(), x.neg()], lambda x: [torch.empty_like(x), torch.empty_like(x)])
    return op, (torch.ones(2, 3),), {}


@example
def takes_a_symbolic_size() -> Example:
    op = defined("padded", "(Tensor x, SymInt size) -> Tensor", _padded, lambda x, size: x.new_empty(size, *x.shape[1:]))
    return op, (torch.ones(2, 3), 5), {}


def _padded(x: Tensor, size: int) -> Tensor:
    result = x.new_zeros(size, *x.shape[1:])
    result[: x.shape[0]] = x
    return result


@example
def is_in_place() -> Example:
    op = defined("twice_", "(Tensor(a!) x) -> Tensor(a!)", lambda x: x.mul_(2), lambda x: x, _tags("inplace"))
    return op, (torch.ones(2, 3).t(),), {}


@example
def writes_out() -> Example:
    schema = "(Tensor x, *, Tensor(a!) out) -> Tensor(a!)"
    op = defined("copied", schema, lambda x, *, out: out.copy_(x), lambda x, *, out: out, _tags("out"))
    return op, (torch.ones(2, 3),), {"out": torch.zeros(3, 2).t()}


def _tags(name: str) -> list[torch.Tag]:
    if not hasattr(torch._library.utils, f"is_{name}"):
        pytest.skip(f"torch {torch.__version__} refuses every returned argument, whatever the tags")
    return [getattr(torch.Tag, name)]


def findings(op: torch._ops.OpOverload, args: Any, kwargs: Any, names: Sequence[str]) -> list[tuple[str, str]]:
    name = f"{op._schema.name.replace('::', '.')}.{op._overloadname}"
    result = check(op, [encode(name, args, kwargs, device="cpu", source="custom")], names)
    assert result.calls == 1
    assert {"fake", "functionalize"} & set(names) <= set(result.compared)
    assert (result.status is Status.AGREES) == (not result.findings)
    return [(f.crossref, f.what) for f in result.findings]


@pytest.mark.parametrize("name", sorted(correct))
def test_a_correct_custom_operator_is_silent(name):
    op, args, kwargs = correct[name]()
    torch.library.opcheck(op, args, kwargs)
    assert findings(op, args, kwargs, crossref.names()) == []


# --- faults ------------------------------------------------------------------------------------------------------------


def _increment(x: Tensor) -> Tensor:
    x.add_(1)
    return x.clone(memory_format=torch.contiguous_format)


def _fail(x: Tensor) -> Tensor:
    raise LookupError("planted")


FAULTS = {
    "strides": (lambda x: torch.empty_strided(x.shape, (1, x.shape[0]), dtype=x.dtype), "output 0 strides[0]"),
    "size": (lambda x: x.new_empty(x.shape[0], 7), "output 0 size[1]"),
    "dtype": (lambda x: torch.empty_like(x, dtype=torch.float64), "output 0 dtype"),
    "raises": (_fail, "fake raises LookupError"),
}


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_wrong_fake_impl_of_a_writing_operator_is_reported_exactly(name):
    fake, what = FAULTS[name]
    op = defined(f"wrong_{name}", "(Tensor(a!) x) -> Tensor", _increment, fake)
    assert findings(op, (torch.zeros(2, 3),), {}, ["fake", "functionalize"]) == [("fake", what), ("functionalize", what)]


def test_an_argument_that_the_kernel_resizes_and_the_fake_impl_does_not_is_reported():
    op, args = planted.wrong_write(), (torch.zeros(2, 3),)
    expected = [("fake", "argument out rank"), ("functionalize", "argument out rank")]
    assert findings(op, args, {"out": torch.empty(0)}, ["fake", "functionalize"]) == expected


def test_a_wrong_fake_impl_is_reported_inside_a_composite_operator():
    inner = defined("wrong_inner", "(Tensor(a!) x) -> Tensor", _increment, FAULTS["size"][0])
    composite = _composite("calls_wrong_inner", lambda x: inner(x[0]))
    assert findings(composite, (torch.zeros(2, 3, 4),), {}, ["functionalize"]) == [
        ("functionalize", "inside sweep_custom.wrong_inner.default output 0 size[1]")
    ]


def test_a_composite_operator_that_calls_writing_ones_is_silent():
    inner = defined("right_inner", "(Tensor(a!) x) -> Tensor", _increment, torch.empty_like)
    composite = _composite("calls_right_inner", lambda x: inner(x[0]) + inner(x.clone()[1]) + x[0])
    assert findings(composite, (torch.zeros(2, 3, 4),), {}, crossref.names()) == []


def _composite(name: str, body: Callable[[Tensor], Tensor]) -> torch._ops.OpOverload:
    if not hasattr(torch.ops.sweep_custom, name):
        library.define(f"{name}(Tensor(a!) x) -> Tensor")
        library.impl(name, body, "CompositeImplicitAutograd")
    return getattr(torch.ops.sweep_custom, name).default


# --- what torch.compile refuses ----------------------------------------------------------------------------------------


REFUSED = {
    "a view": ("viewed", "(Tensor(a) x) -> Tensor(a)", lambda x: x.view(-1)),
    "a returned argument, without the tag": ("untagged_", "(Tensor(a!) x) -> Tensor(a!)", lambda x: x),
    "a list returned beside a write": ("listed", "(Tensor(a!) x) -> Tensor[]", lambda x: [x.clone()]),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_what_torch_compile_refuses_too_is_unsupported(what):
    name, schema, impl = REFUSED[what]
    op = defined(name, schema, impl, impl)
    assert fallback_refuses(op)
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="alias annotations"):
        torch.compile(lambda x: op(x), backend="aot_eager", fullgraph=True)(torch.zeros(2, 3))
    expected = [("functionalize", "unsupported, functionalized raises RuntimeError")]
    assert findings(op, (torch.zeros(2, 3),), {}, ["fake", "functionalize"]) == expected


# --- around it ---------------------------------------------------------------------------------------------------------


WRITING = sorted(name for name in correct if name.startswith(("writes", "is_in_place")))


@pytest.mark.parametrize("name", WRITING)
def test_functional_arguments_get_their_new_values_and_real_ones_keep_theirs(name):
    op, args, kwargs = correct[name]()
    functional = tree_map_only(Tensor, torch._to_functional_tensor, (args, kwargs))
    result = auto_functionalized(op, *functional[0], **functional[1])
    assert_close((args, kwargs), correct[name]()[1:])
    expected = op(*args, **kwargs), args, kwargs
    assert_close(tree_map_only(Tensor, torch._from_functional_tensor, (result, *functional)), expected)


def assert_close(actual: Any, expected: Any) -> None:
    """As ``torch.testing.assert_close``, for any arguments and results."""
    for pair in zip(tree_leaves(actual), tree_leaves(expected), strict=True):
        if isinstance(pair[1], Tensor):
            torch.testing.assert_close(*pair)
        else:
            assert pair[0] == pair[1]


@pytest.mark.parametrize("name", ["writes_to_two_tensors", "writes_out"])
def test_torch_is_left_as_it_was(name):
    op, args, kwargs = correct[name]()
    findings(op, args, kwargs, ["functionalize"])
    before, random = state(), torch.get_rng_state()
    findings(op, args, kwargs, ["functionalize"])
    assert state() == before
    assert torch.equal(torch.get_rng_state(), random)


def test_torch_is_left_as_it_was_by_a_kernel_that_raises_when_it_is_functionalized():
    count = iter(range(100))

    def once(x: Tensor) -> None:
        if next(count) % 2:  # after the real call
            raise LookupError("planted")

    op = defined("once", "(Tensor(a!) x) -> ()", once, lambda x: None)
    before = state()
    raised = [("functionalize", "functionalized raises LookupError")]
    assert findings(op, (torch.zeros(2),), {}, ["functionalize"]) == raised
    assert state() == before


def test_only_what_the_fallback_would_refuse_takes_this_way():
    taken = {
        "aten.add.Tensor": False,  # no alias annotation
        "aten.add_.Tensor": False,  # a kernel of its own
        "prims.transpose.default": True,
        "quantized.add.out": True,
    }
    assert {name: fallback_refuses(resolve(name)) for name in taken} == taken
