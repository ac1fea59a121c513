"""Torch's own crossrefs on OpInfo samples, and ours on the same: what each of them flags."""

from __future__ import annotations

import functools
import re
import unittest.mock
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch._dispatch.python as dispatch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch._subclasses.fake_utils import CrossRefFakeMode

from opinfo_adapters import opinfo
from sweep import crossref
from sweep.calls.call import Call
from sweep.execution.check import Checker
from sweep.operators.inventory import inventory, resolve
from sweep.recording.recorder import Recorder
from sweep.trials import Effort, Trials


def opinfos(names: Iterable[str] | None = None) -> list[Any]:
    """The OpInfos of ``op_db`` with these names; all of them for ``None``."""
    wanted = None if names is None else set(names)
    return [op for op in opinfo.databases()["op_db"] if wanted is None or op.name in wanted]


def samples(ops: Iterable[Any], dtype: torch.dtype, *, quick: bool = True) -> Iterator[tuple[Any, Any]]:
    """Every forward sample of a dtype: (OpInfo, SampleInput); made as quickly as the adapter does, or as torch's own tests do."""
    with opinfo._quick_samples("cpu") if quick else nullcontext():
        for op in ops:
            if dtype not in op.supported_dtypes("cpu"):
                continue
            made = iter(op.sample_inputs("cpu", dtype))
            while True:
                try:
                    sample = next(made)
                except (StopIteration, unittest.SkipTest):
                    break
                yield op, sample


def quietly(run: Callable[[], Any]) -> Exception | None:
    """What a function raises, if it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run()
    except Exception as error:
        return error
    return None


def flagged_by_seed(ops: Iterable[Any], dtype: torch.dtype) -> set[str]:
    """The overloads at which ``enable_crossref_functionalize`` raises its assertion."""
    flagged: set[str] = set()

    def note(n: object, r: object, desc: Callable[[], str]) -> None:
        try:
            checked(n, r, desc)
        except AssertionError:
            flagged.add(qualified(desc()))
            raise

    def qualified(description: str) -> str:
        return description.partition("(")[0]

    checked = dispatch.check_metadata_matches
    with unittest.mock.patch.object(dispatch, "check_metadata_matches", note), dispatch.enable_crossref_functionalize():
        for op, sample in samples(ops, dtype):
            plain = functools.partial(op, sample.input, *sample.args, **sample.kwargs)
            quietly(torch.func.functionalize(plain))
            quietly(functools.partial(functionalized, op, sample))
    return flagged


def functionalized(op: Any, sample: Any) -> None:
    """Runs a sample on functional tensors."""
    wrapped = sample.transform(lambda t: torch._to_functional_tensor(t) if isinstance(t, torch.Tensor) else t)
    torch._enable_functionalization(reapply_views=True)
    try:
        op(wrapped.input, *wrapped.args, **wrapped.kwargs)
    finally:
        torch._disable_functionalization()


def flagged_by_crossref_fake_mode(ops: Iterable[Any], dtype: torch.dtype) -> set[str]:
    """The overloads about which ``CrossRefFakeMode`` raises, each sample with an empty fake cache.

    What the cache holds decides whether the view of an empty fake tensor shares its storage (see ``comparison.compare``), and
    so whether ``aten.view.default`` is flagged.
    """
    flagged: set[str] = set()
    for op, sample in samples(ops, dtype):
        FakeTensorMode.cache_clear()

        def run(op: Any = op, sample: Any = sample) -> None:
            with CrossRefFakeMode():
                op(sample.input, *sample.args, **sample.kwargs)

        error = quietly(run)
        about = re.search(r"output of (\w+\.\w+\.\w+) on FakeTensor", str(error))
        if about:
            flagged.add(about[1])
    return flagged


def recorded(ops: Iterable[Any], dtype: torch.dtype, *, composites: bool = True) -> dict[str, list[Call]]:
    """The calls that the forward samples of a dtype make, by overload; those of composite overloads only if asked for."""
    recorder = Recorder("cpu")
    with recorder.installed():
        for op, sample in samples(ops, dtype):
            try:
                with recorder.observe(op.name, composites=composites):
                    op(sample.input, *sample.args, **sample.kwargs)
            except Exception as error:
                recorder.failed(op.name, error)
    known = set(inventory())
    calls: dict[str, list[Call]] = {}
    for call, _ in recorder.drain():
        if call.overload in known:
            calls.setdefault(call.overload, []).append(call)
    return calls


def flagged_by_us(ops: Iterable[Any], dtype: torch.dtype) -> dict[str, set[str]]:
    """Crossref -> the overloads that it flags, those that it flags inside another one included."""
    flagged: dict[str, set[str]] = {name: set() for name in crossref.names()}
    for name, calls in recorded(ops, dtype).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = Checker(resolve(name), calls, "cpu", crossref.names(), trials=Trials(Effort.UNTRIED)).run()
        for finding in result.findings:
            if finding.crossref in flagged:
                flagged[finding.crossref].add(finding.place.inside or name)
    return flagged
