"""The names of the C++ functions that implement operators of ATen, from the ``native_functions.yaml`` that torch comes with.

torchgen's own reader needs PyYAML, which torch does not; the few entries that matter here are a line each. Runs in a child.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

#: The file in the package torchgen.
_FILE = "packaged/ATen/native/native_functions.yaml"

_FUNC = re.compile(r"- func: (?P<name>[\w.]+)\((?P<arguments>.*)\) ->")
_ENTRY = re.compile(r"  (?P<key>\w+):(?P<value>.*)$")
_KERNEL = re.compile(r"    (?P<keys>[\w, ]+): (?P<kernel>[\w:]+)$")

_COMPOSITE = "CompositeImplicitAutograd"

#: The dispatch keys under which the meta function of a structured kernel answers.
_META = ("Meta", "CompositeExplicitAutogradNonFunctional")


@dataclass
class _Native:
    """An entry of the file.

    Attributes:
        name: the operator and its overload: ``add.Tensor``.
        is_out: whether it has out= arguments.
        is_mutable: whether it writes to any argument.
        entries: what else it says in one line.
        kernels: dispatch key -> C++ function.
    """

    name: str
    is_out: bool
    is_mutable: bool
    entries: dict[str, str] = field(default_factory=dict)
    kernels: dict[str, str] = field(default_factory=dict)

    @property
    def delegate(self) -> str:
        """The overload whose structured kernel implements this one; empty if there is none."""
        return self.name if self.entries.get("structured") == "True" else self.entries.get("structured_delegate", "")

    def kernel(self, key: str) -> str:
        """The C++ function under a dispatch key, without its namespace; empty if there is none."""
        if not self.kernels and not self.delegate and key == _COMPOSITE:
            return self.name.partition(".")[0] + ("_out" if self.is_out else "")
        return self.kernels.get(key, "")


def parse(text: str) -> dict[str, _Native]:
    r"""The functions of the file by overload, also by those that torchgen generates from them.

    >>> parse("- func: f.x(Tensor s, *, Tensor(a!) out) -> Tensor(a!)\n  dispatch:\n    CPU, CUDA: f_kernel\n")["f.x"].kernels
    {'CPU': 'f_kernel', 'CUDA': 'f_kernel'}
    """
    natives: dict[str, _Native] = {}
    native, in_dispatch = None, False
    for line in text.splitlines():
        plain = line.partition(" #")[0].rstrip()
        if match := _FUNC.match(plain):
            is_out = "!" in match["arguments"].partition("*,")[2]
            native = natives[match["name"]] = _Native(match["name"], is_out, "!" in match["arguments"])
            in_dispatch = False
        elif native is not None and (match := _ENTRY.match(plain)):
            in_dispatch = match["key"] == "dispatch"
            native.entries[match["key"]] = match["value"].strip()
        elif native is not None and in_dispatch and (match := _KERNEL.match(plain)):
            native.kernels.update((key.strip(), match["kernel"]) for key in match["keys"].split(","))
    generated = {name: each for each in natives.values() for name in re.findall(r"[\w.]+", each.entries.get("autogen", ""))}
    return {**generated, **natives}


@functools.cache
def _natives() -> dict[str, _Native]:
    spec = importlib.util.find_spec("torchgen")
    places = spec.submodule_search_locations if spec is not None and spec.submodule_search_locations else ()
    path = next((file for place in places if (file := Path(place) / _FILE).exists()), None)
    return parse(path.read_text()) if path is not None else {}


@functools.cache
def _functional_of(delegate: str) -> str:
    """The functional overload of a structured kernel."""
    delegated = [each for each in _natives().values() if each.delegate == delegate]
    return next((each.name for each in delegated if not each.is_mutable), delegate)


def cpp_function(op: torch._ops.OpOverload, keys: Iterable[str], registered: Collection[str]) -> str:
    """The qualified name of the C++ function that implements an operator.

    Args:
        op: the operator.
        keys: dispatch keys, the preferred one first.
        registered: the dispatch keys that have a kernel.

    Returns:
        As a C++ stack has it, or empty if it is not known: the operator is none of ATen, or its kernel is generated.
    """
    namespace, _, base = op._schema.name.partition("::")
    name = f"{base}.{op._schema.overload_name}" if op._schema.overload_name else base
    native = _natives().get(name) if namespace == "aten" else None
    if native is None:
        return ""
    is_generated = native.name != name  # its kernel calls that of another overload
    key = next((key for key in keys if (native.kernel(key) if is_generated else key in registered)), "")
    kernel = native.kernel(key)
    if kernel and native.delegate != native.name:
        return f"at::native::{kernel}"
    if native.delegate and key in _META:
        return f"at::meta::structured_{_functional_of(native.delegate).replace('.', '_')}::meta"
    kernel = _natives()[native.delegate].kernel(key) if native.delegate else ""
    return f"at::native::structured_{kernel}::impl" if kernel else ""
