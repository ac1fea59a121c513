"""Where kernels and predictions of overloads come from: torch's own order of choices for fake tensors, and its dispatch table."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch._C import DispatchKey
from torch._decomp import decomposition_table, meta_table
from torch._library import simple_registry, utils
from torch._subclasses import fake_tensor
from torch._subclasses.fake_impls import op_implementations_checks, op_implementations_dict, stride_incorrect_op

from sweep.operators.facts import Facts, Origin, Prediction
from sweep.operators.inventory import describe, find, says

#: A line of the dispatcher's own table: the key, where its kernel was registered, and its signature.
_REGISTERED = re.compile(r"^(?P<key>\w+)(\[alias\])?: registered at (?P<place>.+?:\d+) ::", re.MULTILINE)

#: What precedes the path in torch's repository, on the machine that built it.
_BUILT = re.compile(r"^.*/pytorch/pytorch/")


def facts(names: Iterable[str], devices: Iterable[str]) -> dict[str, Facts]:
    """What this torch says about some overloads; those that it does not have are left out.

    Args:
        names: qualified names.
        devices: the device types whose kernels to list.
    """
    known = {name: op for name in names if (op := find(name)) is not None}
    return {
        name: Facts(
            describe(name, devices), registrations_of(op), prediction_of(op, symbolic=False), prediction_of(op, symbolic=True)
        )
        for name, op in known.items()
    }


def prediction_of(op: torch._ops.OpOverload, *, symbolic: bool) -> Prediction:
    """Where the outcome of an overload on fake tensors comes from.

    This is the order of ``FakeTensorMode._dispatch_impl``. Whether a handler declines a call, and whether a C++ kernel lacks a
    part that it calls, shows only in a call.

    Args:
        op: the overload.
        symbolic: whether sizes are symbolic.
    """
    mode = fake_tensor.FakeTensorMode()
    if op not in meta_table and not mode.cpp_meta_supports_symint(op):
        decomposition = decomposition_table.get(op)
        if decomposition is not None and (symbolic or fake_tensor.torch_decomp_decompositions(op)):
            return Prediction(Origin.DECOMPOSITION, _place(decomposition))
        composite = op.py_kernels.get(DispatchKey.CompositeImplicitAutograd)
        if composite is not None:
            return Prediction(Origin.PYTHON_COMPOSITE, _place(composite))
        if torch._C._dispatch_has_kernel_for_dispatch_key(op._name, "CompositeImplicitAutograd"):
            return Prediction(Origin.CPP_COMPOSITE, registrations_of(op).get("CompositeImplicitAutograd", ""))
    if op.namespace == "prims" and hasattr(op, "prim_meta_impl") and not stride_incorrect_op(op):
        return Prediction(Origin.PRIM_META, _place(op.prim_meta_impl))
    kernel = simple_registry.singleton.find(op.name()).fake_impl.kernel
    if kernel is not None:
        return Prediction(Origin.FAKE_IMPL, _shortened(kernel.source))
    return _without_registration(op, mode, symbolic=symbolic)


def _without_registration(op: torch._ops.OpOverload, mode: fake_tensor.FakeTensorMode, *, symbolic: bool) -> Prediction:
    """Where the prediction comes from if neither a decomposition nor a fake impl is registered."""
    if op in op_implementations_dict:
        return Prediction(Origin.HANDLER, _place(op_implementations_dict[op]))
    for check, handler in op_implementations_checks:
        if check(op):
            return Prediction(Origin.HANDLER, _place(handler))
    python = op.py_kernels.get(DispatchKey.Meta)
    if python is not None:
        return Prediction(Origin.PYTHON_META, _place(python))
    keys = ("Meta", "CompositeExplicitAutogradNonFunctional", "CompositeExplicitAutograd")
    for key in keys:
        if says(torch._C._dispatch_has_kernel_for_dispatch_key, op._name, key):
            return Prediction(Origin.CPP_META, registrations_of(op).get(key, ""))
    if utils.can_generate_trivial_fake_impl(op):
        return Prediction(Origin.TRIVIAL)
    if not symbolic and mode.can_run_unsafe_fallback(op):
        return Prediction(Origin.REAL_KERNEL)
    return Prediction(Origin.NONE)


def registrations_of(op: torch._ops.OpOverload) -> dict[str, str]:
    """Dispatch key -> where its kernel is registered in C++ or defined in Python."""
    table = torch._C._dispatch_dump(op._name)
    kernels = {match["key"]: _shortened(match["place"]) for match in _REGISTERED.finditer(table)}
    python = {str(key).removeprefix("DispatchKey."): _place(function) for key, function in op.py_kernels.items()}
    return {**kernels, **{key: place for key, place in python.items() if place}}


def _place(function: Callable[..., Any]) -> str:
    """File, line and name of a Python function, whatever it is wrapped in; empty for anything else."""
    function = inspect.unwrap(function)
    while hasattr(function, "func"):  # functools.partial
        function = inspect.unwrap(function.func)
    code = getattr(function, "__code__", None)
    return f"{_shortened(f'{code.co_filename}:{code.co_firstlineno}')} {function.__name__}" if code is not None else ""


def _shortened(place: str) -> str:
    """A place without the folder that torch, or the repository that it was built from, lies in."""
    return _BUILT.sub("", place.removeprefix(f"{Path(torch.__file__).parent.parent}/"))
