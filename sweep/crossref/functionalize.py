"""Crossref ``functionalize``: at every overload that dispatches to Functionalize, fake output against functionalized output.

A call is made on functional tensors with the Python dispatcher on, through torch's own hook for it
(``torch._dispatch.python.make_crossref_functionalize``). Where torch's version raises at the first mismatch and makes a new
fake mode for every operator, this one collects all of them and shares one. A mismatch at an operator that a composite one is
made of is reported where it happens, inside the call that was made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch._C import DispatchKey
from torch._dispatch.python import enable_python_dispatcher, suspend_functionalization
from torch.utils._python_dispatch import _disable_current_modes

from sweep.execution.accelerator import prediction
from sweep.crossref.common.comparison import Mismatch, Outcome, compare, describe
from sweep.crossref import RealRaised, ending
from sweep.crossref.common.exemptions import exemption
from sweep.crossref.common.fake_modes import Fakes
from sweep.operators.inventory import qualified_name
from sweep.execution.process_state import Unusable


class CrossRef:
    """Fake against functionalized. See :class:`sweep.crossref.CrossRef`."""

    expected = "fake"
    real = "functionalized"

    def __init__(self) -> None:
        self._fakes: Fakes | None = None
        self._found: list[Mismatch] = []
        self._op: torch._ops.OpOverload | None = None

    @contextmanager
    def opened(self, op: torch._ops.OpOverload, fakes: Fakes) -> Iterator[None]:
        self._fakes, self._op = fakes, op
        _forget_functionalize()
        try:
            with (
                mock.patch("torch._dispatch.python.CROSSREF_FUNCTIONALIZE", True),
                mock.patch("torch._dispatch.python.make_crossref_functionalize", self._handler),
            ):
                yield
        finally:
            _forget_functionalize()
            self._fakes = self._op = None

    def check(self, op: torch._ops.OpOverload, make: Callable[[], tuple[list[Any], dict[str, Any]]]) -> list[Mismatch]:
        assert self._fakes is not None, "check is called inside opened()"
        self._found = []
        try:
            self._make_functionalized(op, make)
        except (RealRaised, Unusable):
            raise
        except BaseException as error:  # which class it raises is the finding, provided that the plain call does not
            self._fakes.real(op, *make())
            self._found.append(_raised("functionalized", error))
        else:
            if _has_whole_form(op):
                self._check_whole(op, make)
        return self._found

    def _check_whole(self, op: torch._ops.OpOverload, make: Callable[[], tuple[list[Any], dict[str, Any]]]) -> None:
        """Compares a composite operator itself, which has become others before it is functionalized as long as autograd is on.

        Below autograd, as inside ``torch.func.functionalize``, it dispatches to Functionalize too, mostly to its fallback. That
        wraps every output anew, which says nothing about the operator, so aliasing and offsets do not count here.
        """
        before = len(self._found)
        try:
            with torch._C._AutoDispatchBelowAutograd():
                self._make_functionalized(op, make)
        except (RealRaised, Unusable):
            raise
        except BaseException as error:  # which class it raises is the finding, since with autograd on it does not
            self._found.append(_raised("functionalized below autograd", error))
        self._found[before:] = [f for f in self._found[before:] if f.kind not in ("aliasing", "offset")]

    def _make_functionalized(self, op: torch._ops.OpOverload, make: Callable[[], tuple[list[Any], dict[str, Any]]]) -> None:
        """Makes a call on functional tensors with the Python dispatcher on, and waits for what it sent to the device."""
        assert self._fakes is not None
        args, kwargs = make()
        memo: dict[int, Any] = {}
        f_args = [_functional(a, memo) for a in args]
        f_kwargs = {name: _functional(v, memo) for name, v in kwargs.items()}
        with prediction("functionalized", self._fakes.wait), _functionalization(), enable_python_dispatcher():
            op(*f_args, **f_kwargs)

    def _handler(self, op: torch._ops.OpOverload, final_key: DispatchKey) -> Any:
        """What the dispatch table of an overload holds for Functionalize while the crossref is open."""
        name = qualified_name(op._name)
        if exemption("functionalize", name):
            return final_key

        def handler(*args: Any, **kwargs: Any) -> Any:
            assert self._fakes is not None
            with ExitStack() as stack:
                if torch._C._len_torch_dispatch_stack():
                    stack.enter_context(_disable_current_modes())
                stack.enter_context(suspend_functionalization())
                fake = self._fakes.run(op, args, kwargs)
            result = op._op_dk(final_key, *args, **kwargs)
            self._note(op, name, fake, Outcome(args, kwargs, result))
            return result

        return handler

    def _note(self, op: torch._ops.OpOverload, name: str, fake: Outcome | BaseException, real: Outcome) -> None:
        inside = "" if op is self._op else f"inside {name} "
        if isinstance(fake, BaseException):
            kind = ending("fake", fake)
            self._found.append(Mismatch(inside.strip(), kind, None, type(fake).__name__, describe(real.result)))
            return
        for found in compare(op, fake, real):
            if found.kind in ("strides", "offset") and _is_written(op, found.output):
                continue
            output = f"{inside}{found.output}".strip()
            self._found.append(Mismatch(output, found.kind, found.index, found.expected, found.real))


@functools.cache
def _has_whole_form(op: torch._ops.OpOverload) -> bool:
    """Whether a composite operator can be functionalized as it is, below autograd.

    The fallback refuses an operator whose schema has any alias annotation (``FunctionalizeFallback.cpp``, ``hasAnyAliasInfo``).
    """
    if not torch._C._dispatch_has_kernel_for_dispatch_key(op._name, "CompositeImplicitAutograd"):
        return False
    if torch._C._dispatch_has_kernel_for_dispatch_key(op._name, "Functionalize"):
        return True
    return all(a.alias_info is None for a in (*op._schema.arguments, *op._schema.returns))


@functools.cache
def _is_written(op: torch._ops.OpOverload, output: str) -> bool:
    """Whether an output, or argument, is something that the call wrote to.

    Functionalized, it does not lie where the original does: it is given a new value, laid out as the operator's functional form
    lays it out, which is copied into the original in the end (``FunctionalTensorWrapper::replace_``).
    """
    what, _, which = output.partition(" ")
    if what == "argument":
        return True
    returns = op._schema.returns
    number = which.removesuffix("[]")
    written = returns[int(number)].alias_info if number.isdigit() and int(number) < len(returns) else None
    return written is not None and written.is_write


def _raised(side: str, error: BaseException) -> Mismatch:
    return Mismatch("", ending(side, error), None, "", type(error).__name__)


def _forget_functionalize() -> None:
    """Drops every cached decision about Functionalize, so that the next call asks anew (as the seed does on enter and exit)."""
    for op in torch._ops.get_cached_ops():
        if DispatchKey.Functionalize in op._dispatch_cache:  # few have one, and this is asked of hundreds for every overload
            op._uncache_dispatch(DispatchKey.Functionalize)


@contextmanager
def _functionalization() -> Iterator[None]:
    torch._enable_functionalization(reapply_views=True)
    try:
        yield
    finally:
        torch._disable_functionalization()


def _functional(value: Any, memo: dict[int, Any]) -> Any:
    """A value with every tensor in it wrapped for functionalization; the same tensor by the same wrapper."""
    if isinstance(value, torch.Tensor):
        if id(value) not in memo:
            memo[id(value)] = torch._to_functional_tensor(value)
        return memo[id(value)]
    if isinstance(value, list | tuple):
        return type(value)(_functional(v, memo) for v in value)
    return value
