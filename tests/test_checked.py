"""What ``check`` says of a text: a section per call, a total, and the exit status that follows from them."""

from __future__ import annotations

import pytest

from sweep.commands.check import exit_status
from sweep.execution.explanation import Explanation, Side
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import CALL, WHOLE, Finding, Result
from sweep.findings.kind import Difference
from sweep.findings.reason import Reason, ReasonKind
from sweep.recording.evaluation import DispatchedCall, Evaluation, RaisedByText, UncheckedCall
from sweep.report.checked import CheckedCall, as_text, stops, total

NAME = "aten.abs.default"
DISPATCHED = DispatchedCall(NAME, "folder", "torch.ops.aten.abs.default(x)")


def finding(kind, crossref="fake"):
    return Finding(crossref, WHOLE, kind, None, "a", "b", ("fake", "real"), (), 1, DISPATCHED.text)


def checked(*findings, compared=("fake", "schema"), **fields):
    return CheckedCall(DISPATCHED, Result(NAME, calls=1, findings=findings, compared=dict.fromkeys(compared, 1)), **fields)


AGREES = checked()
DISAGREES = checked(finding(Difference.DTYPE))
REFUSAL = finding(Ending(EndingKind.UNSUPPORTED, "X", "fake"))
UNSUPPORTED = checked(REFUSAL)
NOT_COMPARED = CheckedCall(DISPATCHED, Result(NAME, reason=Reason(ReasonKind.EXEMPT, "why")))
RAISED = RaisedByText("NameError", "name 'x' is not defined\nand more", 2)
EXPLANATION = {"fake": Side("fake", "RuntimeError: no", raised=True), "symbolic": Side("symbolic", "Error: no", raised=True)}


@pytest.mark.parametrize(
    ("status", "calls", "fields"),
    [
        (0, [AGREES], {}),
        (0, [AGREES, NOT_COMPARED], {}),
        (1, [NOT_COMPARED], {}),
        (1, [AGREES, DISAGREES], {}),
        (0, [UNSUPPORTED], {}),
        (1, [checked(REFUSAL, compared=["fake"])], {}),
        (1, [UNSUPPORTED, DISAGREES], {}),
        (2, [AGREES], {"raised": RAISED}),
        (1, [AGREES, DISAGREES], {"raised": RAISED}),
        (1, [AGREES], {"ending": Ending(EndingKind.TIMEOUT)}),
    ],
)
def test_the_exit_status_is_0_only_for_a_text_that_came_to_its_end_and_agrees(status, calls, fields):
    assert exit_status(Evaluation([call.dispatched for call in calls], **fields), calls) == status


def test_a_call_that_agrees_takes_a_line():
    assert as_text(AGREES, is_alone=False) == "[aten.abs.default] agrees"
    assert as_text(NOT_COMPARED, is_alone=False) == "[aten.abs.default] not called: exempt: why"
    assert as_text(AGREES, is_alone=True) == "agrees"


def test_beside_other_calls_only_the_messages_of_what_was_found_are_shown():
    ended = finding(Ending(EndingKind.RAISED, "RuntimeError", "fake"))
    call = checked(ended, explanation=Explanation("", Side("real", "float32"), EXPLANATION))
    section = as_text(call, is_alone=False).splitlines()
    assert section[0] == "[aten.abs.default]"
    assert section[1].startswith("fake: fake raises RuntimeError: 1 of 1 call")
    assert section[-1] == "fake: fake raises RuntimeError: no"
    assert not any(line.startswith(("real ", "symbolic")) for line in section)
    assert as_text(call, is_alone=True).splitlines()[-2:] == [section[-1], "symbolic: symbolic raises Error: no"]


def test_of_a_refused_call_every_prediction_is_shown():
    ended = finding(Ending(EndingKind.RAISED, "IndexError", "real"), CALL)
    call = checked(ended, explanation=Explanation("", Side("real", "IndexError: no", raised=True), EXPLANATION))
    assert as_text(call, is_alone=False).splitlines()[-3:] == [
        "real raises IndexError: no",
        "fake: fake raises RuntimeError: no",
        "symbolic: symbolic raises Error: no",
    ]


def test_what_stopped_the_text_and_what_was_not_checked_is_named():
    evaluation = Evaluation(
        [DISPATCHED] * 2, [UncheckedCall("zz.f.default", "why")], 3, RAISED, ending=Ending(EndingKind.CRASH, "SIGSEGV")
    )
    assert list(stops(evaluation)) == [
        "the text ends its process: crash SIGSEGV",
        "the text raises in line 2 NameError: name 'x' is not defined",
        "    and more",
    ]
    assert list(total(evaluation, [DISAGREES, UNSUPPORTED, NOT_COMPARED])) == [
        "not checked: zz.f.default: why",
        "not checked: 3 more calls, which differ from others only in values",
        "3 calls of 1 overload: 1 disagrees, 1 unsupported, 1 not compared",
    ]
    assert list(total(Evaluation([DISPATCHED]), [UNSUPPORTED])) == ["1 call of 1 overload: none disagrees, 1 unsupported"]
    assert list(total(Evaluation([DISPATCHED]), [AGREES])) == ["1 call of 1 overload: all agree"]
