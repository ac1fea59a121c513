"""The search for calls of one overload that reach branches which no call has reached, guided by what mutated calls reach.

Mutating lives in ``mutations``, measuring in ``measuring``. Runs in a child.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Sequence
from random import Random

import torch

from sweep.calls.call import Call, Recorded
from sweep.calls.codec import build
from sweep.calls.selection import cover
from sweep.calls.values import features
from sweep.execution.process_state import StateGuard
from sweep.progress import Activity, Phase, Progress
from sweep.recording.attempts import Attempts, is_own_refusal
from sweep.search.measuring import Meter
from sweep.search.mutations import Mutator
from sweep.search.plain import PlainCall, call_of, plain, pruned
from sweep.search.predictions import Predictions
from sweep.search.table import Found

_PREDICTION, _ATTEMPT = Phase(Activity.PREDICTION), Phase(Activity.ATTEMPT)

#: The most known calls of an overload that are mutated, and their largest number of tensor elements.
_BASES, _LARGEST_BASE = 24, 2000

#: After so many calls that the kernel refused, a branch that only such calls reach is no longer a reason to try one.
_REFUSALS = 25

#: How often a call that has itself reached something new is mutated, rather than any known one.
_PREFERENCE = 0.6


class Search:
    """Searches calls of one overload.

    Args:
        name: qualified name of the overload.
        op: the overload.
        known: its known calls.
        meter: measures predictions.
        reached: numbers of the branches that some call of any overload reaches; what is found is added.
        literals: constants to try as options.
        progress: is told the number of each mutated call before it is made, and what is found.
    """

    def __init__(
        self,
        name: str,
        op: torch._ops.OpOverload,
        known: Sequence[Call],
        meter: Meter,
        reached: set[int],
        literals: Sequence[str | int],
        progress: Progress,
    ) -> None:
        self._name, self._meter, self._reached, self._progress = name, meter, reached, progress
        self._mutator, self._predictions, self._guard = Mutator(op, literals), Predictions(op), StateGuard()
        self._attempts = Attempts(name, op, "cpu")
        self._known = [plain(call) for call in known if call.number_of_elements() <= _LARGEST_BASE]
        self._bases = [plain(call) for call in _bases(known)]
        self._fresh: list[PlainCall] = []  # mutated calls that have reached what no earlier one of this overload did
        self._tried: set[str] = set()
        self._refusals: Counter[int] = Counter()
        self._refused: dict[int, PlainCall] = {}  # branch -> the first call that the kernel refused
        self._own: set[int] = set()
        self.found: list[Found] = []

    def resume(self, found: Sequence[Found]) -> None:
        """Takes over what a process before this one has found."""
        for one in found:
            self._reached.update(one.branches)
            self._fresh.append(one.call)
            self.found.append(one)

    def run(self, start: int, attempts: int, skip: Collection[int], round_number: int, seconds: float) -> int:
        """Tries the known calls, of which only some were measured, and then mutated ones. Later rounds try only the latter.

        Args:
            start: number of the first one to try.
            attempts: how many mutated ones there are to be; their numbers seed their choices.
            skip: numbers that ended a process.
            round_number: number of times that this overload was searched before.
            seconds: time after which the rest is left.

        Returns:
            How many were tried.
        """
        started = time.monotonic()
        if not self._bases:
            return 0
        known = [] if round_number else self._known
        tried = 0
        for number in range(start, len(known) + attempts):
            if time.monotonic() - started > seconds:
                break
            if number not in skip:
                seed = f"{self._name} {round_number} {number - len(known)}"
                self._try(number, known[number] if number < len(known) else self._mutated(Random(seed)))
            tried += 1
        self._keep_refused()
        return tried

    def _mutated(self, random: Random) -> PlainCall | None:
        prefers = self._fresh and random.random() < _PREFERENCE
        return self._mutator.mutated(random.choice(self._fresh if prefers else self._bases), random)

    def _try(self, number: int, data: PlainCall | None) -> None:
        """Keeps a call if it reaches something new and the kernel accepts it."""
        text = json.dumps(data, sort_keys=True)
        if data is None or text in self._tried:
            return
        self._tried.add(text)
        data = pruned(data)
        data.pop("recorded", None)  # as the call that was mutated ended
        branches = self._branches(data, number)
        new = branches - self._reached
        if new and min(self._refusals[branch] for branch in new) < _REFUSALS:
            self._progress.beat(number, _ATTEMPT)
            recorded = self._recorded(data)
            if recorded is Recorded.RETURNED:
                self._keep(data, new)
                self._progress.checkpoint((number, self.found[-1]))
            else:
                self._refusals.update(new)
            if recorded is Recorded.REFUSED:
                for branch in new:
                    self._refused.setdefault(branch, data)
        elif not branches <= self._own and not new:
            self._fresh.append(data)
        self._own |= branches

    def _keep(self, data: PlainCall, new: set[int]) -> None:
        self._reached |= new
        self._fresh.append(data)
        self.found.append(Found(data, tuple(sorted(new))))

    def _keep_refused(self) -> None:
        """Keeps refused calls for the branches that no accepted one has reached: there the predictions have to refuse, too."""
        for branch, data in sorted(self._refused.items()):
            if branch not in self._reached:
                of_call = {other for other, first in self._refused.items() if first is data} - self._reached
                self._keep({**data, "recorded": Recorded.REFUSED.value}, of_call)

    def _branches(self, data: PlainCall, number: int) -> set[int]:
        """What the predictions of a call reach; nothing if the call cannot be built."""
        self._progress.beat(number, _PREDICTION)
        try:
            call = call_of(self._name, data, "searched")
            build(call, "cpu")
        except Exception:  # such as strides that a layout does not have: there is no such call
            return set()
        finally:
            self._guard.restore()
        self._meter.reset()
        with self._meter.measured():
            self._predictions.make(call)
        self._guard.restore()
        return self._meter.new().branches

    def _recorded(self, data: PlainCall) -> Recorded | None:
        """How a call ends; ``None`` if it leaves the memory of its tensors or was not made."""
        args, kwargs = build(call_of(self._name, data, "searched"), "cpu")
        before = len(self._attempts.kept)
        error = self._attempts(args, kwargs, "searched")
        if len(self._attempts.kept) > before:
            return Recorded.RETURNED
        return Recorded.REFUSED if error is not None and is_own_refusal(error) else None


def _bases(known: Sequence[Call]) -> list[Call]:
    """Known calls that show every kind of argument, the smallest of each."""
    small = [call for call in known if call.number_of_elements() <= _LARGEST_BASE and call.recorded is Recorded.RETURNED]
    small.sort(key=lambda call: (call.number_of_elements() < 2, call.number_of_elements(), call.key()))
    return [small[at] for at in cover([features(call) for call in small], [1] * len(small), _BASES)]
