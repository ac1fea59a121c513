"""A run as JUnit XML: what fails, what is skipped, what passes with known findings; and the schema that CI systems check."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest

from sweep import expect
from sweep.findings.finding import Result
from sweep.findings.reason import Reason, ReasonKind
from sweep.report import renderers
from sweep.report.model import Row, Run, RunInfo
from tests.test_report import BAD, GOOD, verdict_of

BASELINE = expect.text_of_result(BAD)
NO_KERNEL = Result("", reason=Reason(ReasonKind.NO_KERNEL, "cpu"))

#: Element -> its required attributes, its other attributes, and the elements that it may hold: Jenkins's ``junit-10.xsd``.
SCHEMA = {
    "testsuites": ("", "name time tests failures errors", "testsuite"),
    "testsuite": ("name tests failures errors", "time skipped timestamp hostname id package", "testcase properties system-out"),
    "testcase": ("name", "time classname", "skipped error failure system-out system-err"),
    "skipped": ("", "type message", ""),
    "error": ("", "type message", ""),
    "failure": ("", "type message", ""),
    "system-out": ("", "", ""),
}


def rendered(*rows, infos=None):
    """The root of the XML of a run of these rows."""
    text = renderers.render("junit", Run(infos or (RunInfo("one", seconds=1.5),), rows))
    root = ElementTree.fromstring(text)
    check(root)
    return root


def check(element):
    required, others, children = (names.split() for names in SCHEMA[element.tag])
    assert set(required) <= set(element.keys()) <= {*required, *others}, element.tag
    assert {child.tag for child in element} <= set(children)
    assert re.fullmatch(r"\d*\.\d*", element.get("time", "0.0"))
    for child in element:
        check(child)


def row(name, result, expected, **changes):
    return dataclasses.replace(Row(name, "one", verdict_of(result, expected, name)), **changes)


def case(root, name):
    [found] = [case for case in root.iter("testcase") if case.get("name") == name]
    return found


def test_an_overload_is_a_case_in_the_suite_of_its_namespace():
    agrees = row("aten.abs.default", dataclasses.replace(GOOD, seconds=0.25), expect.AGREE_TEXT)
    root = rendered(agrees, row("aten.cos.default", BAD, BASELINE), row("prims.sin.default", NO_KERNEL, "x\n"))
    assert [(s.get("name"), s.get("tests"), s.get("failures"), s.get("skipped")) for s in root] == [
        ("runs", "1", "0", "0"),
        ("aten", "2", "0", "0"),
        ("prims", "1", "1", "0"),
    ]
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {"tests": "4", "failures": "1", "errors": "0"}
    plain = case(root, "aten.abs.default")
    assert (plain.get("classname"), plain.get("time"), list(plain)) == ("aten", "0.250", [])


def test_what_the_baseline_knows_passes_with_its_findings_and_notes():
    root = rendered(row("aten.abs.default", BAD, BASELINE, notes=("note: why",)))
    [output] = case(root, "aten.abs.default")
    assert output.text == f"known-bad\n{BASELINE}\nnote: why"


@pytest.mark.parametrize(
    ("result", "expected", "kind", "message", "line"),
    [
        (BAD, expect.AGREE_TEXT, "new", "agrees -> fake: output 0 dtype", "+ fake: output 0 dtype: 1 of 2 calls"),
        (GOOD, BASELINE, "gone", "fake: output 0 dtype -> agrees", "- fake: output 0 dtype: 1 of 2 calls"),
        (NO_KERNEL, expect.AGREE_TEXT, "new", "agrees -> not called: no kernel for cpu", "+ not called: no kernel for cpu"),
        (
            dataclasses.replace(BAD, rerun=GOOD),
            BASELINE,
            "flaky",
            "fake: output 0 dtype -> fake: output 0 dtype, then agrees",
            "- fake: output 0 dtype: 1 of 2 calls",
        ),
    ],
)
def test_what_is_unexpected_fails_with_the_difference(result, expected, kind, message, line):
    failure = case(rendered(row("aten.abs.default", result, expected)), "aten.abs.default").find("failure")
    assert (failure.get("type"), failure.get("message")) == (kind, message)
    assert line in failure.text


def test_what_was_accepted_passes():
    root = rendered(row("aten.abs.default", BAD, expect.AGREE_TEXT, accepted=True))
    assert root.get("failures") == "0"


def test_what_is_not_called_is_skipped_with_the_reason():
    [skipped] = case(rendered(row("aten.abs.default", NO_KERNEL, "not called: no kernel for cpu\n")), "aten.abs.default")
    assert (skipped.tag, skipped.get("message")) == ("skipped", "no kernel for cpu")


def test_an_item_that_was_not_run_is_an_error():
    root = rendered(Row("aten.abs.default", "one", not_run="worker gw0 crashed"))
    [error] = case(root, "aten.abs.default")
    assert (error.tag, error.get("message"), root.get("errors")) == ("error", "worker gw0 crashed", "1")


@pytest.mark.parametrize(
    ("info", "tag", "kind"),
    [
        (RunInfo("one", expected=False, notes=("no expect files",)), "error", "no baseline"),
        (RunInfo("one", expired=True, notes=("note expired: x",)), "failure", "expired"),
    ],
)
def test_a_run_that_fails_though_no_overload_does_is_a_case_of_its_own(info, tag, kind):
    root = rendered(row("aten.abs.default", BAD, BASELINE), infos=(info,))
    assert case(root, "one").find(tag).get("type") == kind
    assert case(root, "one").find(tag).text == info.notes[0]


def test_text_that_is_not_ascii_or_not_xml_is_kept_readable():
    root = rendered(Row("aten.abs.default", "one", not_run="\x1b[31mé\x00 < &\ud800"))
    assert case(root, "aten.abs.default").find("error").text == "\\x1b[31mé\\x00 < &\\ud800"
