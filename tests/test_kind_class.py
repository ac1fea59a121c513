"""The class of a finding's kind, which is read from how an expect file phrases it, for every kind that there is."""

from __future__ import annotations

import pytest

from sweep import expect
from sweep.expect.known import Standing
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.kind import Access, Difference, Edge, LostValidation, OutOfBoundsAccess, SchemaFault, StateChange
from sweep.findings.kind_class import KindClass, kind_class


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        *((each, KindClass.OUTPUTS) for each in (Difference.OUTPUTS, Difference.CONTAINER)),
        *((each, KindClass.LAYOUT) for each in (Difference.LAYOUT, Difference.CONJ, Difference.NEG)),
        *((each, KindClass.TYPE) for each in (Difference.TYPE, Difference.DEVICE)),
        *((each, KindClass(each.value)) for each in (Difference.SIZE, Difference.DTYPE, Difference.RANK, Difference.ALIASING)),
        *((each, KindClass.SCHEMA) for each in SchemaFault),
        (StateChange(("threads",)), KindClass.STATE),
        (LostValidation("TypeError"), KindClass.LOST_VALIDATION),
        (OutOfBoundsAccess(Access.READ, None), KindClass.BOUNDS),
        (OutOfBoundsAccess(Access.WRITE, Edge.PAST), KindClass.BOUNDS),
        (Ending(EndingKind.RAISED, "TypeError", "fake"), KindClass.RAISES),
        (Ending(EndingKind.INTERNAL_ASSERT, "", "real"), KindClass.INTERNAL_ASSERT),
        (Ending(EndingKind.UNSUPPORTED, "TypeError", "fake"), KindClass.UNSUPPORTED),
        (Ending(EndingKind.EXIT, "3"), KindClass.CRASH),
        (Ending(EndingKind.OVERLOAD_TIMEOUT), KindClass.TIMEOUT),
        (Ending(EndingKind.TIMEOUT), KindClass.TIMEOUT),
        (Ending(EndingKind.OUT_OF_MEMORY), KindClass.MEMORY),
    ],
)
def test_the_class_of_a_kind_is_read_from_its_text_at_any_place(kind, wanted):
    for text in (str(kind), f"output 0[] {kind}", f"inside aten.clone.default {kind}", f"{kind} argument out"):
        if not text.endswith("argument out") or isinstance(kind, OutOfBoundsAccess):
            assert kind_class(text) is wanted, text


def test_a_refusal_inside_a_call_is_one():
    what = "inside aten.clone.default unsupported, fake raises RuntimeError"
    known = expect.read_section(
        "aten.abs.default", f"functionalize: {what}: 1 of 1 call, qint8\n  torch.ops.aten.abs.default()\n"
    )
    assert known.findings[0].is_refusal
    assert known.standing is Standing.UNSUPPORTED
