"""Renders a run as JUnit XML, which CI systems show: a test suite per namespace, a test case per overload."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from itertools import groupby
from xml.etree import ElementTree

from sweep import expect
from sweep.findings.finding import Status
from sweep.report.model import Row, Run, RunInfo

#: Name of the test suite that has a test case per run: what a run says about itself fails there.
RUNS = "runs"

#: What XML 1.0 cannot hold, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(run: Run) -> str:
    """A run as JUnit XML in ASCII.

    A result that is not what the baseline says, or that is flaky, is a failure with the difference. An overload that was not run
    is an error, one that is not called is skipped with the reason, and one with findings that the baseline has passes, with
    these as its output.
    """
    differing = {row.overload for row in run.differing()}
    suites = [_suite(RUNS, [_run_case(info) for info in run.infos])]
    for namespace, rows in groupby(run.rows, key=lambda row: row.namespace):
        suites.append(_suite(namespace, [_case(row, differs=row.overload in differing) for row in rows]))
    root = ElementTree.Element("testsuites", name="operator sweep")
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.attrib[count]) for suite in suites)))
    root.set("time", f"{sum(info.seconds for info in run.infos):.3f}")
    root.extend(suites)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True).decode() + "\n"


def _suite(name: str, cases: Iterable[ElementTree.Element]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", name=_printable(name))
    suite.extend(cases)
    counted = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error", "skipped": "testcase/skipped"}
    for count, path in counted.items():
        suite.set(count, str(len(suite.findall(path))))
    suite.set("time", f"{sum(float(case.attrib['time']) for case in suite):.3f}")
    return suite


def _run_case(info: RunInfo) -> ElementTree.Element:
    """The test case of a run as a whole; it fails where the run did, though no overload may have."""
    case = _test_case(RUNS, info.id, info.seconds)
    if not info.expected and not info.accepted:
        _add(case, "error", "\n".join(info.notes), type="no baseline", message="there are no expect files to compare with")
    if info.expired:
        _add(case, "failure", "\n".join(info.notes), type="expired", message="notes have expired")
    torch = f"torch {info.torch} git {info.git}, {info.device}, {info.features}"
    _add(case, "system-out", "\n".join([torch, f"crossrefs {' '.join(info.crossrefs)}", *info.notes]))
    return case


def _case(row: Row, *, differs: bool) -> ElementTree.Element:
    """The test case of an overload."""
    verdict = row.verdict
    case = _test_case(row.namespace, row.overload, verdict.result.seconds if verdict else 0.0)
    if verdict is None:
        _add(case, "error", row.not_run, type="not run", message=row.not_run)
        return case
    result = verdict.result
    if differs or result.status is Status.FLAKY:
        then = expect.text_of_result(result.rerun) if result.rerun is not None else verdict.actual
        before = verdict.actual if result.rerun is not None else verdict.expected
        text = "".join(difflib.ndiff(before.splitlines(keepends=True), then.splitlines(keepends=True)))
        _add(case, "failure", text, type=str(row.change), message=verdict.transition)
    elif result.status is Status.NOT_CALLED:
        _add(case, "skipped", "", type="not called", message=str(result.reason))
    if result.findings or row.notes:
        _add(case, "system-out", "\n".join([f"{result.status.value}\n{verdict.actual}", *row.notes]))
    return case


def _test_case(classname: str, name: str, seconds: float) -> ElementTree.Element:
    names = {"classname": _printable(classname), "name": _printable(name)}
    return ElementTree.Element("testcase", {**names, "time": f"{seconds:.3f}"})


def _add(case: ElementTree.Element, tag: str, text: str, **attributes: str) -> None:
    element = ElementTree.SubElement(case, tag, {name: _printable(value) for name, value in attributes.items()})
    element.text = _printable(text)


def _printable(text: str) -> str:
    r"""A text without what XML cannot hold.

    >>> _printable("a\x1b[0m\n")
    'a\\x1b[0m\n'
    """
    return _NOT_XML.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
