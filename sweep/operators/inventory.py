"""The inventory: every overload that the dispatcher knows, its kind, and the kernels it has on a device.

The list is the dispatcher's own, taken right after ``import torch``, so it does not depend on what Python happened to touch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
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
        kernels: device type -> dispatch keys under which a kernel for it is registered, or ``fallback`` (empty: none).
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
def backend_keys(device_type: str) -> tuple[str, ...]:
    """The dispatch keys of a device type's own kernels: of ``cpu`` ``CPU``, ``SparseCPU``, ..."""
    backend = str(torch._C._dispatch_key_for_device(device_type))
    return tuple(prefix + backend for prefix in _FUNCTIONALITIES)


def kernels(op: torch._ops.OpOverload, device_type: str) -> tuple[str, ...]:
    """The dispatch keys under which an overload has a kernel that a call on a device can reach.

    ``fallback`` where it has none and the backend runs such calls in another way, on the CPU for instance.
    """
    in_python = [str(p).removeprefix("DispatchKey.") for p in op.py_kernels]
    registered = torch._C._dispatch_has_kernel_for_dispatch_key
    keys = (*backend_keys(device_type), *COMPOSITE_KEYS)
    found = tuple(k for k in keys if says(registered, op._name, k) or k in in_python)
    return found or (("fallback",) if has_fallback(device_type) else ())


@functools.cache
def has_fallback(device_type: str) -> bool:
    """Whether a backend has a kernel for whatever has none; that of ``meta`` only says so."""
    key = torch._C._dispatch_key_for_device(device_type)
    return device_type != "meta" and torch._C._dispatch_has_backend_fallback(torch._C._dispatch_key_parse(key))


def says(ask: Callable[[str, str], bool], name: str, key: str) -> bool:
    """What the dispatcher says of an overload under a key; no, if it has no such key, as not every backend has every one."""
    try:
        return ask(name, key)
    except RuntimeError:  # "could not parse dispatch key"
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


set_inventory(qualified_name(n) for n in _REGISTERED)
