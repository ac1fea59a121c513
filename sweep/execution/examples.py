"""Examples of findings: a small call that shows a finding, as Python that shows it when pasted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from sweep.calls.call import Call
from sweep.calls.parsing import typed_text
from sweep.calls.printing import FILLS, expression, written
from sweep.crossref.common.protocol import CrossRef
from sweep.execution.evaluation import Evaluator, Shown
from sweep.findings.finding import Claim, Finding, Key, Mismatch, Population
from sweep.operators.libraries import imported
from sweep.shrinking.shrinker import Shrinker
from sweep.trials import Effort, Trials

#: How many of the calls that show a finding are tried, smallest first, for one that can be pasted.
_TRIED = 4

#: How many smaller calls are evaluated for one example, by the name of the crossref, where one takes long; and for all others.
_ATTEMPTS_OF = {"symbolic": 12, "unbacked": 12}
_ATTEMPTS = 40

#: The labels of a finding that no crossref is the author of.
CALL_LABELS = ("fake", "real")


class Examples:
    """Turns observed mismatches into findings with examples.

    Args:
        op: the overload.
        calls: its recorded calls.
        device: the device under test.
        evaluator: evaluates printed calls.
        trials: which of them to evaluate.
    """

    def __init__(
        self, op: torch._ops.OpOverload, calls: Sequence[Call], device: str, evaluator: Evaluator, trials: Trials
    ) -> None:
        self._op, self._calls, self._device, self._evaluator, self._trials = op, calls, device, evaluator, trials

    def finding(self, key: Key, by_position: Mapping[int, Mismatch], crossref: CrossRef | None) -> Finding:
        """The finding over all calls that show it.

        Args:
            key: what the mismatches have in common.
            by_position: position of a call -> its mismatch.
            crossref: the crossref that is the author of the finding; ``None`` for a finding of the call itself.
        """
        calls = self._calls
        positions = sorted(by_position, key=lambda at: (calls[at].number_of_elements(), len(calls[at].key()), at))
        text, mismatch = "", by_position[positions[0]]
        if self._trials.effort > Effort.UNTRIED and crossref is not None:
            is_shrunk = all(m.claim is Claim.SHOWN for m in by_position.values())
            text, mismatch = self._tried(key, positions, crossref, is_shrunk=is_shrunk) or (text, mismatch)
        labels = crossref.labels_of(key.form) if crossref is not None else CALL_LABELS
        population = crossref.population if crossref is not None else Population.MADE
        shown_by = [calls[at] for at in positions]
        example = text or untried(calls[positions[0]], positions[0], self._device)
        return finding_of(key, mismatch.predicted, mismatch.actual, labels, shown_by, example, population)

    def _tried(self, key: Key, positions: Sequence[int], crossref: CrossRef, *, is_shrunk: bool) -> tuple[str, Mismatch] | None:
        """A text that shows the finding when evaluated, with the mismatch that it shows.

        It is the example that the finding has already, or else the simplest text of the smallest recorded call, made smaller.
        """
        kept = self._trials.examples.get(key.title)
        shown = None if kept is None else self._evaluator.shown(key, kept, crossref)
        if kept is not None and shown is not None:
            return kept, shown.mismatch
        for at in positions[:_TRIED]:
            for fill in FILLS:
                text = expression(self._calls[at], self._device, fill)
                shown = None if text is None else self._evaluator.shown(key, text, crossref)
                if text is not None and shown is not None:
                    smaller = None
                    if is_shrunk and shown.is_reproducible and self._trials.effort is Effort.SHRUNK:
                        smaller = self._smaller(key, at, fill, crossref, shown)
                    text, shown = smaller or (text, shown)
                    return text, shown.mismatch
        return None

    def _smaller(self, key: Key, at: int, fill: str, crossref: CrossRef, shown: Shown) -> tuple[str, Shown] | None:
        """A smaller call than a recorded one that shows the same, in the same words where the real call refuses it.

        A kernel that does not check its sizes and options is led out of their memory by some smaller calls, and what it does then
        is chance. So the real call has to answer the same in other memory; of a call that never does nothing smaller is tried.
        """

        def evaluated(text: str) -> Shown | None:
            other = self._evaluator.shown(key, text, crossref)
            return other if other is not None and other.is_reproducible and other.refusal == shown.refusal else None

        attempts = _ATTEMPTS_OF.get(key.crossref, _ATTEMPTS)
        return Shrinker(self._op, self._calls[at], fill, self._device, evaluated, attempts).smallest()


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
