"""The HTML page of checked-in results, as text: what it holds, that nothing breaks out of it, and its size. No browser."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
import sys

import pytest

from sweep import expect
from sweep.causes.answer import Function, Role
from sweep.causes.cause import Cause, Causes
from sweep.errors import ReproError, UsageError
from sweep.expect.verdict import Verdict
from sweep.findings.finding import Result
from sweep.findings.reason import Reason, ReasonKind
from sweep.page import document, model
from sweep.page.encode import encode
from sweep.page.model import Status
from sweep.page.scripts import FIRST_MARKER, fields_of, filled, skeleton_of
from sweep.report import run_jsonl
from sweep.report.model import Row, Run, RunInfo
from sweep.repro import script
from tests.whole_runs import ROOT

RESULTS = ROOT / "results"

#: What would end a script, an attribute or a comment, or be an element, if it were not escaped.
NASTY = "</script><script>document.title = 'broken'</script><b class=\"nasty\">&amp;<!-- ' \\u003c"

FINDING = f"""\
fake: output 0 strides[0]: 1 of 2 calls, float32
  torch.ops.aten.abs.default("{NASTY}")
  fake: {NASTY}
  real: float32 (2,)
"""


class Reader(html.parser.HTMLParser):
    """Collects elements, the text of each script, and all other text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.text, self.data = [], [], "", None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.elements[-1:] and self.elements[-1][0] == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def results(folder, **files):
    """A folder of results; ``r2_13_cpu`` stands for ``2.13/cpu``, and a value maps overloads to texts."""
    for name, texts in files.items():
        major, minor, device = name.removeprefix("r").split("_")
        path = folder / f"{major}.{minor}" / device
        path.mkdir(parents=True)
        file = expect.ExpectFile(head=["a file of a test", f"torch {major}.{minor}.0, {device}"])
        for overload, text in texts.items():
            file.put(overload, text)
        (path / "aten.expect").write_text(file.render())
    return folder


@pytest.fixture(scope="module")
def two_torches(tmp_path_factory):
    """The checked-in results as those of two torches that have no number of calls and no example in common."""
    folder = tmp_path_factory.mktemp("results")
    shutil.copytree(RESULTS / "2.13", folder / "2.13")
    shutil.copytree(RESULTS / "2.13", folder / "2.12")
    for path in (folder / "2.12" / "cpu").glob("*.expect"):
        text = re.sub(r"^(  torch\.ops\.[\w.]+\()", r"\g<1>None, ", path.read_text(), flags=re.MULTILINE)
        path.write_text(re.sub(r": (\d+) of (\d+) ", r": \1 of 1\2 ", text))
    return folder


def test_two_torches_that_share_no_example_fit_in_5_megabytes(two_torches):
    page = model.read(two_torches)
    assert [folder.name for folder in page.folders] == ["2.13/cpu", "2.12/cpu"]
    assert 2e6 < len(document.render(page).encode()) < 5e6


