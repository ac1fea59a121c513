"""Makes the calls of one overload under crossrefs, in this process, and gathers their mismatches into findings.

Knows nothing of processes (see ``sandbox``) or of what is expected (see ``expect``).
"""

from __future__ import annotations

import functools
import gc
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from sweep import crossref
from sweep.calls import corpus
from sweep.operators import process_group
from sweep.execution.accelerator import check_not_lost, limit_memory, waiter
from sweep.calls.call import Call
from sweep.calls.codec import build
from sweep.crossref.common.comparison import Mismatch
from sweep.crossref.common.exemptions import exemption
from sweep.crossref.common.fake_modes import Fakes
from sweep.findings.finding import CALL, Finding, Result, ordered
from sweep.operators.libraries import imported
from sweep.operators.inventory import resolve
from sweep.calls.printing import FILLS, arguments, expression, written
from sweep.execution.process_state import Guard, Unusable

#: How many of the calls that show a finding are tried, smallest first, for one that can be pasted.
_EXAMPLES_TRIED = 4

#: What is being done, in the trace, while printed calls are tried.
_EXAMPLE = "example"

_Key = tuple[str, str, str, int | None]
_Make = Callable[[], tuple[list[Any], dict[str, Any]]]


def run_overload(
    name: str,
    folder: str,
    device: str,
    crossrefs: list[str],
    skip: Collection[Sequence[Any]] = (),
    examples: bool = True,
    limit: float = 0.0,
    memory: int = 0,
    told: Sequence[Any] = (),
    heartbeat: Callable[[int, str], None] = lambda call, phase: None,
    tell: Callable[[Any], None] = lambda found: None,
) -> dict[str, Any]:
    """Checks every recorded call of one overload.

    Args:
        name: qualified name of the overload.
        folder: the corpus.
        device: where to make the calls.
        crossrefs: names of the crossrefs.
        skip: positions of calls not to make, each with the crossref under which not to; empty for none at all.
        examples: try the printed calls until one shows its finding; otherwise the simplest text is taken untried.
        limit: seconds after which the rest of the calls is given up; 0 is no limit.
        memory: bytes of an accelerator's memory that this process may use; 0 is no limit. (The CPU's is the process's own limit.)
        told: what other processes, which did not come to the end, told of this overload: it goes on from there.
        heartbeat: is told the position of each call, and which crossref, just before it is made.
        tell: is told now and then what was found since the last time, and which call is next.

    Returns:
        A :class:`~sweep.findings.Result` as JSON.

    Raises:
        sweep.corpus.CorpusError: the overload's file cannot be read.
    """
    calls = corpus.load(Path(folder), name)
    limit_memory(device, memory)
    with _rare_collection(len(calls)):
        result = check_calls(
            resolve(name),
            calls,
            device,
            crossrefs,
            skip=skip,
            examples=examples,
            limit=limit,
            found=Found(told, tell),
            heartbeat=heartbeat,
        )
    return result.as_json()


#: Calls after which the garbage collector runs. Left to itself it runs every few calls, for a fifth of a sweep's time, and
#: finds nearly nothing.
_COLLECTED_AFTER = 2000
_since_collection = 0


@contextmanager
def _rare_collection(calls: int) -> Iterator[None]:
    """Keeps the garbage collector out of the way while some calls are made."""
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
            gc.freeze()  # what survives is torch's own, by far the most there is, and need not be looked at again


def count(name: str, folder: str, heartbeat: Callable[[int, str], None] = lambda call, phase: None) -> int:
    """How many calls of an overload are recorded."""
    return len(corpus.load(Path(folder), name))


def make_real(
    name: str,
    folder: str,
    call: int,
    device: str,
    memory: int = 0,
    heartbeat: Callable[[int, str], None] = lambda call, phase: None,
) -> None:
    """Makes the real call of one recorded call, and no other, to see whether it takes the process with it; it may raise.

    Raises:
        Unusable: no other call may be made in this process.
    """
    op = resolve(name)
    recorded = corpus.load(Path(folder), name)[call]
    limit_memory(device, memory)
    process_group.ensure_for(name)
    heartbeat(call, "real")
    wait = waiter(device)
    guard = Guard()
    with _own_randomness(device), suppress(crossref.RealRaised):
        args, kwargs = _maker(op, recorded, device, wait)()
        torch.manual_seed(recorded.seed())
        Fakes(op, wait=wait).real(op, args, kwargs)
    guard.restore()


def show(
    name: str, folder: str, call: int, device: str, heartbeat: Callable[[int, str], None] = lambda call, phase: None
) -> dict[str, Any]:
    """One recorded call for people: ``text``, whether that has the recorded values (``exact``), and ``source``.

    Raises:
        IndexError: there is no such call.
    """
    calls = corpus.load(Path(folder), name)
    if not 0 <= call < len(calls):
        raise IndexError(f"{name} has {len(calls)} recorded calls, 0 to {len(calls) - 1}: there is no call {call}")
    text, exact = written(calls[call], device)
    return {"text": text, "exact": exact, "source": calls[call].source}


