"""``make bench``: the sweep against torch's own crossref and against the bare loop, on the float32 forward samples of ``op_db``.

Each figure is the CPU time of a process of its own, one thread, all in one run: quote the ratios, not the seconds. It is CPU time
because other processes of a shared machine stretch the clock's by any factor.

Ours are taken twice. ``same``: the calls that arrive at a backend, which are those that the seed checks as well. ``all``: the
composite overloads too, nearly as many again, which the seed never looks at. ``cold``, ``warm`` and ``bare`` predict each call as
the seed does; ``forms`` and ``child`` also ask the fake cache, of which the seed has no counterpart.

``bare`` starts every overload with an empty fake cache, as a sweep does, whose outcomes must not depend on the overloads that the
process checked before. ``shared`` keeps the cache, a class attribute of ``FakeTensorMode``, over all overloads. For a composite
overload nearly every operator inside is then answered from entries that others made.
"""

from __future__ import annotations

import functools
import logging
import resource
import subprocess
import sys
import tempfile
import time
import unittest.mock
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate


def main(argv: list[str]) -> int:
    """Runs every measurement, or in a child process the one named."""
    if argv:
        return _measure(argv[0], Path(argv[1]))
    with tempfile.TemporaryDirectory() as top:
        seconds: dict[str, float] = {}
        rows = []
        for name in ("seed", *(f"{what} {which}" for which in _WHICH for what in _MEASUREMENTS if what != "seed")):
            folder = Path(top) / name.partition(" ")[2]
            folder.mkdir(exist_ok=True)
            command = [sys.executable, "-m", "tests.bench", name, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return done.returncode
            taken, note, memory = done.stdout.splitlines()[-1].split("\t")
            seconds[name] = float(taken)
            rows.append((name, f"{seconds[name]:.1f}", f"{memory} MB", note))
            print(f"{name}: {seconds[name]:.1f} s, {note}", flush=True)
    print()
    print(tabulate(rows, headers=("what", "seconds", "peak memory", "")))
    print()
    ratios = [
        ("seed", "cold", "at least 2.5"),
        ("seed", "warm", "at least 4"),
        ("warm", "bare", "at most 1.3; all: 1.5"),
        ("warm", "shared", "none: bare with the cache kept"),
        ("child", "forms", "at most 1.05"),
    ]
    table = []
    for over, under, aim in ratios:
        measured = [seconds[over if over == "seed" else f"{over} {w}"] / seconds[f"{under} {w}"] for w in _WHICH]
        table.append((f"{over} / {under}", *(f"{m:.2f}" for m in measured), aim))
    print(tabulate(table, headers=("ratio", *_WHICH, "aim")))
    return 0


#: The crossrefs that predict metadata, as the seed does.
_CROSSREFS = ("fake", "functionalize")

#: Which calls: those that the seed checks too, or all that are recorded.
_WHICH = ("same", "all")


@dataclass(frozen=True)
class _Measurement:
    """What is timed.

    Attributes:
        run: does it, and returns a note for the table.
        clock: CPU seconds that its processes have taken so far.
        close: ends its other processes.
    """

    run: Callable[[], str]
    clock: Callable[[], float] = time.process_time
    close: Callable[[], None] = lambda: None


def _measure(name: str, folder: Path) -> int:
    import torch

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    measurement = _MEASUREMENTS[name.partition(" ")[0]](folder)
    started = measurement.clock()  # loading what it needs is not what is measured
    note = measurement.run()
    taken = measurement.clock() - started
    measurement.close()
    print(f"\n{taken}\t{note}\t{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}")
    return 0


def _seed(folder: Path) -> _Measurement:
    """``torch._dispatch.python.enable_crossref_functionalize`` around every sample, made as torch makes them, one pass."""
    import torch
    from torch._dispatch.python import enable_crossref_functionalize

    from tests.upstream import functionalized, opinfos, quietly, samples

    ops = opinfos()

    def run() -> str:
        count = 0
        with enable_crossref_functionalize():
            for op, sample in samples(ops, torch.float32, quick=False):
                quietly(lambda op=op, sample=sample: functionalized(op, sample))
                count += 1
        return f"{count} samples under enable_crossref_functionalize"

    return _Measurement(run)


def _cold(folder: Path) -> _Measurement:
    """Recording the same samples, writing the corpus, reading it, and both crossrefs."""

    def run() -> str:
        import torch

        from sweep.calls import corpus
        from tests.upstream import opinfos, recorded

        calls = recorded(opinfos(), torch.float32, composites=folder.name == "all")
        for name, made in calls.items():
            corpus.write_file(folder / f"{name}.npz", [c.as_json() for c in made], [bytes(c.data) for c in made])
        return _warm(folder).run()

    return _Measurement(run)


def _warm(folder: Path) -> _Measurement:
    """Both crossrefs, each with the one form that the seed has, on a corpus that is already there."""
    from sweep.crossref.fake import CrossRef

    swept = _forms(folder).run

    def run() -> str:
        with unittest.mock.patch.object(CrossRef, "forms", _plain_form):
            return swept()

    return _Measurement(run)


def _plain_form(crossref: Any, op: Any) -> Sequence[str]:
    return ("",)  # a mock would note every call


def _forms(folder: Path) -> _Measurement:
    """As ``_warm``, with all forms of both crossrefs."""
    from sweep.execution.run import check_overload
    from sweep.findings.finding import Status
    from sweep.operators.registrations import import_all

    import_all()  # as the fork server of a sweep does, once

    def run() -> str:
        names = sorted(p.stem for p in folder.glob("*.npz"))
        results = [check_overload(n, str(folder), "cpu", list(_CROSSREFS)) for n in names]
        made, bad = sum(r.calls for r in results), sum(r.status is Status.KNOWN_BAD for r in results)
        return f"{made} distinct calls of {len(names)} overloads, {bad} known-bad"

    return _Measurement(run)


def _child(folder: Path) -> _Measurement:
    """As ``_forms``, but in a child process that has torch loaded already: what isolation costs."""
    from sweep.isolation.sandbox import Sandbox

    names = sorted(p.stem for p in folder.glob("*.npz"))
    sandbox = Sandbox(folder / "scratch")
    sandbox.request("sweep.execution.run:count", name=names[0], folder=str(folder))

    def run() -> str:
        arguments = {"folder": str(folder), "device": "cpu", "crossrefs": list(_CROSSREFS)}
        results = [sandbox.request("sweep.execution.run:check_overload", name=n, timeout=120.0, **arguments) for n in names]
        return f"{sum(r.calls for r in results)} distinct calls, each overload a request to one child"

    def clock() -> float:
        child: float = sandbox.request("tests.child_functions:cpu_seconds")
        return time.process_time() + child

    return _Measurement(run, clock, sandbox.close)


def _bare(folder: Path, *, shared: bool = False) -> _Measurement:
    """The same calls, fake, functionalized and real, and nothing else: no loading, comparing or reporting.

    A composite overload is functionalized twice, as in a sweep: decomposed by autograd, which is how the seed sees it, and whole.

    Args:
        folder: of the corpus.
        shared: whether the fake cache is kept over all overloads.
    """
    import torch
    from torch._dispatch.python import enable_python_dispatcher
    from torch._subclasses.fake_tensor import FakeTensorMode

    from sweep.calls import corpus
    from sweep.calls.codec import build
    from sweep.operators.inventory import resolve

    names = sorted(p.stem for p in folder.glob("*.npz"))
    below = torch._C._AutoDispatchBelowAutograd
    ready = []
    for op, name in ((resolve(name), name) for name in names):
        is_composite = torch._C._dispatch_has_kernel_for_dispatch_key(op._name, "CompositeImplicitAutograd")
        ways = (below, nullcontext) if is_composite else (below,)
        ready.append((op, ways, [[build(c, "cpu") for _ in range(1 + len(ways))] for c in corpus.load(folder, name)]))

    def tried(op: Any, args: Any, kwargs: Any) -> None:
        try:
            op(*args, **kwargs)
        except Exception as error:  # refusing is work as well
            refused.append(error)

    def functionalized(op: Any, way: Callable[[], AbstractContextManager[object]], arguments: tuple[Any, Any]) -> None:
        try:
            args, kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, torch._to_functional_tensor, arguments)
        except Exception as error:
            refused.append(error)
            return
        torch._enable_functionalization(reapply_views=True)
        try:
            with enable_python_dispatcher(), way():
                tried(op, args, kwargs)
        finally:
            torch._disable_functionalization()

    def run() -> str:
        count = 0
        for op, ways, calls in ready:
            if not shared:
                FakeTensorMode.cache_clear()
            mode = FakeTensorMode()
            for (args, kwargs), *others in calls:
                count += 1
                try:
                    fakes, fake_kwargs = torch.utils._pytree.tree_map_only(torch.Tensor, mode.from_tensor, (args, kwargs))
                except Exception as error:
                    refused.append(error)
                else:
                    with mode:
                        tried(op, fakes, fake_kwargs)
                tried(op, args, kwargs)
                for way, arguments in zip(ways, others, strict=True):
                    functionalized(op, way, arguments)
        return f"{count} calls fake, functionalized and real"

    refused: list[Exception] = []
    return _Measurement(run)


#: In this order: ``cold`` writes the corpus for those below it.
_MEASUREMENTS: dict[str, Callable[[Path], _Measurement]] = {
    "seed": _seed,
    "cold": _cold,
    "warm": _warm,
    "bare": _bare,
    "shared": functools.partial(_bare, shared=True),
    "forms": _forms,
    "child": _child,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
