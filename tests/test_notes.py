"""Notes of people: read from a file, printed with what they are about, gone or expired at the end of a run."""

from __future__ import annotations

import pytest
import torch

from sweep import expect
from sweep.calls.codec import encode
from sweep.errors import NotesError
from sweep.expect import notes
from sweep.expect.notes import Note, NoteState
from sweep.report import run_jsonl
from sweep.report.renderers import terminal
from tests.test_report import BAD, GOOD, NAME, finish, verdict_of
from tests.whole_runs import make_corpus, sweep

#: As folders of expect files are named.
RELEASE = ".".join(str(torch.__version__).split(".")[:2])

FILE = """\
[aten.abs.default]
reason = "the meta function is old"
issue = "https://github.com/pytorch/pytorch/issues/1"
owner = "someone"
expires = "2.15"

[aten.abs.default."fake: output 0 dtype"]
reason = "a promotion"

[aten.add.out.'fake: output 0 rank']
reason = "resized"
"""


def read(tmp_path, text):
    (tmp_path / notes.NAME).write_text(text)
    return notes.read(tmp_path)


def test_notes_are_about_overloads_and_findings(tmp_path):
    whole, one, other = read(tmp_path, FILE)
    link = "https://github.com/pytorch/pytorch/issues/1"
    assert whole == Note("aten.abs.default", "", "the meta function is old", link, "someone", "2.15")
    assert str(whole) == f"note: the meta function is old ({link}, owner someone, until torch 2.15)"
    assert (one.finding, one.crossref, str(one)) == ("fake: output 0 dtype", "fake", "note on fake: output 0 dtype: a promotion")
    assert other.subject == "aten.add.out, fake: output 0 rank"
    assert notes.of_overload((whole, one, other), "aten.abs.default") == [whole, one]


def test_no_file_is_no_note(tmp_path):
    assert notes.read(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[aten.abs.default]\nreason = "x"\nowner = someone\n', "at line 3"),
        ('[aten.abs.default]\nreason = "x"\n[aten.abs.default]\n', "at line 3"),
        ('[aten.abs.default]\nreason = "x"\nreport = "y"\n', "[aten.abs.default] has an unknown key 'report'"),
        ('[aten.abs.default]\nowner = "x"\n', "[aten.abs.default] has no reason"),
        ("[aten.abs.default]\n", "[aten.abs.default] has no reason"),
        ('[aten.abs.default]\nreason = ""\n', "[aten.abs.default]: reason has to be a text of one line"),
        ("[aten.abs.default]\nreason = 1\n", "[aten.abs.default]: reason has to be a text"),
        ('[aten.abs.default]\nreason = "x"\nissue = "123"\n', "[aten.abs.default]: issue has to be a link"),
        ('[aten.abs.default]\nreason = "x"\nexpires = "soon"\n', "[aten.abs.default]: expires has to be a torch version"),
        ('["aten.abs.default"]\nreason = "x"\n', "['aten.abs.default'] is no overload; write its header without quotes"),
        ('[aten.abs]\nreason = "x"\n', "aten.abs.reason is in no section of an overload"),
        ('[aten.abs.default.dtype]\nreason = "x"\n', "[aten.abs.default.'dtype'] is no finding"),
        ('[aten.abs.default."fake: rank"]\nissue = "https://x"\n', "[aten.abs.default.'fake: rank'] has no reason"),
    ],
)
def test_a_malformed_file_is_one_line_that_names_the_place(tmp_path, text, what):
    with pytest.raises(NotesError) as caught:
        read(tmp_path, text)
    assert what in str(caught.value)
    assert str(tmp_path / notes.NAME) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path):
    (tmp_path / notes.NAME).write_bytes(b'[aten.abs.default]\nreason = "\xff"\n')
    with pytest.raises(NotesError, match=r"not UTF-8 \(at line 2\)"):
        notes.read(tmp_path)


def known(result):
    return expect.read_section(result.overload, expect.text_of_result(result))


@pytest.mark.parametrize(
    ("finding", "expires", "result", "state"),
    [
        ("", "", BAD, NoteState.HOLDS),
        ("", "", GOOD, NoteState.GONE),
        ("fake: output 0 nothing", "", BAD, NoteState.GONE),
        ("", "2.14", BAD, NoteState.HOLDS),
        ("", "2.13", BAD, NoteState.EXPIRED),
        ("", "2.9", BAD, NoteState.EXPIRED),
        ("", "2.9", GOOD, NoteState.GONE),
    ],
)
def test_what_becomes_of_a_note(finding, expires, result, state):
    assert Note(NAME, finding, "why", expires=expires).state(known(result), "2.13") is state


def test_a_note_on_a_finding_is_found_by_its_title():
    [title] = [finding.title for finding in known(BAD).findings]
    assert Note(NAME, title, "why").state(known(BAD), "2.13") is NoteState.HOLDS


# --- at the end of a run -----------------------------------------------------------------------------------------------

BASELINE = expect.text_of_result(BAD)


def lines_of(conclusion):
    return [line for line in conclusion.notes if line.startswith("note ")]


