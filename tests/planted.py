"""Operators with one planted mismatch each, whose fake impl is wrong in one way, and calls of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sweep.calls.call import Call
from sweep.calls.codec import encode
from sweep.execution.check import Checker
from sweep.findings.finding import Result

library = torch.library.Library("sweep_planted", "FRAGMENT")


def define(name: str, schema: str, real: Any, fake: Any) -> torch._ops.OpOverload:
    """Registers an operator (once per process) with a CPU kernel and a fake impl."""
    if not hasattr(torch.ops.sweep_planted, name):
        library.define(f"{name}{schema}")
        library.impl(name, real, "CPU")
        torch.library.register_fake(f"sweep_planted::{name}", fake, lib=library)
    return getattr(torch.ops.sweep_planted, name).default


def call(op: torch._ops.OpOverload, *args: Any, **kwargs: Any) -> Call:
    """A recorded call of a planted operator."""
    return encode(f"sweep_planted.{op._schema.name.split('::')[1]}.default", args, kwargs, device="cpu", source="planted")


def check(op: torch._ops.OpOverload, calls: Sequence[Call], crossrefs: Sequence[str], **options: Any) -> Result:
    """The result of checking calls in this process."""
    return Checker(op, calls, "cpu", crossrefs, **options).run()


def wrong_stride(index: int) -> torch._ops.OpOverload:
    """Returns a contiguous (2, 3, 4) tensor; its fake has the right strides up to ``index`` and a wrong one there."""
    wrong = {0: (24, 4, 1), 1: (12, 1, 3), 2: (12, 4, 2)}[index]
    return define(
        f"stride{index}",
        "(Tensor x) -> Tensor",
        lambda x: x.clone(memory_format=torch.contiguous_format),
        lambda x: torch.empty_strided(x.shape, wrong, dtype=x.dtype, device=x.device),
    )


def mismatches() -> dict[str, tuple[torch._ops.OpOverload, str, int | None]]:
    """Name -> overload, the place and kind that must be reported under both crossrefs, and the index."""
    like = torch.empty_like
    planted: dict[str, tuple[torch._ops.OpOverload, str, int | None]] = {
        f"strides[{i}]": (wrong_stride(i), "output 0 strides", i) for i in range(3)
    }
    one = "(Tensor x) -> Tensor"

    def plant(name: str, schema: str, real: Any, fake: Any, what: str, index: int | None = None) -> None:
        planted[name] = (define(name, schema, real, fake), what, index)

    plant("size", one, lambda x: x.clone(), lambda x: x.new_empty(2, 5, 4), "output 0 size", 1)
    plant("rank", one, lambda x: x.clone(), lambda x: x.new_empty(24), "output 0 rank")
    plant("dtype", one, lambda x: x.clone(), lambda x: like(x, dtype=torch.float64), "output 0 dtype")
    plant("device", one, lambda x: x.clone(), lambda x: like(x, device="meta"), "output 0 device")
    plant(
        "offset",
        one,
        lambda x: x.clone(),
        lambda x: x.new_empty(30).as_strided((2, 3, 4), (12, 4, 1), 5),
        "output 0 offset",
    )
    plant(
        "conj",
        one,
        lambda x: x.to(torch.complex64).clone(),
        lambda x: torch.empty(x.shape, dtype=torch.complex64).conj(),
        "output 0 conj",
    )
    plant(
        "second",
        "(Tensor x) -> (Tensor, Tensor)",
        lambda x: (x.clone(), x.clone()),
        lambda x: (like(x), x.new_empty(3)),
        "output 1 rank",
    )
    plant("raises", one, lambda x: x.clone(), _raise_lookup, "fake raises LookupError")
    plant("length", "(Tensor x) -> Tensor[]", lambda x: [x.clone(), x.clone()], lambda x: [like(x)], "outputs")
    return planted


def _raise_lookup(x: torch.Tensor) -> torch.Tensor:
    raise LookupError("planted")


def truthful() -> torch._ops.OpOverload:
    """An operator whose fake is right."""
    return define("truthful", "(Tensor x) -> Tensor", lambda x: x.clone(), lambda x: torch.empty_like(x))


def wrong_aliasing() -> torch._ops.OpOverload:
    """Returns its argument; its fake returns a new tensor."""
    return define("aliasing", "(Tensor(a) x) -> Tensor(a)", lambda x: x.view(x.shape), lambda x: torch.empty_like(x))


def wrong_write() -> torch._ops.OpOverload:
    """Resizes its ``out`` and returns nothing; its fake leaves ``out`` alone."""
    return define("writing", "(Tensor x, *, Tensor(a!) out) -> ()", _fill_out, lambda x, *, out: None)


def _fill_out(x: torch.Tensor, *, out: torch.Tensor) -> None:
    out.resize_(x.shape).copy_(x)


def counting() -> torch._ops.OpOverload:
    """Its output size depends on data, and its fake says so; the stride of its second dimension is planted wrong."""

    def fake(x: torch.Tensor) -> torch.Tensor:
        count = torch.library.get_ctx().new_dynamic_size()
        return torch.empty_strided((count, 3), (6, 2), dtype=x.dtype, device=x.device)

    return define("counting", "(Tensor x) -> Tensor", lambda x: x.new_zeros(int((x > 0).sum()), 3), fake)