def summary(
    name: str,
    folder: str,
    positions: list[int],
    device: str,
    heartbeat: Callable[[int, str], None] = lambda call, phase: None,
) -> dict[str, Any]:
    """What a finding says of the calls that show it, for calls that cannot be made again: its fields from ``dtypes`` on."""
    calls = corpus.load(Path(folder), name)
    smallest = min(positions, key=lambda at: (calls[at].number_of_elements(), at))
    return {
        "dtypes": _dtypes(calls[at] for at in positions),
        "calls": len(positions),
        "example": _printed(calls[smallest], smallest, device),
        "layouts": _layouts(calls[at] for at in positions),
    }


def check_calls(
    op: torch._ops.OpOverload,
    calls: list[Call],
    device: str,
    crossrefs: list[str],
    *,
    skip: Collection[Sequence[Any]] = (),
    examples: bool = True,
    limit: float = 0.0,
    found: Found | None = None,
    heartbeat: Callable[[int, str], None] = lambda call, phase: None,
) -> Result:
    """Checks calls of one overload. See :func:`run_overload`."""
    found = found or Found()
    started = time.perf_counter()
    name = calls[0].overload if calls else ""
    process_group.ensure_for(name)
    skipped = {(at, crossref_name) for at, crossref_name in skip}
    wholly = {at for at, crossref_name in skipped if not crossref_name}
    trace = _Trace(heartbeat)
    fakes = Fakes(op, trace.side, waiter(device))
    excuses = [exemption(n, name) for n in crossref.names()]
    if all(excuses):
        return Result(name, reason=f"exempt: {excuses[0]}")  # nobody looks, which is not the same as agreeing
    with ExitStack() as stack:
        checkers = {n: crossref.load(n) for n in crossrefs if not exemption(n, name)}
        stack.enter_context(_own_randomness(device))
        for checker in checkers.values():
            stack.enter_context(checker.opened(op, fakes))
        guard = Guard()
        given_up = 0
        for at, call in enumerate(calls):
            if at < found.start or at in wholly:
                continue
            found.tell(at)
            if limit and time.perf_counter() - started > limit:
                given_up = sum(later not in wholly for later in range(at, len(calls)))
                found.add(at, (CALL, "", _OVERLOAD_TIMEOUT, None), Mismatch("", _OVERLOAD_TIMEOUT, None, "", ""))
                break
            fakes.next_call()
            make = _maker(op, call, device, fakes.wait)
            for crossref_name, checker in checkers.items():
                if (at, crossref_name) in skipped:
                    continue
                trace.check(at, crossref_name)
                if _is_random(op):
                    torch.manual_seed(call.seed())
                for key, mismatch in _check(crossref_name, checker, op, make):
                    found.add(at, key, mismatch)
                for switch in guard.restore():
                    kind = f"changes {switch}"
                    found.add(at, (CALL, "", kind, None), Mismatch("", kind, None, "", switch))
        found.tell(len(calls), now=True)
        trace.check(len(calls), _EXAMPLE)
        shown = found.shown.items()
        findings = [_finding(key, where, calls, checkers, op, device, fakes, tried=examples) for key, where in shown]
        guard.restore()  # trying examples makes calls too
    made = len(calls) - len(wholly) - given_up
    return Result(name, calls=made, given_up=given_up, seconds=time.perf_counter() - started, findings=ordered(findings))


#: The ending of an overload whose calls took too long together; the first call that was not made is its example.
_OVERLOAD_TIMEOUT = "overload timeout"


#: Seconds after which what was found is told; what was not, is found again if this process dies.
_TOLD_EVERY = 0.5


class Found:
    """What calls of one overload have shown so far, told now and then, so that it outlives this process.

    Attributes:
        shown: the mismatches, by what they are counted under and by the position of the call.
        start: position of the first call that was not told to be done.
    """

    def __init__(self, told: Sequence[Any] = (), tell: Callable[[Any], None] = lambda found: None) -> None:
        self.shown: dict[_Key, dict[int, Mismatch]] = {}
        self.start = 0
        self._tell = tell
        self._untold: list[Any] = []
        self._last = time.perf_counter()
        for self.start, entries in told:
            for at, key, *answers in entries:
                self.shown.setdefault(tuple(key), {}).setdefault(at, Mismatch(*key[1:], *answers))

    def add(self, at: int, key: _Key, mismatch: Mismatch) -> None:
        where = self.shown.setdefault(key, {})
        if at not in where:
            where[at] = mismatch
            self._untold.append((at, key, mismatch.expected, mismatch.real))

    def tell(self, following: int, *, now: bool = False) -> None:
        """Tells what is untold, if it is time: everything before the call at this position is done."""
        if now or time.perf_counter() - self._last > _TOLD_EVERY:
            self._tell([following, self._untold])
            self._untold = []
            self._last = time.perf_counter()


class _Trace:
    """Tells the parent what is being done: which call, under which crossref, and whether it is the real call."""

    def __init__(self, heartbeat: Callable[[int, str], None]) -> None:
        self._mark = heartbeat
        self._call, self._crossref = -1, ""

    def check(self, call: int, crossref_name: str) -> None:
        self._call, self._crossref = call, crossref_name
        self._mark(call, crossref_name)

    def side(self, side: str) -> None:
        self._mark(self._call, f"{self._crossref} {side}")


