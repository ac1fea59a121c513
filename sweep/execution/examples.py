"""Examples of findings: the smallest call that shows a finding, as Python that shows it when pasted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from sweep.calls.call import Call, Recorded
from sweep.calls.parsing import typed_text
from sweep.calls.printing import FILLS, arguments, expression, written
from sweep.calls.redzones import WritesOutside
from sweep.crossref.common.bounds_check import BoundsCheck
from sweep.crossref.common.protocol import Arguments, CrossRef, DoesNotApply, PreparedCall
from sweep.errors import ProcessUnusableError
from sweep.execution.accelerator import check_not_lost
from sweep.execution.real_call import RealCallEndedError, prepare
from sweep.findings.finding import Claim, Finding, Key, Mismatch, Population
from sweep.operators.inventory import qualified_name
from sweep.operators.libraries import imported
from sweep.operators.schema import is_random

#: How many of the calls that show a finding are tried, smallest first, for one that can be pasted.
_TRIED = 4

#: The labels of a finding that no crossref is the author of.
CALL_LABELS = ("fake", "real")


class Examples:
    """Turns observed mismatches into findings with examples.

    Args:
        op: the overload.
        calls: its recorded calls.
        device: the device under test.
        wait: as ``accelerator.waiter`` returns it.
        next_call: called before each finding, so that nothing of another call is left.
    """

    def __init__(
        self,
        op: torch._ops.OpOverload,
        calls: Sequence[Call],
        device: str,
        wait: Callable[[], None],
        next_call: Callable[[], None],
    ) -> None:
        self._op, self._calls, self._device, self._wait, self._next_call = op, calls, device, wait, next_call
        self._bounds = BoundsCheck(qualified_name(op._name), op) if torch.device(device).type == "cpu" else None

    def finding(self, key: Key, by_position: Mapping[int, Mismatch], crossref: CrossRef | None, *, tried: bool) -> Finding:
        """The finding over all calls that show it.

        Args:
            key: what the mismatches have in common.
            by_position: position of a call -> its mismatch.
            crossref: the crossref that is the author of the finding; ``None`` for a finding of the call itself.
            tried: try printed calls under the crossref until one shows the finding; otherwise the simplest text is taken.
        """
        calls = self._calls
        positions = sorted(by_position, key=lambda at: (calls[at].number_of_elements(), len(calls[at].key()), at))
        text, mismatch = "", by_position[positions[0]]
        if tried and crossref is not None:
            self._next_call()
            text, mismatch = self._tried(key, positions, crossref) or (text, mismatch)
        labels = crossref.labels_of(key.form) if crossref is not None else CALL_LABELS
        population = crossref.population if crossref is not None else Population.MADE
        shown_by = [calls[at] for at in positions]
        example = text or untried(calls[positions[0]], positions[0], self._device)
        return finding_of(key, mismatch.predicted, mismatch.actual, labels, shown_by, example, population)

    def _tried(self, key: Key, positions: Sequence[int], crossref: CrossRef) -> tuple[str, Mismatch] | None:
        """The simplest text of the smallest call that shows the finding when evaluated, with the mismatch that it shows."""
        for at in positions[:_TRIED]:
            for fill in FILLS:
                text = expression(self._calls[at], self._device, fill)
                mismatch = None if text is None else self._shown(key, text, crossref)
                if text is not None and mismatch is not None:
                    return text, mismatch
        return None

    def _shown(self, key: Key, text: str, crossref: CrossRef) -> Mismatch | None:
        """The mismatch of a key that a printed call shows when evaluated as it stands; ``None`` if it shows none."""

        def fresh() -> Arguments:
            return arguments(text)

        try:
            mismatches = crossref.check(self._prepared(fresh, crossref), key.form)
            shown = (mismatch for mismatch in mismatches if mismatch.claim is not Claim.REFUTED)
            mismatch = next((m for m in shown if Key.of(key.crossref, m, key.form) == key), None)
            return None if mismatch is None or (not crossref.precedes and self._is_out_of_bounds(fresh)) else mismatch
        except ProcessUnusableError:
            raise
        except (RealCallEndedError, DoesNotApply):
            return None  # the real call or the crossref refuses these values, so the text is no example
        except Exception as error:  # these values cannot even be evaluated: no example either
            check_not_lost(error, self._wait)
            return None

    def _is_out_of_bounds(self, arguments: Callable[[], Arguments]) -> bool:
        """Whether a call leaves the memory of its tensors, so that it would show something else in another process.

        No recording has made it with these values.
        """
        if self._bounds is None:
            return False
        try:
            return self._bounds.depends(arguments, *self._bounds.answers(arguments))
        except WritesOutside:
            return True

    def _prepared(self, arguments: Callable[[], Arguments], crossref: CrossRef) -> PreparedCall:
        """A printed call, made as far as a crossref needs it.

        Raises:
            RealCallEndedError: it did not return, and the crossref does not look at refused calls.
        """
        if not self._op._schema.is_mutable:
            arguments = functools.cache(arguments)
        seed = 0 if is_random(self._op) else None
        if crossref.precedes:
            return PreparedCall(self._op, arguments, None, seed=seed)
        try:
            return prepare(self._op, arguments, self._wait, seed, changes=crossref.needs_changes)
        except RealCallEndedError as error:
            if Recorded.REFUSED not in crossref.looks_at or not error.is_refusal:
                raise
            return PreparedCall(self._op, arguments, None, refusal=error.error, seed=seed)


def finding_of(
    key: Key,
    predicted: str,
    actual: str,
    labels: tuple[str, str],
    calls: Sequence[Call],
    example: str,
    population: Population = Population.MADE,
) -> Finding:
    """A finding over some calls that show it."""
    return Finding(
        crossref=key.crossref,
        place=key.place,
        kind=key.kind,
        index=key.index,
        predicted=predicted,
        actual=actual,
        labels=labels,
        dtypes=_dtypes(calls),
        calls=len(calls),
        example=example,
        variants=_variants(calls),
        form=key.form,
        population=population,
    )


def untried(call: Call, position: int, device: str) -> str:
    """The text of a call that was not evaluated: with its recorded values, or with the command that shows how to get them."""
    text, exact = written(call, device)
    if exact:
        return text
    if typed_text(call.source) is not None:
        return f"{text}  # its values are too many to print, and these are others"
    options = "".join(f"--import {library} " for library in imported)
    options += f"--device {device} " if device != "cpu" else ""
    return f"{text}  # with the recorded values: python -m sweep show {options}{call.overload} {position}"


def _variants(calls: Iterable[Call]) -> tuple[str, ...]:
    """The variants of some calls, or none if one of them is as it was recorded."""
    variants = {call.variant for call in calls}
    return () if "" in variants else tuple(sorted(variants))


def _dtypes(calls: Iterable[Call]) -> tuple[str, ...]:
    return tuple(sorted({call.dtypes()[0] for call in calls if call.dtypes()}))
