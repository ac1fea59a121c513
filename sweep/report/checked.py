"""What ``check`` says of the calls of a text: as text, as JSON. Runs in the parent; no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sweep import expect
from sweep.execution.explanation import Explanation
from sweep.findings.finding import Result, Status
from sweep.recording.evaluation import DispatchedCall, Evaluation
from sweep.report.run_jsonl import result_to_json


@dataclass(frozen=True)
class CheckedCall:
    """What came of checking one call.

    Attributes:
        dispatched: the call.
        result: what the crossrefs say.
        explanation: what the real call did and what each crossref predicts, with full messages; ``None`` if the call agrees.
        ended: why there is no explanation; else empty.
    """

    dispatched: DispatchedCall
    result: Result
    explanation: Explanation | None = None
    ended: str = ""

    @property
    def disagrees(self) -> bool:
        """Whether a crossref contradicts the real call; a refusal by design does not."""
        return self.result.status in (Status.KNOWN_BAD, Status.FLAKY)

    @property
    def was_compared(self) -> bool:
        """Whether a crossref compared the call, rather than refusing it or not applying to it."""
        refusing = {finding.crossref for finding in self.result.findings if finding.is_refusal}
        return any(calls and name not in refusing for name, calls in self.result.compared.items())


def as_text(call: CheckedCall, *, is_alone: bool) -> str:
    """One call as an expect file has it; below a header if it is not the only one."""
    lines = expect.text_of_result(call.result).splitlines()
    if call.explanation is not None:
        is_whole = is_alone or call.explanation.actual.raised
        lines += call.explanation.lines(None if is_whole else {finding.author for finding in call.result.findings})
    if call.ended:
        lines.append(call.ended)
    if is_alone:
        return "\n".join(lines)
    header = f"[{call.dispatched.overload}]"
    return "\n".join([header, *lines] if call.result.findings else [f"{header} {lines[0]}"])


def stops(evaluation: Evaluation) -> Iterator[str]:
    """Why a text did not come to its end, with the whole message."""
    if evaluation.ending:
        yield f"the text ends its process: {evaluation.ending}"
    if evaluation.raised:
        raised = evaluation.raised
        at = f" in line {raised.line}" if raised.line > 1 else ""
        first, *rest = raised.message.splitlines() or [""]
        yield f"the text raises{at} {raised.class_name}: {first}"
        yield from (f"    {line}" for line in rest)


def total(evaluation: Evaluation, checked: Sequence[CheckedCall]) -> Iterator[str]:
    """What was not checked, a line each, and how many calls disagree."""
    yield from (f"not checked: {unchecked}" for unchecked in evaluation.unchecked)
    if evaluation.repeated:
        yield f"not checked: {evaluation.repeated} more calls, which differ from others only in values"
    overloads = len({call.dispatched.overload for call in checked})
    disagree = sum(call.disagrees for call in checked)
    others = [
        f"{count} {word}"
        for status, word in ((Status.UNSUPPORTED, "unsupported"), (Status.NOT_CALLED, "not compared"))
        if (count := sum(call.result.status is status for call in checked))
    ]
    agreement = "none disagrees" if others else "all agree"
    verdict = f"{disagree} disagree{'s' if disagree == 1 else ''}" if disagree else agreement
    calls = f"{len(checked)} call{'s' if len(checked) != 1 else ''} of {overloads} overload{'s' if overloads != 1 else ''}"
    yield f"{calls}: {', '.join([verdict, *others])}"


def as_json(call: CheckedCall) -> dict[str, Any]:
    """One call as JSON."""
    explanation = None
    if call.explanation is not None:
        predictions = {name: str(side) for name, side in call.explanation.predictions.items()}
        explanation = {"real": str(call.explanation.actual), **predictions}
    head = {"type": "call", "call": call.dispatched.text or None}
    return {**head, **result_to_json(call.result), "explanation": explanation, "ended": call.ended}


def summary(evaluation: Evaluation, checked: Sequence[CheckedCall]) -> dict[str, Any]:
    """What came of the text as a whole as JSON."""
    return {
        "type": "text",
        "calls": len(checked),
        "disagree": sum(call.disagrees for call in checked),
        "unchecked": [dataclasses.asdict(unchecked) for unchecked in evaluation.unchecked],
        "repeated": evaluation.repeated,
        "raised": None if evaluation.raised is None else dataclasses.asdict(evaluation.raised),
        "ending": str(evaluation.ending or ""),
    }
