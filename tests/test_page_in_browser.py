"""The HTML page in a real browser, opened from disk: searching, filtering, opening, copying, keys, colors, a phone's width."""

from __future__ import annotations

import re
import shutil
import time

import pytest

from sweep import expect
from sweep.causes.answer import Function, Role
from sweep.causes.cause import Cause, Causes
from sweep.page import document, model
from sweep.repro import script
from tests import browser
from tests.test_page import NASTY
from tests.whole_runs import ROOT

MAX_UNPOOL = "aten.max_unpool2d.default"

#: A function that is said to be the cause of some findings.
CAUSE = Function("", 0, "at::meta::max_unpool2d", Role.CPP)

#: The rows that are in the document: name and status.
ROWS = "[...document.querySelectorAll('#overloads .rows:not([hidden]) .row')].map((r) => [r.querySelector('.name').textContent, r.querySelector('.status').textContent])"  # noqa: E501

#: The row of an overload that is open.
OPENED = "document.querySelector('#overloads [aria-expanded=true]')?.querySelector('.name').textContent"

pytestmark = pytest.mark.skipif(browser.find() is None, reason=f"there is no browser: none of {', '.join(browser.NAMES)}")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """A page of two torches, between which one overload is fixed, with notes that are not to be taken for markup."""
    folder = tmp_path_factory.mktemp("page")
    for release in ("2.12", "2.13"):
        shutil.copytree(ROOT / "results" / "2.13", folder / release)
    path = folder / "2.13" / "cpu" / "aten.expect"
    file = expect.parse(path.read_text(), "aten", str(path))
    file.put("aten.glu_backward.default", "agrees\n")
    path.write_text(file.render())
    (folder / "notes.toml").write_text(
        f"[{MAX_UNPOOL}]\nreason = '''{NASTY}'''\nissue = 'https://github.com/pytorch/pytorch/issues/1'\n"
        f"[{MAX_UNPOOL}.'fake: output 0 strides[1]']\nreason = 'zebra'\n"
    )
    explained = ["fake: output 0 strides[1]", "decomposition: output 0 strides[1]"]
    causes = {"2.13/cpu": Causes((Cause(CAUSE, {MAX_UNPOOL: dict.fromkeys(explained, "")}),))}
    (folder / "page.html").write_text(document.render(model.read(folder, causes=causes)))
    return folder / "page.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser for all tests of this module."""
    made = browser.Browser(browser.find(), tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def page(chromium, html):
    """The page, newly opened in a window of a desktop; at the end nothing may have failed in it."""
    chromium.look()
    chromium.open(html.as_uri())
    yield chromium
    assert chromium.errors() == []


def until(page, expression, wanted=True):
    """Waits for the value of an expression."""
    end = time.monotonic() + 20
    while (value := page.run(expression)) != wanted:
        assert time.monotonic() < end, f"{expression} is {value!r}, not {wanted!r}"
        time.sleep(0.02)


def show_all(page, wanted):
    """Shows the rows of all overloads, which is a number."""
    page.run("document.querySelector('#overloads .more').click()")
    until(page, "document.querySelectorAll('#overloads .rows:not([hidden]) .row').length", wanted)
    assert page.run("document.querySelector('#overloads .more').hidden")


def finding(title):
    """What the checked-in files say about ``MAX_UNPOOL``, and their head."""
    file = expect.load(ROOT / "results" / "2.13" / "cpu")["aten"]
    return next(each for each in file.known(MAX_UNPOOL).findings if each.title == title), file.head[1]


def copied(page, button):
    """What is on the clipboard after a click on a button of the open row's second finding, ``fake``."""
    page.run("document.getElementById('announcement').textContent = ''")
    page.run(
        "[...document.querySelectorAll('.finding')[1].querySelectorAll('button')]"
        f".find((each) => each.textContent === '{button}').click()"
    )
    until(page, "document.getElementById('announcement').textContent", "Copied")
    return page.run("navigator.clipboard.readText()")


# --- the table ---------------------------------------------------------------------------------------------------------


def test_all_overloads_are_there_and_the_largest_namespace_first(page):
    numbers = re.fullmatch(r"([\d,]+) of ([\d,]+) overloads", page.run("document.getElementById('matches').textContent"))
    assert numbers[1] == numbers[2]
    assert page.run(ROWS)[0][0].startswith("aten.")
    show_all(page, int(numbers[1].replace(",", "")))


def test_typing_searches_and_names_come_before_what_only_mentions_them(page):
    page.press("/")
    page.type("max_UNPOOL2d out")
    names = [name for name, _ in page.run(ROWS)]
    assert names[0] == "aten.max_unpool2d.out"
    page.press("Escape")
    page.type("zebra")  # which only a note says
    assert [name for name, _ in page.run(ROWS)] == [MAX_UNPOOL]
    page.type("x")
    assert page.run(ROWS) == []
    assert page.run("document.getElementById('matches').textContent").startswith("0 of ")


def test_filters_narrow_each_other_down_and_clear(page):
    everything = page.run("document.getElementById('matches').textContent")
    page.run(
        "const form = document.getElementById('filters'); form.elements.crossref.value = 'fake[cache]';"
        "form.elements.namespace.value = 'quantized'; form.elements.crossref.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    rows = page.run(ROWS)
    assert rows
    assert {name.partition(".")[0] for name, _ in rows} == {"quantized"}
    page.run("document.querySelector('input[name=status][value=agrees]').click()")
    assert page.run(ROWS) == []
    page.run("document.querySelector('#filters [type=reset]').click()")
    until(page, "document.getElementById('matches').textContent", everything)
    assert page.run("document.querySelector('input[name=status]:checked').value") == ""


def test_the_first_result_is_there_within_100_ms_of_a_key(page):
    """In CPU time: others may be using the machine. All rows are in the document at first."""
    show_all(
        page, page.run("JSON.parse(document.getElementById('data').textContent).folders[0].statuses.filter((s) => s >= 0).length")
    )
    page.press("/")
    taken = []
    for key in "conv":
        before = page.seconds()
        page.press(key)
        page.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # it has been painted
        taken.append(page.seconds() - before)
        assert page.run(ROWS)
    assert max(taken) < 0.1, taken


def test_a_link_in_a_picture_filters_and_an_address_can_be_shared(page, html):
    page.run("document.querySelector('#findings a[href=\"#kind=aliasing\"]').click()")
    until(page, "document.querySelector('#filters [name=kind]').value", "aliasing")
    shared = page.run("document.getElementById('matches').textContent")
    page.open(f"{html.as_uri()}#kind=aliasing&status=known-bad")
    assert page.run("document.getElementById('matches').textContent") == shared
    assert {status for _, status in page.run(ROWS)} == {"known-bad"}
    page.open(f"{html.as_uri()}#open=aten.there_is_none.default&results=nowhere")
    assert page.run(ROWS) == []
    assert page.run("document.querySelector('#filters [name=results]').value") == "2.13/cpu"


def test_a_cause_leads_to_the_overloads_that_it_explains_and_back(page):
    page.run("document.querySelector('#causes th a').click()")
    until(page, "document.querySelector('#filters [name=cause]').value", str(CAUSE))
    assert [name for name, _ in page.run(ROWS)] == [MAX_UNPOOL]
    page.run("document.querySelector('#overload-list button').click()")
    texts = page.run("[...document.querySelectorAll('.finding')].map((f) => f.textContent)")
    assert [f"Cause: {CAUSE}" in text for text in texts] == [True, True, False]


# --- a row -------------------------------------------------------------------------------------------------------------


def test_an_opened_row_shows_findings_notes_and_other_torches(page, html):
    page.open(f"{html.as_uri()}#open={MAX_UNPOOL}")
    assert page.run(OPENED) == MAX_UNPOOL
    known, _ = finding("fake: output 0 strides[1]")
    assert page.run("document.querySelectorAll('.finding h4')[1].textContent") == known.title
    assert page.run("document.querySelectorAll('.finding pre')[1].textContent") == known.example
    sides = page.run("[...document.querySelectorAll('.finding')[1].querySelectorAll('dt, dd')].map((e) => e.textContent)")
    assert sides == [text for side in known.sides for text in side]
    assert page.run("document.querySelector('.note').textContent").startswith(f"Note {NASTY}")
    assert page.run("document.querySelector('.note a').href") == "https://github.com/pytorch/pytorch/issues/1"
    assert page.run("document.querySelectorAll('.finding')[1].querySelector('.note').textContent") == "Note zebra"
    assert page.run("document.querySelector('.elsewhere').textContent") == "2.12/cpu: known-bad"
    assert page.run("document.title") == "Operator sweep: 2.13/cpu, 2.12/cpu"
    assert page.run("document.querySelector('.nasty')") is None


def test_buttons_copy_the_call_the_command_and_the_very_script(page, html):
    page.open(f"{html.as_uri()}#open={MAX_UNPOOL}")
    known, head = finding("fake: output 0 strides[1]")
    assert copied(page, "Copy call") == known.example
    assert copied(page, "Copy command") == f"python -m sweep repro {MAX_UNPOOL} --finding 1 --torch 2.13/cpu"
    assert copied(page, "Copy script") == script.script_of(MAX_UNPOOL, known, head)
    page.run("document.querySelectorAll('.finding')[1].querySelector('summary').click()")
    until(
        page,
        "document.querySelectorAll('.finding')[1].querySelector('details pre')?.textContent",
        script.script_of(MAX_UNPOOL, known, head),
    )


def test_copying_works_without_the_new_interface_and_a_failure_is_said(page, html):
    page.open(f"{html.as_uri()}#open={MAX_UNPOOL}")
    page.run("navigator.clipboard.writeText = async () => { throw new Error('not here') }")
    assert copied(page, "Copy call") == finding("fake: output 0 strides[1]")[0].example
    page.run("document.execCommand = () => false")
    page.run("document.querySelectorAll('.finding .copy')[0].click()")
    until(page, "document.getElementById('announcement').textContent.startsWith('Not copied: ')")


def test_everything_works_by_keyboard(page):
    page.press("/")
    page.type("max_unpool2d")
    page.press("ArrowDown", "ArrowDown", "ArrowUp", "Enter")
    assert page.run(OPENED) == MAX_UNPOOL
    page.press("Tab", "Tab")
    assert page.run("document.activeElement.closest('.finding') !== null")
    page.press("Escape")
    assert page.run(OPENED) is None
    assert page.run("document.activeElement.querySelector('.name').textContent") == MAX_UNPOOL
    page.press("ArrowUp")
    assert page.run("document.activeElement.id") == "search"
    page.press("Escape")
    assert page.run("document.activeElement.value") == ""


# --- the other sections ------------------------------------------------------------------------------------------------


def test_operators_are_listed_by_device_and_those_that_differ_can_be_selected(page):
    page.run("document.getElementById('devices').scrollIntoView()")
    until(page, "document.querySelectorAll('#operator-list .row').length", 100)
    page.run("document.getElementById('differing').click()")
    assert page.run("[...document.querySelectorAll('#operator-list .row')].map((r) => r.textContent)") == ["aten.glu_backward"]
    labels = page.run("[...document.querySelectorAll('#operator-list [role=img]')].map((e) => e.getAttribute('aria-label'))")
    assert labels == ["1 agrees, 1 known-bad", "2 known-bad"]


def test_changes_are_listed_by_kind(page):
    rows = "[...document.querySelectorAll('#change-list > .row')].map((r) => r.querySelector('.name').textContent)"
    assert page.run(rows) == ["aten.glu_backward.default"]
    assert page.run("document.querySelector('#change-list ul li').textContent") == "known-bad -> agrees"
    page.run("document.querySelector('#change-list a').click()")
    until(page, OPENED, "aten.glu_backward.default")


# --- looks -------------------------------------------------------------------------------------------------------------


def luminance(color):
    """The relative luminance of a color as WCAG defines it."""
    channels = [int(each) / 255 for each in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_text_and_marks_stand_out_in_both_color_schemes(page, html, scheme, is_dark):
    page.look(scheme=scheme)
    page.open(f"{html.as_uri()}#open={MAX_UNPOOL}")
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) < 0.2) is is_dark
    for element in ("body", ".lead", "tbody a", ".finding h4", ".extent", "dt", ".pills small", "summary"):
        color = page.run(f"getComputedStyle(document.querySelector('{element}')).color")
        assert contrast(color, paper) >= 4.5, element
    for status in ("agrees", "known-bad", "unsupported"):
        color = page.run(f"getComputedStyle(document.querySelector('.mark.{status}')).backgroundColor")
        assert contrast(color, paper) >= 3, status


def test_nothing_is_wider_than_a_phone(page, html):
    page.look(width=360, height=740, touch=True)
    page.open(f"{html.as_uri()}#open={MAX_UNPOOL}")
    page.run("document.getElementById('devices').scrollIntoView()")
    until(page, "document.querySelectorAll('#operator-list .row').length", 100)
    assert page.run("document.documentElement.scrollWidth") == 360
