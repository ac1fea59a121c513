"""Entry points of a child process for sweeping: functions that the parent calls by name, with plain data in and out.

The check loop is in ``check``; processes are the business of ``isolation``.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import torch

from sweep.calls import corpus
from sweep.calls.call import Call
from sweep.calls.printing import written
from sweep.crossref.common import protocol
from sweep.crossref.common.comparison import describe
from sweep.crossref.common.fake_modes import FakeModes
from sweep.crossref.common.protocol import CrossRef, DoesNotApply, NoPrediction, PreparedCall, Shared
from sweep.errors import ProcessUnusableError, UnknownCallError
from sweep.execution import settings
from sweep.execution.accelerator import prediction, waiter
from sweep.execution.check import Checker, Skipped, returning
from sweep.execution.checkpoints import Checkpoint
from sweep.execution.examples import CALL_LABELS, finding_of, untried
from sweep.execution.explanation import Explanation, ShownCall, Side
from sweep.execution.process_state import StateGuard
from sweep.execution.real_call import RealCallEndedError, arguments_of, own_randomness, prepare
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import CALL, Finding, Key, Population, Result, author
from sweep.operators.inventory import resolve
from sweep.operators.required_state import required_state
from sweep.progress import NO_PROGRESS, Activity, Phase, Progress
from sweep.trials import TRIED, Trials


def check_overload(
    name: str,
    folder: str,
    device: str,
    crossrefs: list[str],
    skip: Collection[tuple[int, str, str]] = (),
    examples: Trials = TRIED,
    limit: float = 0.0,
    memory: int = 0,
    checkpoints: Sequence[Checkpoint] = (),
    progress: Progress = NO_PROGRESS,
) -> Result:
    """Checks every recorded call of one overload.

    Args:
        name: qualified name of the overload.
        folder: the corpus.
        device: where to make the calls.
        crossrefs: names of the crossrefs.
        skip: positions of calls not to make, each with the crossref and form not to ask, or empty strings for the whole call.
        examples: which printed calls to evaluate for the examples of findings.
        limit: seconds after which the rest of the calls is given up; 0 is no limit.
        memory: bytes of an accelerator's memory that this process may use; 0 is no limit. (The CPU's is the process's own limit.)
        checkpoints: what other processes, which did not come to the end, had saved about this overload.
        progress: takes heartbeats and checkpoints.

    Raises:
        CorpusError: the overload's file cannot be read.
        ProcessUnusableError: no other call may be made in this process.
    """
    calls = corpus.load(Path(folder), name)
    settings.apply(device, memory)
    checker = Checker(
        resolve(name),
        calls,
        device,
        crossrefs,
        skipped=Skipped.of(skip),
        seconds=limit,
        trials=examples,
        checkpoints=checkpoints,
        progress=progress,
    )
    with _rare_collection(len(calls)):
        return checker.run()


#: Calls after which the garbage collector runs. By default it runs every few calls, takes a fifth of a sweep's time and frees
#: nearly nothing.
_COLLECTED_AFTER = 2000
_since_collection = 0


@contextmanager
def _rare_collection(calls: int) -> Iterator[None]:
    """Context of so many calls in which the garbage collector does not run."""
    global _since_collection
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _since_collection += calls
        if _since_collection >= _COLLECTED_AFTER:
            _since_collection = 0
            gc.collect()
            gc.freeze()  # what survives is torch's own, by far the most there is, and need not be visited again


def count(name: str, folder: str) -> tuple[int, set[int]]:
    """The number of recorded calls of an overload, and the positions of those that a sweep counts."""
    calls = corpus.load(Path(folder), name)
    return len(calls), set(returning(calls))


def make_real_call(
    name: str,
    folder: str,
    call: int,
    device: str,
    memory: int = 0,
    progress: Progress = NO_PROGRESS,
) -> None:
    """Makes one recorded call and no prediction, to see whether it ends the process by itself; what it raises is no matter.

    Raises:
        ProcessUnusableError: no other call may be made in this process.
    """
    recorded = _recorded(name, folder, call)
    settings.apply(device, memory)
    progress.beat(call, Phase(Activity.REAL))
    with required_state(name, device):
        guard = StateGuard()
        with own_randomness(device), suppress(RealCallEndedError):
            _prepare(recorded, device)
        guard.restore()


def _prepare(call: Call, device: str) -> PreparedCall:
    """Makes a recorded call, with the random state that it has in the check loop."""
    op, wait = resolve(call.overload), waiter(device)
    torch.manual_seed(call.seed())
    return prepare(op, arguments_of(op, call, device, wait), wait)


def describe_death(
    name: str,
    folder: str,
    positions: Sequence[int],
    device: str,
    key: Key,
) -> Finding:
    """The finding about calls that ended their process and cannot be made again; its example is the smallest of them, untried.

    The side that died says how: the real call, or the path that a crossref's prediction takes.

    Args:
        name: qualified name of the overload.
        folder: the corpus.
        positions: positions of the calls.
        device: where they were made.
        key: crossref, place and kind of the finding.
    """
    calls = corpus.load(Path(folder), name)
    smallest = min(positions, key=lambda at: (calls[at].number_of_elements(), at))
    example = untried(calls[smallest], smallest, device)
    text = key.kind.detail if isinstance(key.kind, Ending) and key.kind.kind is EndingKind.RAISED else str(key.kind)
    labels = CALL_LABELS
    predicted, actual, population = "", text, Population.MADE
    if key.crossref != CALL:
        crossref = protocol.load(key.crossref)
        labels, population = crossref.labels_of(key.form), crossref.population
        if (crossref.prediction_label or labels[0]) == labels[0]:
            predicted, actual = text, ""
    return finding_of(key, predicted, actual, labels, [calls[at] for at in positions], example, population)


def _recorded(name: str, folder: str, position: int) -> Call:
    """One recorded call.

    Raises:
        UnknownCallError: there is no such call.
    """
    calls = corpus.load(Path(folder), name)
    if not 0 <= position < len(calls):
        raise UnknownCallError(f"{name} has {len(calls)} recorded calls, 0 to {len(calls) - 1}: there is no call {position}")
    return calls[position]


def show(name: str, folder: str, call: int, device: str) -> ShownCall:
    """One recorded call for people.

    Raises:
        UnknownCallError: there is no such call.
    """
    recorded = _recorded(name, folder, call)
    text, exact = written(recorded, device)
    return ShownCall(text, exact, recorded.source)


def explain(
    name: str,
    folder: str,
    call: int,
    device: str,
    crossrefs: list[str],
    memory: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Explanation:
    """Says what the real call did and what each crossref predicts, with whole error messages.

    Args:
        name: qualified name of the overload.
        folder: the corpus.
        call: position of the call.
        device: where to make it.
        crossrefs: names of the crossrefs.
        memory: bytes of an accelerator's memory that this process may use; 0 is no limit.
        progress: takes heartbeats.

    Raises:
        ProcessUnusableError: no other call may be made in this process.
    """
    recorded = _recorded(name, folder, call)
    settings.apply(device, memory)
    op, wait = resolve(name), waiter(device)
    predicting = partial(prediction, wait=wait)
    with required_state(name, device), own_randomness(device):
        progress.beat(call, Phase(Activity.REAL))
        try:
            prepared = _prepare(recorded, device)
        except RealCallEndedError as error:
            actual = Side("real", _raised(error.error), raised=True)
            prepared = PreparedCall(op, arguments_of(op, recorded, device, wait), None, refusal=error.error)
        else:
            actual = Side("real", describe(prepared.actual.result))
        predictions = {}
        guard = StateGuard()
        for crossref_name in crossrefs:
            crossref = protocol.load(crossref_name)
            reason = protocol.why_not(crossref, op, device)
            if reason is not None:
                predictions[crossref_name] = Side("prediction", f"does not apply: {reason}")
                continue
            with crossref.opened(op, Shared(FakeModes(op, predicting), predicting, device)):
                for form in crossref.forms(op):
                    progress.beat(call, Phase(Activity.PREDICTION, crossref_name, form))
                    torch.manual_seed(recorded.seed())
                    side = _predicted(crossref, form, prepared)
                    guard.restore_dispatch_keys()
                    if side is not None:
                        predictions[author(crossref_name, form)] = side
    return Explanation(recorded.source, actual, predictions)


def _predicted(crossref: CrossRef, form: str, call: PreparedCall) -> Side | None:
    """What one form of an open crossref predicts for a call, whether or not the real call returned; ``None`` if it never does."""
    label = crossref.prediction_label or crossref.labels_of(form)[0]
    try:
        return Side(label, describe(crossref.predict(call, form).result))
    except ProcessUnusableError:
        raise
    except NoPrediction:
        return None
    except DoesNotApply as error:
        return Side("prediction", f"does not apply: {error}")
    except BaseException as error:  # whatever it raises is what is asked for
        return Side(label, _raised(error), raised=True)


def _raised(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
