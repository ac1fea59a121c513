"""The inventory: every overload that the dispatcher knows, its kind, and the kernels it has on a device.

The list is the dispatcher's own: what ``import torch`` registers, and what the other modules of torch register when they are
imported (see ``registrations``). So it does not depend on what a process happens to have loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import torch

from sweep.errors import UnknownOverloadError
from sweep.operators import registrations
from sweep.operators.overload import Overload, OverloadKind, similar

# Read when this module is imported, before anything but torch can register more operators.
_REGISTERED = frozenset(torch._C._dispatch_get_all_op_names())

#: The operators of imported libraries; ``None`` if torch's own are swept.
_of_libraries: tuple[str, ...] | None = None

#: Kernels that serve every backend, in the order in which the dispatcher prefers them.
COMPOSITE_KEYS = ("CompositeExplicitAutogradNonFunctional", "CompositeExplicitAutograd", "CompositeImplicitAutograd")

#: A device's kernels live under its backend name alone or behind one of these prefixes (``SparseCPU``, ...).
_FUNCTIONALITIES = ("", "Sparse", "SparseCsr", "Quantized", "NestedTensor", "Mkldnn")


def qualified_name(registered: str) -> str:
    """The name that ``torch.ops`` has for an overload, from the dispatcher's name.

    >>> qualified_name("aten::add.Tensor"), qualified_name("aten::abs")
    ('aten.add.Tensor', 'aten.abs.default')
    """
    namespace, _, rest = registered.partition("::")
    packet, _, overload = rest.partition(".")
    return f"{namespace}.{packet}.{overload or 'default'}"


def resolve(name: str) -> torch._ops.OpOverload:
    """The live overload of a qualified name.

    Raises:
        UnknownOverloadError: this torch has no such overload.
    """
    op = find(name)
    if op is not None:
        return op
    alike = similar(name, inventory())
    hint = f"; similar ones: {', '.join(alike)}" if alike else ""
    raise UnknownOverloadError(f"torch {torch.__version__} has no overload {name}{hint}")


def find(name: str) -> torch._ops.OpOverload | None:
    """The live overload of a qualified name; ``None`` if there is none."""
    op = _registered(name)
    if op is None:
        registrations.import_all()  # it may be one that a module of torch registers
        op = _registered(name)
    return op


def _registered(name: str) -> torch._ops.OpOverload | None:
    target: object = torch.ops
    for part in name.split(".", 2):
        target = getattr(target, part, None)
    return target if isinstance(target, torch._ops.OpOverload) else None


def kind_of(op: torch._ops.OpOverload) -> OverloadKind:
    """The kind of an overload, from its schema alone."""
    schema = op._schema
    if any(argument.is_out for argument in schema.arguments):
        return OverloadKind.OUT
    if schema.is_mutable:
        return OverloadKind.IN_PLACE
    if any(value.alias_info is not None for value in schema.returns):
        return OverloadKind.VIEW
    takes_tensor = any("Tensor" in str(argument.type) for argument in schema.arguments)
    returns_tensor = any("Tensor" in str(value.type) for value in schema.returns)
    return OverloadKind.FACTORY if returns_tensor and not takes_tensor else OverloadKind.FUNCTIONAL


@functools.cache
def backend_keys(device_type: str) -> tuple[str, ...]:
    """The dispatch keys of a device type's own kernels; for ``cpu`` they are ``CPU``, ``SparseCPU``, ..."""
    backend = str(torch._C._dispatch_key_for_device(device_type))
    return tuple(prefix + backend for prefix in _FUNCTIONALITIES)


def kernels(op: torch._ops.OpOverload, device_type: str) -> tuple[str, ...]:
    """The dispatch keys under which an overload has a kernel that a call on a device can reach.

    ``fallback`` if it has none and the backend runs such calls in another way, for instance on the CPU.
    """
    in_python = [str(p).removeprefix("DispatchKey.") for p in op.py_kernels]
    registered = torch._C._dispatch_has_kernel_for_dispatch_key
    keys = (*backend_keys(device_type), *COMPOSITE_KEYS)
    own = tuple(key for key in keys if says(registered, op._name, key) or key in in_python)
    return own or (("fallback",) if has_fallback(device_type) else ())


@functools.cache
def has_fallback(device_type: str) -> bool:
    """Whether a backend has a fallback kernel for every overload; that of ``meta`` only raises."""
    key = torch._C._dispatch_key_for_device(device_type)
    return device_type != "meta" and torch._C._dispatch_has_backend_fallback(torch._C._dispatch_key_parse(key))


def says(ask: Callable[[str, str], bool], name: str, key: str) -> bool:
    """What the dispatcher answers about an overload and a key; no for a key that it lacks, as not every backend has every one."""
    try:
        return ask(name, key)
    except RuntimeError:  # "could not parse dispatch key"
        return False


def device_types() -> tuple[str, ...]:
    """The device types of this torch: ``cpu``, ``meta`` and the accelerator that it was built for, if any."""
    accelerator = torch.accelerator.current_accelerator(check_available=False)
    return ("cpu", "meta", *([accelerator.type] if accelerator else []))


def describe(name: str, devices: Iterable[str]) -> Overload:
    """What the dispatcher says about one overload, with its kernels on some device types."""
    op = resolve(name)
    tags = tuple(sorted(str(t).removeprefix("Tag.") for t in op.tags))
    return Overload(name, kind_of(op), tags, {d: kernels(op, d) for d in devices}, str(op._schema))


def inventory() -> Sequence[str]:
    """The qualified names of all overloads that are swept, sorted: torch's own, or those of imported libraries."""
    return _of_torch() if _of_libraries is None else _of_libraries


def is_swept(name: str) -> bool:
    """Whether an overload is in the inventory; imports further modules of torch only if it is not registered without."""
    return find(name) is not None if _of_libraries is None else name in _of_libraries


def set_libraries(names: Iterable[str]) -> None:
    """Sweeps the operators of libraries, by their qualified names, in place of torch's own."""
    global _of_libraries
    _of_libraries = tuple(sorted(names))


@functools.cache
def _of_torch() -> tuple[str, ...]:
    registrations.import_all()
    late = set(torch._C._dispatch_get_all_op_names()) - _REGISTERED
    names = _REGISTERED | {name for name in late if registrations.is_of_torch(name)}
    return tuple(sorted(map(qualified_name, names)))


def form_signature(op: torch._ops.OpOverload) -> tuple[tuple[str, str], ...]:
    """Names and types of the arguments that are not out=: equal for the functional, in-place and out= form of an operator."""
    return tuple((a.name, str(a.real_type)) for a in op._schema.arguments if not a.is_out)
