"""Why an overload has no calls: it has no kernel that a call could end in, refuses what is tried, or takes what is not there."""

from __future__ import annotations

import torch

from sweep.operators.inventory import backend_keys, form_signature, kernels, kind_of, qualified_name, says

#: Arguments that say where and as what a result is made, which out= forms do without.
_OPTIONS = {"dtype", "layout", "device", "pin_memory", "memory_format"}


def _called_form(op: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """The form of an operator that a kernel which torchgen has generated calls, if it is one.

    An out= form calls the functional one and copies, a functional form a clone's in-place one, and ``X_copy`` the view ``X``
    (torchgen's ``native_function_generation`` and ``gen_functionalization_type``).
    """
    if torch.Tag.generated not in op.tags and torch.Tag.view_copy not in op.tags:
        return None
    packet = op._schema.name.partition("::")[2]
    wanted: tuple[str, ...]
    packets: tuple[str, ...]
    if kind_of(op) == "out":
        wanted, packets = ("functional", "view", "factory", "in-place"), (packet, f"{packet}_")
    elif torch.Tag.view_copy in op.tags:
        wanted, packets = ("view", "functional"), (packet.removesuffix("_copy"),)
    else:
        wanted, packets = ("in-place",), (f"{packet}_",)

    def arguments(form: torch._ops.OpOverload) -> list[tuple[str, str]]:
        return [(name, kind) for name, kind in form_signature(form) if name not in _OPTIONS]

    library = getattr(torch.ops, op.namespace)
    there = [getattr(library, name) for name in packets if hasattr(library, name)]
    forms = [getattr(found, name) for found in there for name in found.overloads()]
    same = [form for form in forms if form is not op and kind_of(form) in wanted and arguments(form) == arguments(op)]
    return min(same, key=lambda form: wanted.index(kind_of(form)), default=None)


def _reachable(op: torch._ops.OpOverload, device_type: str) -> set[str]:
    """The dispatch keys of a device under which a call ends in a kernel, and, if that calls another form, so does that call."""
    computed = torch._C._dispatch_has_computed_kernel_for_dispatch_key
    reached = {k for k in backend_keys(device_type) if says(computed, op._name, k)}
    called = _called_form(op)
    return reached & _reachable(called, device_type) if called else reached


def why_never_called(op: torch._ops.OpOverload, device_type: str, refusal: str = "") -> str:
    """Why an overload without recorded calls has none, as far as its schema, the dispatch table and recording tell.

    Args:
        op: the overload.
        device_type: such as ``cpu``.
        refusal: what all calls that were tried of it were refused for.
    """
    if not kernels(op, device_type):
        return f"no kernel for {device_type}"
    called = _called_form(op)
    if called and not _reachable(op, device_type):
        return f"no kernel for {device_type} by way of {qualified_name(called._name)}, which it calls"
    if refusal:
        return f"refuses what is tried: {refusal}"
    types = " ".join(str(a.type) for a in op._schema.arguments)
    if "c10d.ProcessGroup" in types or op.namespace in ("c10d", "_c10d_functional", "_c10d_functional_autograd", "symm_mem"):
        return "needs a process group"
    if "__torch__.torch.classes." in types:
        wanted = next(w for w in types.replace("[", " ").replace("]", " ").split() if w.startswith("__torch__"))
        return f"takes an object of class {wanted.removeprefix('__torch__.torch.classes.').rstrip('?)')}"
    return "no sample"
