"""Adapter for PyTorch's OpInfo databases: every dtype that the device supports; forward, backward, in-place and method variants.

Sample generation is torch's own. Two slow parts of it are replaced without changing the samples: the search of the stack for a
test function for every sample, and seeding every accelerator although one default generator is used.
"""

from __future__ import annotations

import functools
import importlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.utils._pytree as pytree

from sweep.recording.recorder import Recorder

#: The modules in which torch keeps lists of OpInfos: their attributes ending in ``_db``. ``hop_db`` is not among them:
#: higher-order operators are not overloads, and the calls inside them are traced, not run.
_MODULES = (
    "torch.testing._internal.common_methods_invocations",
    "torch.testing._internal.opinfo.definitions.nested",
    "torch.testing._internal.autograd_function_db",
    "torch.testing._internal.custom_op_db",
)

_SPARSE = {
    "supports_sparse": torch.sparse_coo,
    "supports_sparse_csr": torch.sparse_csr,
    "supports_sparse_csc": torch.sparse_csc,
    "supports_sparse_bsr": torch.sparse_bsr,
    "supports_sparse_bsc": torch.sparse_bsc,
}

#: The database whose samples are jagged nested tensors, a subclass that decomposes itself in Python.
_NESTED = "njt_op_db"

#: Stands for a dtype in the name of a task that runs error inputs.
_ERRORS = "errors"

_SEED = 1234  # torch.testing._internal.common_utils.SEED, which OpInfo reseeds with before every sample


@functools.cache
def databases() -> dict[str, list[Any]]:
    """The OpInfo databases of this torch by name; each OpInfo is in the first database that has it."""
    from torch.testing._internal.opinfo.core import OpInfo

    by_name: dict[str, list[Any]] = {}
    assigned: set[int] = set()
    for module_name in _MODULES:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError:
            continue  # not in every torch version
        for name, value in sorted(vars(module).items(), key=lambda item: (item[0] != "op_db", item[0])):
            if not (name.endswith("_db") and isinstance(value, list) and all(isinstance(v, OpInfo) for v in value)):
                continue
            new = [op for op in value if id(op) not in assigned]
            assigned.update(map(id, new))
            if new:
                by_name[name] = new
    return by_name


def tasks(device: str) -> Iterator[str]:
    """One task per OpInfo and dtype, ``op_db/0123/nn.functional.relu/float32``, and one for its error inputs, ``.../errors``."""
    kind = torch.device(device).type
    for database, ops in databases().items():
        for index, op in enumerate(ops):
            for dtype in sorted(op.supported_dtypes(kind), key=str):
                if database == _NESTED and dtype is not torch.float32:
                    continue  # as torch's own tests do: the structure of a jagged tensor does not depend on the dtype
                yield f"{database}/{index:04}/{op.full_name}/{str(dtype).removeprefix('torch.')}"
            if op.error_inputs_func is not None or op.error_inputs_sparse_func is not None:
                yield f"{database}/{index:04}/{op.full_name}/{_ERRORS}"


def run(task: str, device: str, recorder: Recorder) -> None:
    """Runs every sample of one OpInfo and dtype, or its error inputs."""
    database, index, rest = task.split("/", 2)
    if rest.endswith(f"/{_ERRORS}"):
        with _quick_samples(device):
            _run_error_inputs(database, index, device, recorder)
        return
    dtype = getattr(torch, rest.rpartition("/")[2])
    op = databases()[database][int(index)]
    kind = torch.device(device).type
    with _quick_samples(device):
        _run_samples(functools.partial(op.sample_inputs, device, dtype), op, task, recorder, backward=False)
        if database == _NESTED:
            return  # neither its backward nor its in-place forms run under an observer
        if op.supports_autograd and dtype in op.supported_backward_dtypes(kind):
            make = functools.partial(op.sample_inputs, device, dtype, requires_grad=True)
            _run_samples(make, op, task, recorder, backward=True)
        for flag, layout in _SPARSE.items():
            if getattr(op, flag, False) and _has_sparse_samples(op, layout):
                make = functools.partial(op.sample_inputs_sparse, layout, device, dtype)
                _run_samples(make, op, task, recorder, backward=False)


def _run_error_inputs(database: str, index: str, device: str, recorder: Recorder) -> None:
    """Runs every error input of one OpInfo; the calls that it makes the operators refuse are recorded as such."""
    op = databases()[database][int(index)]
    source = f"{database}/{index}/{op.full_name}/{_ERRORS}"
    try:
        for error_input in _error_inputs(op, device):
            sample = error_input.sample_input
            with suppress(Exception), recorder.observe(source, refused=True):  # which one, and whether at all, is up to the call
                op.op(sample.input, *sample.args, **sample.kwargs)
    except Exception as error:  # an error input may be for another device or dtype; it is counted by name in the recording's log
        recorder.failed(f"{source}: generating error inputs", error)