def test_the_page_names_no_other_file_and_forbids_the_network(tmp_path):
    reader = Reader(document.render(model.read(results(tmp_path, r2_13_cpu={"aten.abs.default": FINDING}))))
    assert [tag for tag, _ in reader.elements if tag in ("link", "img", "iframe", "object")] == []
    assert [attributes for _, attributes in reader.elements if "src" in attributes] == []
    links = [attributes["href"] for tag, attributes in reader.elements if tag == "a"]
    assert links
    assert [link for link in links if not link.startswith("#")] == []
    [policy] = [a["content"] for tag, a in reader.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")


def test_links_to_sections_lead_to_sections(tmp_path):
    texts = {"aten.abs.default": FINDING}
    reader = Reader(document.render(model.read(results(tmp_path, r2_12_cpu=texts, r2_13_cpu=texts))))
    names = {attributes["id"] for _, attributes in reader.elements if "id" in attributes}
    links = [attributes["href"][1:] for tag, attributes in reader.elements if tag == "a"]
    assert {"overview", "overloads", "devices", "namespaces", "findings", "changes"} <= set(links)
    assert [link for link in links if "=" not in link and link not in names] == []


def test_nothing_that_people_or_torch_write_becomes_markup(tmp_path):
    folder = results(tmp_path, r2_13_cpu={"aten.abs.default": FINDING, "aten.add.Tensor": f"not called: {NASTY}\n"})
    note = f"[aten.abs.default]\nreason = '''{NASTY}'''\n"
    (folder / "notes.toml").write_text(note)
    cause = Cause(Function(NASTY, 1, NASTY, Role.PYTHON), {"aten.abs.default": {"fake: output 0 strides[0]": ""}})
    plain = Reader(document.render(model.read(results(tmp_path / "plain", r2_13_cpu={"aten.abs.default": "agrees\n"}))))
    reader = Reader(document.render(model.read(folder, causes={"2.13/cpu": Causes((cause,))})))
    assert len(reader.scripts) == len(plain.scripts) == 2
    assert [tag for tag, attributes in reader.elements if attributes.get("class") == "nasty"] == []
    assert reader.text.count(NASTY) == 2  # of the cause: function and file
    data = json.loads(reader.scripts[0])
    assert data["notes"][0][2] == NASTY
    assert f'"{NASTY}"' in data["strings"]  # the argument
    assert NASTY in data["strings"]  # the side


def test_statuses_are_those_of_the_sections(tmp_path):
    texts = {
        "aten.a.default": "agrees\n",
        "aten.b.default": FINDING.replace("abs", "b"),
        "aten.c.default": "not called: no kernel for cpu\n",
        "aten.d.default": "not called: no sample\n",
        "aten.e.default": FINDING.replace("abs", "e").replace("output 0 strides[0]", "unsupported, fake raises RuntimeError"),
    }
    page = model.read(results(tmp_path, r2_13_cpu=texts, r2_13_cuda={"aten.a.default": "agrees\n"}))
    data = json.loads(encode(page))
    assert [data["statuses"][at] for at in data["folders"][0]["statuses"]] == [
        "agrees",
        "known-bad",
        "no kernel",
        "not called",
        "unsupported",
    ]
    assert data["folders"][1]["statuses"] == [0, -1, -1, -1, -1]
    assert {status.value for status in Status} == set(data["statuses"])


def test_causes_are_ranked_and_without_any_there_is_no_section(tmp_path):
    folder = results(tmp_path, r2_13_cpu={"aten.abs.default": FINDING})
    assert "<h2>Causes</h2>" not in document.render(model.read(folder))
    title = "fake: output 0 strides[0]"
    few = Cause(Function("a.py", 1, "few", Role.PYTHON), {"aten.abs.default": {title: ""}})
    many = Cause(
        Function("", 0, "at::many", Role.CPP), {"aten.a.b": {title: ""}, "aten.c.d": {title: "", "fake: output 0 dtype": ""}}
    )
    page = model.read(folder, causes={"2.13/cpu": Causes((few, many))})
    text = document.render(page)
    assert "<h2>Causes</h2>" in text
    assert text.index(">at::many (C++)</a>") < text.index(">a.py:1 few</a>")
    assert ">strides 2, dtype 1<" in text
    [encoded] = json.loads(encode(page))["folders"]
    assert encoded["causes"] == ["at::many (C++)", "a.py:1 few"]
    assert encoded["causesOf"] == {"0": [1]}


def test_changes_are_between_consecutive_torches_of_a_device(tmp_path):
    agrees, differs = {"aten.abs.default": "agrees\n"}, {"aten.abs.default": FINDING}
    folder = results(tmp_path, r2_9_cpu=agrees, r2_10_cpu=differs, r2_11_cpu=agrees, r2_11_cuda=agrees)
    page = model.read(folder)
    assert [(each.old, each.new, len(each.differences)) for each in page.changes] == [
        ("2.10/cpu", "2.11/cpu", 1),
        ("2.9/cpu", "2.10/cpu", 1),
    ]
    [[kind, overload, lines]] = json.loads(encode(page))["changes"][0]["rows"]
    strings = json.loads(encode(page))["strings"]
    assert (strings[kind], overload, [strings[line] for line in lines]) == (
        "fixed",
        "aten.abs.default",
        ["known-bad -> agrees", "fake: output 0 strides[0] -> none"],
    )


# --- scripts -----------------------------------------------------------------------------------------------------------


def test_every_script_can_be_put_together_from_shared_parts():
    parts, scripts = set(), 0
    for file in expect.load(RESULTS / "2.13" / "cpu").values():
        for overload in sorted(file.sections):
            for finding in file.known(overload).findings:
                skeleton = skeleton_of(overload, finding, file.head[1])
                if isinstance(skeleton, ReproError):
                    continue
                parts |= set(skeleton)
                scripts += 1
                whole = script.script_of(overload, finding, file.head[1])
                assert filled(skeleton, fields_of(overload, finding, file.head[1])) == whole, finding.title
    assert scripts > 5000
    assert len(parts) < 500
    assert sum(map(len, parts)) < 250_000


def test_a_script_whose_arguments_need_escapes_is_kept_as_it_is(tmp_path):
    text = FINDING.replace(NASTY, 'a\\nb """')
    finding = expect.read_section("aten.abs.default", text).findings[0]
    skeleton = skeleton_of("aten.abs.default", finding, "head")
    assert filled(skeleton, fields_of("aten.abs.default", finding, "head")) == script.script_of(
        "aten.abs.default", finding, "head"
    )
    assert any(FIRST_MARKER in part for part in skeleton)


# --- the command -------------------------------------------------------------------------------------------------------


def page(*arguments):
    line = [sys.executable, "-m", "sweep", "page", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_page_writes_a_file_and_prints_its_path(tmp_path):
    done = page("--work-dir", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / 'report.html'}\n", "")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_page_shows_what_the_last_run_found_and_the_files_do_not_say(tmp_path):
    folder = results(tmp_path / "results", r2_13_cpu={"aten.abs.default": "agrees\n", "aten.add.Tensor": "agrees\n"})
    info = RunInfo("1", started="2026-01-31T12:00:00+00:00", results=str(folder / "2.13" / "cpu"))
    reason = Reason(ReasonKind.NO_SAMPLE)
    verdict = Verdict(Result("aten.abs.default", reason), "agrees\n", f"not called: {reason}\n")
    same = Verdict(Result("aten.add.Tensor", calls=1), "agrees\n", "agrees\n")
    rows = (Row("aten.abs.default", "1", verdict), Row("aten.add.Tensor", "1", same))
    file = tmp_path / "2.13" / "cpu" / run_jsonl.NAME
    run_jsonl.update(file, Run((info,), rows))
    _, _, runs = document.render(model.read(folder, tmp_path)).partition("<h2>Last runs</h2>")
    shown = Reader(runs.partition("</section>")[0])
    assert [attributes["href"] for tag, attributes in shown.elements if tag == "a"] == ["#open=aten.abs.default"]
    assert "agrees -> not called: no sample" in shown.text


def test_page_leaves_out_a_run_that_cannot_be_read(tmp_path):
    (tmp_path / "2.13" / "cpu").mkdir(parents=True)
    (tmp_path / "2.13" / "cpu" / "run.jsonl").write_text("{")
    done = page(tmp_path / "x.html", "--work-dir", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("left out: ")


def test_page_refuses_what_it_cannot_do_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"no expect files in .*--results"):
        model.read(tmp_path)
    (tmp_path / "file").touch()
    done = page(tmp_path / "file" / "x.html")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "name another file" in done.stderr