def test_an_expired_note_fails_a_run_in_which_nothing_else_is_wrong(tmp_path):
    note = Note(NAME, "", "why", expires="2.13")
    status, conclusion, _ = finish(tmp_path, [verdict_of(BAD, BASELINE)], status=pytest.ExitCode.OK, notes=(note,))
    assert status == pytest.ExitCode.TESTS_FAILED
    [line] = lines_of(conclusion)
    assert line.startswith("note expired: aten.abs.default: note: why (until torch 2.13); this is torch 2.13")


def test_a_note_that_holds_and_one_that_is_gone_fail_nothing(tmp_path):
    held = Note(NAME, "", "why", expires="2.14")
    gone = Note(NAME, "fake: output 1 dtype", "an old finding", expires="2.9")
    unknown = Note("aten.removed.default", "", "was there once")
    verdicts = [verdict_of(BAD, BASELINE)]
    status, conclusion, _ = finish(tmp_path, verdicts, status=pytest.ExitCode.OK, notes=(held, gone, unknown))
    assert status == pytest.ExitCode.OK
    assert [line.partition(": note")[0] for line in lines_of(conclusion)] == [
        "note gone: aten.abs.default, fake: output 1 dtype",
        "note gone: aten.removed.default",
    ]


def test_a_note_on_a_finding_that_another_device_has_is_not_gone(tmp_path):
    file = expect.ExpectFile(head=["x"], sections={NAME: BASELINE})
    expect.write(tmp_path / "results" / "2.13" / "cuda", {"aten": file}, whole=True)
    for expires, status, lines in (("", pytest.ExitCode.OK, 0), ("2.13", pytest.ExitCode.TESTS_FAILED, 1)):
        note = Note(NAME, "", "why", expires=expires)
        verdicts = [verdict_of(GOOD, expect.AGREE_TEXT)]
        ended, conclusion, _ = finish(tmp_path, verdicts, status=pytest.ExitCode.OK, notes=(note,))
        assert (ended, len(lines_of(conclusion))) == (status, lines)


def test_a_run_under_some_crossrefs_judges_notes_on_their_findings_alone(tmp_path):
    about = [Note(NAME, title, "why") for title in ("", "fake: output 1 dtype", "schema: argument x undeclared write")]
    verdicts = [verdict_of(BAD, BASELINE, partial=True)]
    options = {"all_crossrefs": False, "crossrefs": ["fake"]}
    _, conclusion, _ = finish(tmp_path, verdicts, status=pytest.ExitCode.OK, notes=tuple(about), **options)
    assert [line.partition(": note")[0] for line in lines_of(conclusion)] == ["note gone: aten.abs.default, fake: output 1 dtype"]


def test_a_note_is_printed_under_the_line_of_its_overload_and_comes_back_from_the_file(tmp_path):
    _, conclusion, plan = finish(tmp_path, [verdict_of(BAD, expect.AGREE_TEXT)], notes=(Note(NAME, "", "why"),))
    run = run_jsonl.read(plan.run_folder() / run_jsonl.NAME)
    assert run.rows[0].notes == ("note: why",)
    for each in (run, conclusion.run()):
        assert "new  aten.abs.default: agrees -> fake: output 0 dtype\n     note: why\n" in terminal.render(each)


def test_accepting_keeps_the_file_of_notes(tmp_path):
    (tmp_path / "results").mkdir()
    file = tmp_path / "results" / notes.NAME
    file.write_text(FILE)
    verdicts = [verdict_of(GOOD, BASELINE)]
    status, conclusion, _ = finish(tmp_path, verdicts, accept=True, status=pytest.ExitCode.OK, notes=notes.read(file.parent))
    assert status == pytest.ExitCode.OK
    assert any(note.startswith("accepted: ") and "aten.expect" in note for note in conclusion.notes)
    assert file.read_text() == FILE


def test_a_whole_run_prints_notes_and_refuses_a_malformed_file(tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # where pytest repeats failure messages whole in its own summary
    call = encode(NAME, (torch.zeros(2),), {}, device="cpu", source="test")
    make_corpus(tmp_path / "corpus", call)
    results = tmp_path / "results"
    file = expect.ExpectFile(head=["x"], sections={NAME: BASELINE})
    expect.write(results / RELEASE / "cpu", {"aten": file}, whole=True)
    text = f'[{NAME}."fake: output 0 dtype"]\nreason = "the meta function is old"\nexpires = "2.0"\n'
    (results / notes.NAME).write_text(text)
    part = ["--ops", NAME, "--crossref", "fake"]  # the fastest there is
    failed = sweep(tmp_path, results, *part)
    assert failed.returncode == 1, failed.stdout
    note = "note on fake: output 0 dtype: the meta function is old (until torch 2.0)"
    assert failed.stdout.count(note) == 3  # the failure, the summary, the remark
    assert "note gone: aten.abs.default, fake: output 0 dtype: " in failed.stdout
    (results / notes.NAME).write_text("[aten\n")
    refused = sweep(tmp_path, results, *part)
    assert refused.returncode == 4
    assert "notes.toml is not TOML" in refused.stderr
    assert "at line 1" in refused.stderr