def _error_inputs(op: Any, device: str) -> Iterator[Any]:
    """The error inputs of an OpInfo, for strided tensors and for every sparse layout that it supports."""
    if op.error_inputs_func is not None:
        yield from op.error_inputs(device)
    if op.error_inputs_sparse_func is not None:
        for flag, layout in _SPARSE.items():
            if getattr(op, flag, False):
                yield from op.error_inputs_sparse(device, layout)


def _has_sparse_samples(op: Any, layout: torch.layout) -> bool:
    """Whether an OpInfo that claims to support a layout has samples in it: many leave the sample function unset."""
    name = f"sample_inputs_{str(layout).removeprefix('torch.')}_func"
    return getattr(op, name).__name__ != "_sample_inputs_unspecified"


@contextmanager
def _quick_samples(device: str) -> Iterator[None]:
    import torch.testing._internal.common_utils as common_utils

    core = importlib.import_module("torch.testing._internal.opinfo.core")
    seed_device = None
    if torch.device(device).type != "cpu":
        module = torch.get_device_module(device)
        # `manual_seed` seeds the current device, which need not be this one; torch does not require `manual_seed_all` of a
        # backend.
        seed_device = getattr(module, "manual_seed_all", None) or module.manual_seed

    def seed(value: int | None = None) -> None:
        value = _SEED if value is None else value
        torch.default_generator.manual_seed(value)
        if seed_device is not None:
            seed_device(value)
        random.seed(value)
        np.random.seed(value)

    seed()
    with (
        mock.patch.object(common_utils, "extract_test_fn", return_value=None),
        mock.patch.object(core, "extract_test_fn", return_value=None),
        mock.patch.object(common_utils, "set_rng_seed", seed),
    ):
        yield


def _run_samples(make: Callable[[], Any], op: Any, task: str, recorder: Recorder, *, backward: bool) -> None:
    variants = [] if task.startswith(_NESTED) else list(_variants(op))
    seen_types: set[Any] = set()
    try:
        samples = iter(make())
    except Exception as error:  # any sample function may raise anything; it is counted by name in the recording's log
        recorder.failed(f"{task}: generating samples", error)
        return
    while True:
        try:
            sample = next(samples)
        except StopIteration:
            return
        except Exception as error:
            recorder.failed(f"{task}: generating a sample", error)
            return
        if backward:
            _call(op, sample, f"{task} backward", recorder, backward=True)
            continue
        _call(op, sample, task, recorder)
        # Another variant can only reach another overload, which the types of the arguments decide, unless it writes to its input.
        types = _argument_types(sample)
        is_new = types not in seen_types
        seen_types.add(types)
        for label, variant, writes in variants:
            if writes and (sample.broadcasts_input or not _holds_tensor(sample.input)):
                continue  # the OpInfo says that this sample has no in-place form
            if writes or is_new:
                _call(variant, _cloned(sample) if writes else sample, f"{task} {label}", recorder)


def _argument_types(sample: Any) -> Any:
    """The types of a sample's arguments, lists included."""

    def of(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return (type(value), *map(of, value))
        return type(value)

    return of((sample.input, *sample.args)), tuple((name, of(v)) for name, v in sorted(sample.kwargs.items()))


def _variants(op: Any) -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """The other variants of an OpInfo: (label, function, whether it writes to its input)."""
    seen = {op.op}
    for owner, prefix in [(op, ""), *((alias, f"alias {alias.name} ") for alias in op.aliases)]:
        candidates = (
            ("function", owner.op, False),
            ("method", getattr(owner, "method_variant", None), False),
            ("operator", getattr(owner, "operator_variant", None), False),
            ("in-place", getattr(owner, "inplace_variant", None), True),
            ("in-place operator", getattr(owner, "inplace_operator_variant", None), True),
        )
        for label, function, writes in candidates:
            if callable(function) and function not in seen:
                seen.add(function)
                yield prefix + label, function, writes


def _call(function: Callable[..., Any], sample: Any, source: str, recorder: Recorder, *, backward: bool = False) -> None:
    nested = source.startswith(_NESTED)
    try:
        with recorder.observe(source, incidental=nested, composites=not nested):
            result = function(sample.input, *sample.args, **sample.kwargs)
            if backward:
                outputs = [t for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor) and t.requires_grad]
                if outputs:
                    with recorder.backward():
                        torch.autograd.backward(outputs, [torch.ones_like(t) for t in outputs])
    except Exception as error:  # a sample may raise anything; it is counted by name in the recording's log
        recorder.failed(source, error)


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(value))


def _cloned(sample: Any) -> Any:
    return sample.transform(lambda leaf: leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf)
