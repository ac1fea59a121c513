"""Entry points of a child process: the table of branches, what known calls reach, and the search itself, for one overload each.

Plain data in and out; what is asked for next, and what becomes of a child that dies, is decided in ``measurement`` and
``driver``.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import Any

import torch

from sweep.calls import corpus
from sweep.calls.call import Call, Recorded
from sweep.calls.selection import cover
from sweep.calls.values import features
from sweep.crossref.common.selection import aspects_of, has_symbolic_sizes, selected
from sweep.crossref.decomposition import decompositions_of
from sweep.execution.process_state import StateGuard
from sweep.operators.inventory import resolve
from sweep.operators.required_state import required_state
from sweep.progress import NO_PROGRESS, Activity, Phase, Progress
from sweep.search import measuring
from sweep.search.measuring import Meter
from sweep.search.plain import call_of
from sweep.search.predictions import Predictions
from sweep.search.searching import Search
from sweep.search.table import Found, Reached, SearchResult, Table, signature_of

_PREDICTION = Phase(Activity.PREDICTION)

#: Beginning of the source of a searched call.
_SEARCHED = "searched"

#: The most recorded calls of an overload that are measured. They cost 10 ms each, and all together would be an hour.
_MEASURED = 16

#: The most of those that are made with symbolic sizes too, which costs several times as much.
_WITH_SYMBOLS = 2

#: Between two checkpoints of what was reached so many calls are measured.
_CALLS_BETWEEN = 100


def make_table(places: Sequence[str], path: str) -> str:
    """Writes the table of all branches of some places to a file, unless it is there, and returns the folder of their names.

    Args:
        places: globs of files, from the folder that holds ``torch``, or absolute paths.
        path: the file.
    """
    signature = measuring.signature(places)
    if signature_of(Path(path)) != signature:
        measuring.table_of(places).save(Path(path), signature)
    return str(measuring.root_of(places))


def import_places() -> None:
    """Imports what predictions import, before anything is measured and, in a fork server, once for all children."""
    decompositions_of(torch.ops.aten.abs.default)


@functools.cache
def meter(places: tuple[str, ...], path: str) -> Meter:
    """The meter of this process."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    import_places()
    return Meter(places, Table.load(Path(path)))


def known_calls(name: str, folder: str, searched: Sequence[dict[str, Any]]) -> list[Call]:
    """The calls of an overload whose predictions a sweep asks for: recorded ones and searched ones.

    Args:
        name: qualified name of the overload.
        folder: the corpus.
        searched: plain forms of the searched ones.
    """
    recorded = corpus.load(Path(folder), name) if (Path(folder) / f"{name}.npz").exists() else []
    calls = [call for call in recorded if call.recorded is not Recorded.OUT_OF_BOUNDS]
    return calls + [call_of(name, data, f"{_SEARCHED} {at}") for at, data in enumerate(searched)]


def _covering(calls: Sequence[Call]) -> frozenset[int]:
    """The positions of the searched calls, and of recorded ones that together have every aspect: the others repeat those."""
    aspects = [frozenset(("kind", *f) for f in features(call)) | _aspects(call) for call in calls]
    searched = [at for at, call in enumerate(calls) if call.source.startswith(_SEARCHED)]
    return frozenset((*searched, *cover(aspects, [1] * len(calls), _MEASURED)))


def _aspects(call: Call) -> frozenset[Hashable]:
    return frozenset() if any("layout" in tensor for tensor in call.tensors) else aspects_of(call)


def measure(
    name: str,
    folder: str,
    searched: Sequence[dict[str, Any]],
    places: Sequence[str],
    table: str,
    skip: Collection[int] = (),
    start: int = 0,
    progress: Progress = NO_PROGRESS,
) -> dict[str, object]:
    """What the predictions of an overload's known calls reach, as ``Reached`` has it in JSON.

    Args:
        name: qualified name of the overload.
        folder: the corpus.
        searched: plain forms of the overload's searched calls.
        places: the files, as in :func:`make_table`.
        table: the file with their table.
        skip: positions of calls that ended their process.
        start: position of the first call that is measured.
        progress: takes heartbeats, and what was reached up to a call.
    """
    own, op = meter(tuple(places), table), resolve(name)
    with required_state(name, "cpu"):
        predictions, guard, reached = Predictions(op), StateGuard(), Reached()
        own.reset()
        calls = known_calls(name, folder, searched)
        covering = _covering(calls)
        with_symbols = [at for at in sorted(covering & selected(calls)) if has_symbolic_sizes(calls[at])][:_WITH_SYMBOLS]
        for at in sorted(covering):
            call = calls[at]
            if at < start or at in skip:
                continue
            progress.beat(at, _PREDICTION)
            with own.measured():
                predictions.make(call)
                if at in with_symbols:
                    predictions.make_symbolic(call)
            guard.restore()
            if at % _CALLS_BETWEEN == 0:
                reached.add(own.new())
                progress.checkpoint((at, reached.as_json()))
        reached.add(own.new())
    return reached.as_json()


def search(
    name: str,
    folder: str,
    searched: Sequence[dict[str, Any]],
    places: Sequence[str],
    table: str,
    reached: Sequence[int],
    functions: Sequence[int],
    round_number: int,
    attempts: int,
    seconds: float,
    start: int = 0,
    skip: Collection[int] = (),
    found: Sequence[Found] = (),
    progress: Progress = NO_PROGRESS,
) -> SearchResult:
    """Tries mutated calls of one overload.

    Args:
        name: qualified name of the overload.
        folder: the corpus.
        searched: plain forms of the overload's searched calls.
        places: the files, as in :func:`make_table`.
        table: the file with their table.
        reached: numbers of the branches that some call reaches.
        functions: numbers of the functions that the overload's predictions enter.
        round_number: number of times that this overload was searched before.
        attempts: number of mutated calls to try.
        seconds: time after which the rest is left.
        start: number of the first one.
        skip: numbers of those that ended their process.
        found: what another process, which did not come to the end, has found.
        progress: takes heartbeats, and what is found.
    """
    own = meter(tuple(places), table)
    literals = own.literals(functions)
    with required_state(name, "cpu"):
        search = Search(name, resolve(name), known_calls(name, folder, searched), own, set(reached), literals, progress)
        search.resume(found)
        tried = search.run(start, attempts, skip, round_number, seconds)
    return SearchResult(tuple(search.found), tried)