def _own_randomness(device: str) -> AbstractContextManager[None]:
    """Gives the calls random states of their own and brings back the process's afterwards."""
    place = torch.device(device)
    if place.type == "cpu":
        return torch.random.fork_rng(devices=[])
    return torch.random.fork_rng(devices=[place.index or 0], device_type=place.type)


#: Overloads that take over or resize their argument's memory, though their schemas do not say that they write to it.
_OWNERS = {"aten._lazy_clone.default", "inductor.resize_storage_bytes_.default"}


def _maker(op: torch._ops.OpOverload, call: Call, device: str, wait: Callable[[], None]) -> _Make:
    """Gives a call's arguments: new ones each time if the overload writes to some, the same ones otherwise.

    Where there is no memory for them, that raises ``RealRaised``.
    """
    writes = op._schema.is_mutable

    def make() -> tuple[list[Any], dict[str, Any]]:
        try:
            return build(call, device, own=writes or call.overload in _OWNERS)
        except Exception as error:
            check_not_lost(error, wait)
            if crossref.ending("real", error) == crossref.OUT_OF_MEMORY:
                raise crossref.RealRaised from error
            raise

    return make if writes else functools.cache(make)


def _check(name: str, checker: crossref.CrossRef, op: torch._ops.OpOverload, make: _Make) -> Iterator[tuple[_Key, Mismatch]]:
    """The mismatches of one call under one crossref, each with what it is counted under."""
    try:
        for found in checker.check(op, make):
            yield (name, found.output, found.kind, found.index), found
    except crossref.RealRaised as error:
        raised = error.__cause__ or error
        kind = crossref.ending("real", raised)
        yield (CALL, "", kind, None), Mismatch("", kind, None, "", type(raised).__name__)


def _is_random(op: torch._ops.OpOverload) -> bool:
    return torch.Tag.nondeterministic_seeded in op.tags


def _finding(
    key: _Key,
    where: dict[int, Mismatch],
    calls: list[Call],
    checkers: dict[str, crossref.CrossRef],
    op: torch._ops.OpOverload,
    device: str,
    fakes: Fakes,
    *,
    tried: bool,
) -> Finding:
    """One finding over all the calls that show it, with the smallest of them as its example."""
    positions = sorted(where, key=lambda at: (calls[at].number_of_elements(), len(calls[at].key()), at))
    checker = checkers.get(key[0])
    example, shown, at = "", where[positions[0]], positions[0]
    if tried and checker is not None:
        fakes.next_call()
        example, shown = _example(key, positions, calls, checker, op, device, fakes.wait) or (example, shown)
    if not example:
        example = _printed(calls[at], at, device)
    return Finding(
        crossref=key[0],
        output=key[1],
        kind=key[2],
        index=key[3],
        fake=shown.expected,
        real=shown.real,
        sides=(checker.expected, checker.real) if checker else ("fake", "real"),
        dtypes=_dtypes(calls[at] for at in positions),
        calls=len(positions),
        example=example,
        layouts=_layouts(calls[at] for at in positions),
    )


def _printed(call: Call, at: int, device: str) -> str:
    """A call as an expect file has it that could not be tried: if not with its recorded values, then with how to get them."""
    text, exact = written(call, device)
    if exact:
        return text
    options = "".join(f"--import {library} " for library in imported)
    options += f"--device {device} " if device != "cpu" else ""
    return f"{text}  # with the recorded values: python -m sweep show {options}{call.overload} {at}"


def _layouts(calls: Iterator[Call]) -> tuple[str, ...]:
    """The layouts of some calls, or none if one of them is as it was recorded."""
    layouts = {call.layout for call in calls}
    return () if "" in layouts else tuple(sorted(layouts))


def _dtypes(calls: Any) -> tuple[str, ...]:
    return tuple(sorted({call.dtypes()[0] for call in calls if call.dtypes()}))


def _example(
    key: _Key,
    positions: list[int],
    calls: list[Call],
    checker: crossref.CrossRef,
    op: torch._ops.OpOverload,
    device: str,
    wait: Callable[[], None],
) -> tuple[str, Mismatch] | None:
    """The simplest text of the smallest call that shows a finding when evaluated, and how it does: sizes may hang on values."""
    for at in positions[:_EXAMPLES_TRIED]:
        for fill in FILLS:
            text = expression(calls[at], device, fill)
            shown = None if text is None else _shown(key, text, checker, op, wait)
            if text is not None and shown is not None:
                return text, shown
    return None


def _shown(
    key: _Key, text: str, checker: crossref.CrossRef, op: torch._ops.OpOverload, wait: Callable[[], None]
) -> Mismatch | None:
    """A finding as a printed call shows it, evaluated as it stands; ``None`` if it does not."""
    try:
        return next((f for f in checker.check(op, lambda: arguments(text)) if (f.output, f.kind, f.index) == key[1:]), None)
    except Unusable:
        raise
    except Exception as error:  # for these values it cannot even be evaluated, or the real call refuses them: not an example
        check_not_lost(error, wait)
        return None
