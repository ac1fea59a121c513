"""Attempts: calls that nobody has made yet. What the kernel accepts is kept; what it refuses says why.

A kernel that writes outside of its tensors does so silently and crashes some later call; one that reads there returns whatever
lies beside them. So a call is first checked on the CPU (see ``crossref.common.bounds_check``). The smallest that does either is
kept as such, to be made between redzones only; some that the kernel refuses are kept as such too. On an accelerator an
index that is out of range costs the process its device, and a new process costs seconds: a call that the CPU refuses because of
its values is not attempted there.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from sweep.calls.call import Call, Recorded, StorageData, Unrecordable
from sweep.calls.codec import build, encode
from sweep.calls.redzones import WritesOutside
from sweep.crossref.common.bounds_check import Answer, BoundsCheck, ReadsOutside, Refusal
from sweep.execution.accelerator import check_not_lost, waiter
from sweep.execution.process_state import StateGuard
from sweep.findings.ending import EndingKind, ending_of
from sweep.findings.kind import Access
from sweep.operators.required_state import no_gradients
from sweep.progress import Activity, Phase, Progress
from sweep.recording.outcome import AttemptPlan, PairCounts
from sweep.recording.refusals import sentence

#: A call of more tensor elements is not attempted: it would cost more than it shows.
LARGEST = 200_000

#: Number of refused calls that are kept, of each task and of those for each class of exception and sentence.
_REFUSED, _REFUSED_ALIKE = 12, 2

#: How the CPU's kernels say that they refuse an argument's values, rather than its size or dtype.
_ABOUT_VALUES = re.compile(
    r"out of (range|bounds)|\bind(ex|ices)\b|between 0 and|probabilit|negative|less than|greater than", re.IGNORECASE
)

_ON_CPU, _ON_DEVICE = Phase(Activity.ATTEMPT_ON_CPU), Phase(Activity.ATTEMPT)


class ValuesRefused(Exception):
    """The CPU refuses a call because of its values; an accelerator might lose its process over it."""


class ProcessEnds(Exception):
    """An attempt that is not made, because it or too many before it ended their process."""


class Attempts:
    """Attempts calls of one overload, each from its plain form, so that a call that works once works again.

    Args:
        name: qualified name of the overload.
        op: the overload.
        device: the device under test.
        progress: is told the number of each attempt before it is made.
        plan: which attempts to make.

    Attributes:
        kept: the calls that were accepted, in order.
        kept_guesses: for each of them, whether it goes back to a schema guess.
        kept_refused: some of the calls that the kernel refused, in order.
        pairs: what became of the pairs of mutations, if the derivation has any.
        out_of_bounds: how a call used memory outside of its tensors -> the smallest such call.
    """

    def __init__(
        self,
        name: str,
        op: torch._ops.OpOverload,
        device: str,
        progress: Progress | None = None,
        plan: AttemptPlan | None = None,
    ) -> None:
        self.kept: list[Call] = []
        self.kept_guesses: list[bool] = []
        self.kept_refused: list[Call] = []
        self.out_of_bounds: dict[Access, Call] = {}
        self.pairs = PairCounts()
        self._refusals: Counter[tuple[type[BaseException], str]] = Counter()  # (class, sentence)
        self._name, self._op, self._device = name, op, device
        self._progress, self._plan = progress or Progress(), plan or AttemptPlan()
        self._count = 0
        self._keys: set[str] = set()
        self._wait = waiter(device)
        self._state = StateGuard()
        self._bounds = BoundsCheck(name, op)
        self._is_cpu = torch.device(device).type == "cpu"

    def __call__(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], source: str, variant: str = "", *, guessed: bool = False
    ) -> BaseException | None:
        """Make a call on copies of its arguments.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            source: where the call comes from, for people.
            variant: name of the variant, if it is one.
            guessed: whether it goes back to a schema guess.

        Returns:
            What the call raised; ``None`` if it is kept, or was attempted before.

        Raises:
            ProcessUnusableError: no other call may be made in this process.
        """
        try:
            call = _tight(encode(self._name, args, kwargs, device=self._device, source=source, variant=variant))
        except (Unrecordable, RuntimeError) as reason:  # such as a lack of memory
            return self.refuse(reason)
        key = call.key()
        if key in self._keys or call.number_of_elements() > LARGEST:
            return None
        self._keys.add(key)
        number, self._count = self._count, self._count + 1
        if number not in self._plan.crashes:
            if not self._plan.allows(number):
                return self.refuse(ProcessEnds("takes the process with it"))
            error = self._make(call, number)
            if error is not None:
                return self.refuse(error, call)
        self.kept.append(call)
        self.kept_guesses.append(guessed)
        return None

    def _make(self, call: Call, number: int) -> BaseException | None:
        """Check a call and make it, and return what was raised."""
        try:
            self._progress.beat(number, _ON_DEVICE if self._is_cpu else _ON_CPU)
            arguments = functools.partial(build, call, "cpu")
            answers = self._bounds.answers(arguments)
            if not self._is_cpu:
                _check_values(answers[0])
            if self._bounds.depends(arguments, *answers):
                raise ReadsOutside("reads outside of the tensors that it is given")
            self._progress.beat(number, _ON_DEVICE)
            args, kwargs = build(call, self._device)
            with no_gradients(self._name):
                self._op(*args, **kwargs)
            self._wait()
            refusals = [answer for answer in answers if isinstance(answer, Refusal)]
            if self._is_cpu and refusals and not any(refusal.is_about_memory for refusal in refusals):
                self._bounds.check_end(arguments)
        except WritesOutside as error:
            return self._out_of_bounds(Access.WRITE, call, error)
        except ReadsOutside as error:
            return self._out_of_bounds(Access.READ, call, error)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: the process belongs to its calls
            return error.with_traceback(None)
        finally:
            self._state.restore()
        return None

    def _out_of_bounds(self, kind: Access, call: Call, error: BaseException) -> BaseException:
        smallest = self.out_of_bounds.get(kind, call)
        self.out_of_bounds[kind] = min(smallest, call, key=Call.number_of_elements)
        return error.with_traceback(None)

    @property
    def refused(self) -> Counter[str]:
        """Class of exception -> number of calls that were refused with it."""
        counts: Counter[str] = Counter()
        for (error_class, _), count in self._refusals.items():
            counts[error_class.__name__] += count
        return counts

    def most_frequent_refusal(self) -> str:
        """The class and the first sentence of the error that most calls were refused with; empty if none was."""
        if not self._refusals:
            return ""
        [((error_class, text), _)] = self._refusals.most_common(1)
        return f"{error_class.__name__}: {text}"

    def refuse(self, error: BaseException, call: Call | None = None) -> BaseException:
        """Count a call as refused, by its kernel or by a check before it, and return the error.

        Args:
            error: what was raised.
            call: the call, if it was made.

        Raises:
            ProcessUnusableError: the error has cost this process its device.
        """
        check_not_lost(error, self._wait)
        kind = type(error), sentence(error)
        self._refusals[kind] += 1
        is_first = self._refusals[kind] <= _REFUSED_ALIKE and len(self.kept_refused) < _REFUSED
        if call is not None and is_first and is_own_refusal(error):
            self.kept_refused.append(replace(call, recorded=Recorded.REFUSED))
        return error


def is_own_refusal(error: BaseException) -> bool:
    """Whether the kernel itself raised an error by which it refuses a call, rather than a check before it or a lack of memory."""
    is_check = isinstance(error, WritesOutside | ReadsOutside | ValuesRefused)
    return isinstance(error, Exception) and not is_check and ending_of("", error).kind is not EndingKind.OUT_OF_MEMORY


def _check_values(answer: Answer) -> None:
    """Raise ``ValuesRefused`` if the CPU's answer is an error about what the tensors hold."""
    if not isinstance(answer, Refusal) or not issubclass(answer.error_class, IndexError | RuntimeError | ValueError):
        return
    is_unsupported = answer.error_class is NotImplementedError
    if answer.error_class is IndexError or (not is_unsupported and _ABOUT_VALUES.search(answer.message)):
        raise ValuesRefused(f"the CPU refuses it: {answer.message}")


def _tight(call: Call) -> Call:
    """The call on storages that end where its tensors do, as a call is printed: whatever else they held is not an argument."""
    ends = [0] * len(call.storages)  # an empty tensor uses nothing, but its offset has to lie in its storage
    for tensor in call.tensors:
        if "storage" in tensor:
            start = tensor["offset"] * getattr(torch, tensor["dtype"]).itemsize
            ends[tensor["storage"]] = max(ends[tensor["storage"]], start)
    return replace(call, storages=[_shortened(storage, end) for storage, end in zip(call.storages, ends, strict=True)])


def _shortened(storage: StorageData, least: int) -> StorageData:
    """A storage that ends with its last kept byte, or after a least number of bytes."""
    first, _, length = storage.get("bytes", (0, 0, 0))
    used = storage["nbytes"] if "fill" in storage else first + length
    return {**storage, "nbytes": min(storage["nbytes"], max(least, used))}
