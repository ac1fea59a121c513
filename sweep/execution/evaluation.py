"""Evaluates printed calls: whether one shows a finding when it is pasted."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from sweep.calls.call import Recorded
from sweep.calls.new_memory import filled
from sweep.calls.printing import arguments
from sweep.calls.redzones import WritesOutside
from sweep.crossref.common.bounds_check import Answer, BoundsCheck, Refusal
from sweep.crossref.common.protocol import Arguments, CrossRef, DoesNotApply, PreparedCall
from sweep.errors import ProcessUnusableError, first_line
from sweep.execution.accelerator import check_not_lost
from sweep.execution.real_call import RealCallEndedError, prepare
from sweep.findings.finding import Claim, Key, Mismatch
from sweep.operators.inventory import qualified_name
from sweep.operators.schema import is_random
from sweep.progress import Activity, Phase

#: The byte in new memory during an evaluation, so that what a kernel makes of memory to which nothing was written is always the
#: same. It is not zero, because zeros are what most such kernels would have needed.
_NEW_MEMORY = 0x6B


@dataclass(frozen=True)
class Shown:
    """What a printed call shows.

    Attributes:
        mismatch: its mismatch of the finding.
        refusal: the words of the message with which the real call refused it, without numbers; empty if it returned.
        is_reproducible: whether the real call answers the same whatever lies around its tensors and in new memory, as far as that
            was looked at.
    """

    mismatch: Mismatch
    refusal: str = ""
    is_reproducible: bool = True


class Evaluator:
    """Evaluates printed calls of one overload.

    Args:
        op: the overload.
        device: the device under test.
        wait: as ``accelerator.waiter`` returns it.
        beat: takes the number of each evaluation and its phase, just before it begins.
        clean: called after each evaluation, so that nothing of one call is left for the next.
        deadly: numbers of evaluations that ended a process; they are not made and show nothing.
    """

    def __init__(
        self,
        op: torch._ops.OpOverload,
        device: str,
        wait: Callable[[], None],
        beat: Callable[[int, Phase], None],
        clean: Callable[[], None],
        deadly: Collection[int],
    ) -> None:
        self._op, self._wait, self._beat, self._clean, self._deadly = op, wait, beat, clean, deadly
        self._bounds = BoundsCheck(qualified_name(op._name), op) if torch.device(device).type == "cpu" else None
        self._deadly_texts: set[str] = set()
        self._next = 0

    def shown(self, key: Key, text: str, crossref: CrossRef) -> Shown | None:
        """What a printed call shows of a finding when evaluated as it stands; ``None`` if it does not show it.

        Raises:
            ProcessUnusableError: no other call may be made in this process.
        """
        number, self._next = self._next, self._next + 1
        if number in self._deadly:
            self._deadly_texts.add(text)
        if text in self._deadly_texts:  # for another finding it would do the same
            return None
        self._beat(number, Phase(Activity.EXAMPLE, key.crossref, key.form))
        try:
            return self._evaluated(key, text, crossref)
        except ProcessUnusableError:
            raise
        except (RealCallEndedError, DoesNotApply, WritesOutside):
            return None  # the real call or the crossref refuses these values, or they lead the kernel out of bounds
        except Exception as error:  # these values cannot even be evaluated: no example either
            check_not_lost(error, self._wait)
            return None
        finally:
            self._clean()

    def _evaluated(self, key: Key, text: str, crossref: CrossRef) -> Shown | None:
        def fresh() -> Arguments:
            return arguments(text)

        build = fresh if self._op._schema.is_mutable else functools.cache(fresh)
        answers = None if crossref.precedes else self._answers(fresh, crossref)
        with filled(_NEW_MEMORY):
            call = self._prepared(build, crossref)
            found = [m for m in crossref.check(call, key.form) if m.claim is not Claim.REFUTED]
        mismatch = next((m for m in found if Key.of(key.crossref, m, key.form) == key), None)
        if mismatch is None or (self._bounds is not None and answers and self._bounds.depends(fresh, *answers)):
            return None
        is_reproducible = answers is None or answers[0] == answers[1]
        return Shown(mismatch, "" if call.refusal is None else _words(call.refusal), is_reproducible)

    def _answers(self, arguments: Callable[[], Arguments], crossref: CrossRef) -> tuple[Answer, Answer] | None:
        """The answers of a call between redzones, before it is made in plain memory, which it might ruin; ``None`` off the CPU.

        No recording has made it with these values. An answer that depends on the redzones would be another in another process.

        Raises:
            DoesNotApply: the call is refused, and the crossref does not look at refused calls.
            WritesOutside: it writes outside of its tensors.
        """
        if self._bounds is None:
            return None
        answers = self._bounds.answers_in_new_memory(arguments)
        is_refused = all(isinstance(answer, Refusal) and not answer.is_about_memory for answer in answers)
        if is_refused and Recorded.REFUSED not in crossref.looks_at:
            raise DoesNotApply("the call is refused")
        return answers

    def _prepared(self, arguments: Callable[[], Arguments], crossref: CrossRef) -> PreparedCall:
        """A printed call, made as far as a crossref needs it.

        Raises:
            RealCallEndedError: it did not return, and the crossref does not look at refused calls.
        """
        seed = 0 if is_random(self._op) else None
        if crossref.precedes:
            return PreparedCall(self._op, arguments, None, seed=seed)
        try:
            return prepare(self._op, arguments, self._wait, seed, changes=crossref.needs_changes)
        except RealCallEndedError as error:
            if Recorded.REFUSED not in crossref.looks_at or not error.is_refusal:
                raise
            return PreparedCall(self._op, arguments, None, refusal=error.error, seed=seed)


def _words(error: BaseException) -> str:
    """The words of an error's first line, without numbers and punctuation, which differ between calls of other sizes."""
    return " ".join(re.findall(r"[A-Za-z_]+", first_line(error)))
