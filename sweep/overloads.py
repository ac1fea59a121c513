"""The inventory: every overload that the dispatcher knows, its kind, and the kernels it has on a device.

The list is the dispatcher's own, taken right after ``import torch``, so it does not depend on what Python happened to touch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

# Asked for at import, before anything else can register more operators.
_REGISTERED = tuple(sorted(torch._C._dispatch_get_all_op_names()))

_inventory: tuple[str, ...] = ()

#: Kernels that serve every backend, in the order in which the dispatcher prefers them.
COMPOSITE_KEYS = ("CompositeExplicitAutogradNonFunctional", "CompositeExplicitAutograd", "CompositeImplicitAutograd")

#: A device's kernels live under its backend name alone or behind one of these prefixes (``SparseCPU``, ...).
_FUNCTIONALITIES = ("", "Sparse", "SparseCsr", "Quantized", "NestedTensor", "Mkldnn")


@dataclass(frozen=True)
class Overload:
    """What the dispatcher says about one overload.

    Attributes:
        name: qualified name with an explicit overload name, as in ``aten.add.Tensor`` or ``aten.abs.default``.
        kind: ``functional``, ``in-place``, ``out``, ``view`` or ``factory``.
        tags: names of its ``torch.Tag``s, sorted.
        kernels: device type -> dispatch keys under which a kernel for it is registered (empty: none).
        schema: its schema as text.
    """

    name: str
    kind: str
    tags: tuple[str, ...]
    kernels: dict[str, tuple[str, ...]]
    schema: str

    @property
    def namespace(self) -> str:
        return self.name.partition(".")[0]

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "namespace": self.namespace}


def qualified_name(registered: str) -> str:
    """``aten::add.Tensor`` -> ``aten.add.Tensor``; ``aten::abs`` -> ``aten.abs.default``."""
    namespace, _, rest = registered.partition("::")
    packet, _, overload = rest.partition(".")
    return f"{namespace}.{packet}.{overload or 'default'}"


def resolve(name: str) -> torch._ops.OpOverload:
    """The live overload of a qualified name.

    Raises:
        LookupError: this torch has no such overload.
    """
    namespace, packet, overload = name.split(".", 2)
    try:
        return getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    except AttributeError:
        raise LookupError(f"torch {torch.__version__} has no overload {name}") from None


def kind_of(op: torch._ops.OpOverload) -> str:
    """How an overload relates to its arguments, from its schema alone."""
    arguments = op._schema.arguments
    if any(a.is_out for a in arguments):
        return "out"
    if op._schema.is_mutable:
        return "in-place"
    if any(r.alias_info is not None for r in op._schema.returns):
        return "view"
    takes_tensor = any("Tensor" in str(a.type) for a in arguments)
    gives_tensor = any("Tensor" in str(r.type) for r in op._schema.returns)
    return "factory" if gives_tensor and not takes_tensor else "functional"


@functools.cache
def _backend(device_type: str) -> str:
    """The dispatch key of a device type: ``cpu`` -> ``CPU``."""
    return str(torch._C._dispatch_key_for_device(device_type))


def kernels(op: torch._ops.OpOverload, device_type: str) -> tuple[str, ...]:
    """The dispatch keys under which an overload has a kernel that a call on a device can reach."""
    backend = _backend(device_type)
    keys = [prefix + backend for prefix in _FUNCTIONALITIES] + list(COMPOSITE_KEYS)
    return tuple(k for k in keys if _has(op._name, k) or k in (str(p).removeprefix("DispatchKey.") for p in op.py_kernels))


def _has(name: str, key: str) -> bool:
    try:
        return torch._C._dispatch_has_kernel_for_dispatch_key(name, key)
    except RuntimeError:  # not every backend has every functionality: "could not parse dispatch key"
        return False


def device_types() -> tuple[str, ...]:
    """The device types of this torch: ``cpu``, ``meta`` and the accelerator it was built for, if any."""
    accelerator = torch.accelerator.current_accelerator(check_available=False)
    return ("cpu", "meta", *([accelerator.type] if accelerator else []))


def describe(name: str, devices: Iterable[str]) -> Overload:
    """The inventory's line about one overload."""
    op = resolve(name)
    tags = tuple(sorted(str(t).removeprefix("Tag.") for t in op.tags))
    return Overload(name, kind_of(op), tags, {d: kernels(op, d) for d in devices}, str(op._schema))


def inventory() -> list[str]:
    """The qualified names of all overloads that are swept, sorted: torch's own, or those of imported libraries."""
    return list(_inventory)


def set_inventory(names: Iterable[str]) -> None:
    """Makes other overloads than torch's own what is swept."""
    global _inventory
    _inventory = tuple(sorted(names))


def form_signature(op: torch._ops.OpOverload) -> tuple[tuple[str, str], ...]:
    """Names and types of the arguments that are not out=: equal for the functional, in-place and out= form of an operator."""
    return tuple((a.name, str(a.real_type)) for a in op._schema.arguments if not a.is_out)


def _only_wraps(op: torch._ops.OpOverload, device_type: str) -> bool:
    """Whether an overload's one kernel is what torchgen makes for an out= form, and the functional form has none to call."""
    if kind_of(op) != "out" or kernels(op, device_type) != ("CompositeExplicitAutograd",):
        return False
    packet = getattr(getattr(torch.ops, op.namespace), op._schema.name.partition("::")[2])
    forms = (getattr(packet, name) for name in packet.overloads())
    same = [f for f in forms if kind_of(f) != "out" and form_signature(f) == form_signature(op)]
    return any(not kernels(f, device_type) for f in same)


def why_never_called(op: torch._ops.OpOverload, device_type: str) -> str:
    """Why an overload without recorded calls has none, as far as its schema and the dispatch table tell."""
    if not kernels(op, device_type):
        return f"no kernel for {device_type}"
    if _only_wraps(op, device_type):
        return f"no kernel for {device_type} in the functional form that it calls"
    types = " ".join(str(a.type) for a in op._schema.arguments)
    if "c10d.ProcessGroup" in types or op.namespace in ("c10d", "_c10d_functional", "_c10d_functional_autograd", "symm_mem"):
        return "needs a process group"
    if "__torch__.torch.classes." in types:
        wanted = next(w for w in types.replace("[", " ").replace("]", " ").split() if w.startswith("__torch__"))
        return f"takes an object of class {wanted.removeprefix('__torch__.torch.classes.').rstrip('?)')}"
    return "no sample"


set_inventory(qualified_name(n) for n in _REGISTERED)
