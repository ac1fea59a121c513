"""Shards divide a sweep, and merged they are what one run would have been: its rows, its summary, its expect files."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from sweep import expect
from sweep.__main__ import main
from sweep.errors import MergeError, UsageError
from sweep.expect import Verdict
from sweep.plan import Options
from sweep.report import merging, renderers, run_jsonl
from sweep.report.conclusion import ONLY_FLAKY
from sweep.session import check_combinations
from sweep.sharding import Part, Shard, ShardedSweep
from tests.test_report import BAD, ENVIRONMENT, GOOD, finish, verdict_of
from tests.whole_runs import ROOT, content, environment, run_file, sweep

# --- dividing ----------------------------------------------------------------------------------------------------------

WEIGHTS = {f"aten.op{number}.default": number**3 % 101 for number in range(60)}


@pytest.mark.parametrize("count", [1, 2, 7, 60, 100])
def test_every_overload_is_in_exactly_one_shard(count):
    shards = [Shard(number, count).of(WEIGHTS) for number in range(1, count + 1)]
    assert sorted(name for names in shards for name in names) == sorted(WEIGHTS)
    loads = [sum(WEIGHTS[name] for name in names) for names in shards]
    assert max(loads) - min(loads) <= max(WEIGHTS.values())


@pytest.mark.parametrize("text", ["0/8", "9/8", "x", "", "1", "1/0", "-1/2", "1/2/3", " 1/2", "1.5/2", "1/9999999999"])
def test_what_is_no_shard_is_refused_in_one_line(text):
    with pytest.raises(UsageError) as caught:
        Shard.parse(text)
    assert str(caught.value).startswith(f"--shard {text}: write K/N")


def test_a_shard_alone_is_not_accepted():
    with pytest.raises(UsageError, match="python -m sweep merge DIR --accept"):
        check_combinations(Options(shard=Shard(1, 2), accept=True))


# --- merging, without processes ----------------------------------------------------------------------------------------

NAMES = ["aten.abs.default", "aten.acos.default", "aten.sin.default", "prims.cos.default"]
TEXT = expect.text_of_result(BAD)
VERDICTS = [
    verdict_of(BAD, TEXT, NAMES[0]),
    verdict_of(BAD, expect.AGREE_TEXT, NAMES[1]),
    verdict_of(GOOD, TEXT, NAMES[2]),
    verdict_of(dataclasses.replace(BAD, seconds=2.0), expect.UNKNOWN_TEXT, NAMES[3]),
]

#: The fields of a run.jsonl in which two equal runs differ (see ``run_jsonl``).
OF_ONE_RUN = ("id", "started", "seconds", "seconds_of", "arguments", "run", "crossref_runs")


def write_expect_files(folder, verdicts):
    """The expect files that the verdicts were compared with."""
    files = {name: expect.ExpectFile(head=expect.head(name, ENVIRONMENT)) for name in ("aten", "prims")}
    for verdict in verdicts:
        if verdict.expected != expect.UNKNOWN_TEXT:
            files[verdict.result.overload.partition(".")[0]].put(verdict.result.overload, verdict.expected)
    expect.write(folder / "results" / "2.13" / "cpu", files, whole=True)


def sweep_of(folder, **changes):
    plain = ShardedSweep(
        environment=ENVIRONMENT,
        crossrefs=("fake", "functionalize"),
        overloads="digest",
        every_overload=True,
        keyword="",
        corpus="digest",
        unknown=0,
        expect_files=expect.digest(folder / "results" / "2.13" / "cpu"),
        call_timeout=1.0,
        overload_timeout=1.0,
        memory=0,
    )
    return dataclasses.replace(plain, **changes)


def run_shard(folder, number, verdicts, *, count=2, changes=None, **options):
    """A run over a shard, and its ``run.jsonl``."""
    part = Part(Shard(number, count), sweep_of(folder, **(changes or {})))
    names = [verdict.result.overload for verdict in verdicts]
    own = {"reasons": dict.fromkeys(NAMES), "work": str(folder / f"shard{number}"), "selected": names}
    plan = finish(folder, verdicts, part=part, **{**own, **options})[2]
    return plan.run_folder() / run_jsonl.NAME


@pytest.fixture
def shards(tmp_path):
    """Two shards of a sweep over all overloads."""
    write_expect_files(tmp_path, VERDICTS)
    return [run_shard(tmp_path, 1, VERDICTS[:1] + VERDICTS[3:]), run_shard(tmp_path, 2, VERDICTS[1:3])]


def merge(folder, files, *, accept=False):
    """The exit status of merged shards, and the end of the run that they are together."""
    runs = merging.read(merging.files_of(map(str, files)))
    conclusion = merging.conclusion(runs, folder / "results", str(folder / "merged"), [], accept=accept)
    return conclusion.conclude(conclusion.status_of_items()), conclusion


def plain(text, *folders):
    """The objects of a run.jsonl without what differs between equal runs, the paths of folders included."""
    for folder in folders:
        text = text.replace(str(folder), "")
    objects = [json.loads(line) for line in text.splitlines()]
    return [{field: value for field, value in each.items() if field not in OF_ONE_RUN} for each in objects]


@pytest.mark.parametrize("accept", [False, True])
def test_merged_shards_are_one_run(tmp_path, shards, accept):
    alone = tmp_path / "alone"
    write_expect_files(alone, VERDICTS)
    work = alone / "merged" / "2.13" / "cpu"  # as merging names it: the command to accept has the folder
    status = pytest.ExitCode.OK if accept else pytest.ExitCode.TESTS_FAILED
    options = {"names": NAMES, "work": str(work), "scratch": str(alone / "merged" / "scratch"), "own_corpus": False}
    wanted, _, _ = finish(alone, VERDICTS, accept=accept, status=status, corpus=str(tmp_path / "corpus"), **options)
    ended, conclusion = merge(tmp_path, shards, accept=accept)
    assert ended == wanted == status
    file = tmp_path / "merged" / "2.13" / "cpu" / run_jsonl.NAME
    assert plain(file.read_text(), tmp_path) == plain((work / run_jsonl.NAME).read_text(), alone, tmp_path)
    assert content(tmp_path / "results") == content(alone / "results")
    [info] = run_jsonl.read(file).infos
    assert (info.whole, info.accepted, info.shard) == (True, accept, None)
    summary = renderers.render("terminal", conclusion.run())
    assert summary == renderers.render("terminal", run_jsonl.read(file))
    assert ("3 unexpected; to accept them: " in summary) is not accept


def test_a_shard_is_marked_and_comes_back_from_its_file(shards):
    [info] = run_jsonl.read(shards[0]).infos
    assert (str(info.shard.part.shard), info.shard.rows, info.shard.complete, info.whole) == ("1/2", 2, True, False)
    assert run_jsonl.loads(run_jsonl.dumps(run_jsonl.read(shards[0]))) == run_jsonl.read(shards[0])
    assert ", AVX2; shard 1/2, crossrefs fake functionalize; " in renderers.render("terminal", run_jsonl.read(shards[0]))


def test_shards_that_share_a_work_folder_update_their_own_rows_and_are_merged_from_its_file(tmp_path):
    write_expect_files(tmp_path, VERDICTS)
    work = str(tmp_path / "work")
    run_shard(tmp_path, 1, [], count=3, work=work, status=pytest.ExitCode.OK)
    run_shard(tmp_path, 2, VERDICTS[:2], count=3, work=work)
    file = run_shard(tmp_path, 3, VERDICTS[2:], count=3, work=work)
    assert [row.overload for row in run_jsonl.read(file).rows] == NAMES
    assert len(run_jsonl.read(file).infos) == 3
    assert merge(tmp_path, [tmp_path / "work"])[1].run().infos[0].whole
    finish(tmp_path, VERDICTS[:1], work=work, reasons=dict.fromkeys(NAMES))
    with pytest.raises(MergeError, match=r"a later run has replaced rows of shard 2/3 of .*: run it again"):
        merge(tmp_path, [tmp_path / "work"])


def test_a_folder_is_searched_and_a_file_in_it_counts_once(tmp_path, shards):
    assert len(merging.files_of([str(tmp_path), str(shards[0]), f"{tmp_path}/shard1"])) == 2


def test_shards_of_a_part_merge_into_a_part(tmp_path):
    write_expect_files(tmp_path, VERDICTS)
    some = {"changes": {"every_overload": False}}
    files = [run_shard(tmp_path, 1, VERDICTS[:1], **some), run_shard(tmp_path, 2, VERDICTS[2:3], **some)]
    merge(tmp_path, files, accept=True)
    baseline = expect.load(tmp_path / "results" / "2.13" / "cpu")["aten"]
    assert [baseline.text_of(name) for name in NAMES[:3]] == [TEXT, expect.AGREE_TEXT, expect.AGREE_TEXT]


def test_a_flaky_overload_of_a_shard_is_one_of_the_whole_and_is_not_accepted(tmp_path):
    flaky = Verdict(dataclasses.replace(GOOD, overload=NAMES[1], rerun=BAD), TEXT, expect.AGREE_TEXT)
    verdicts = [VERDICTS[0], flaky]
    write_expect_files(tmp_path, verdicts)
    files = [run_shard(tmp_path, number, [verdict]) for number, verdict in enumerate(verdicts, 1)]
    assert merge(tmp_path, files)[0] == ONLY_FLAKY
    assert merge(tmp_path, files, accept=True)[0] == ONLY_FLAKY
    baseline = expect.load(tmp_path / "results" / "2.13" / "cpu")["aten"]
    assert [baseline.text_of(name) for name in NAMES[:2]] == [TEXT, TEXT]


@pytest.mark.parametrize("options", [{"status": pytest.ExitCode.INTERRUPTED}, {"broken": ["aten.add.Tensor"]}])
def test_nothing_is_accepted_if_a_shard_did_not_finish(tmp_path, shards, options):
    before = content(tmp_path / "results")
    status, conclusion = merge(tmp_path, [shards[0], run_shard(tmp_path, 2, VERDICTS[1:3], **options)], accept=True)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "nothing was accepted, since the run did not finish" in conclusion.notes[-1]
    assert content(tmp_path / "results") == before


def test_a_shard_in_which_an_item_is_missing_makes_a_part(tmp_path, shards):
    file = run_shard(tmp_path, 2, VERDICTS[1:2], selected=NAMES[1:3], work=str(tmp_path / "other"))
    assert not merge(tmp_path, [shards[0], file])[1].run().infos[0].whole


# --- what cannot be merged ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environment": dataclasses.replace(ENVIRONMENT, git="1")}, r"git: 0 and 1$"),
        ({"environment": dataclasses.replace(ENVIRONMENT, device="cuda:1")}, r"device: cpu and cuda:1$"),
        ({"expect_files": "other"}, r"expect files: \w+ and other$"),
        ({"corpus": "other"}, "corpus: digest and other$"),
        ({"overloads": "other"}, "overloads: digest and other$"),
        ({"keyword": "abs"}, "keyword:  and abs$"),
        ({"crossrefs": ("fake",)}, "crossrefs: "),
        ({"call_timeout": 2.0}, "call timeout: 1.0 and 2.0$"),
    ],
)
def test_shards_of_different_sweeps_are_refused(tmp_path, shards, changes, message):
    other = run_shard(tmp_path, 2, VERDICTS[1:3], changes=changes)
    with pytest.raises(MergeError, match=rf"shard 1/2 of .* and shard 2/2 of .* are not of the same sweep.*{message}"):
        merge(tmp_path, [shards[0], other])


def test_shards_of_different_counts_are_refused(tmp_path, shards):
    with pytest.raises(MergeError, match="they differ in number of shards: 2 and 3"):
        merge(tmp_path, [shards[0], run_shard(tmp_path, 2, VERDICTS[1:3], count=3)])


def test_the_same_shard_twice_is_refused(tmp_path, shards):
    with pytest.raises(MergeError, match=r"the same shard twice: shard 1/2 of .*, shard 1/2 of "):
        merge(tmp_path, [*shards, run_shard(tmp_path, 1, VERDICTS[:1], work=str(tmp_path / "other"))])


def test_a_missing_shard_is_refused(tmp_path, shards):
    with pytest.raises(MergeError, match="of 2 shards these are missing: 1"):
        merge(tmp_path, shards[1:])


def test_shards_without_any_overload_are_refused(tmp_path):
    write_expect_files(tmp_path, [])
    files = [run_shard(tmp_path, number, [], status=pytest.ExitCode.NO_TESTS_COLLECTED) for number in (1, 2)]
    with pytest.raises(MergeError, match="no shard has run an overload"):
        merge(tmp_path, files)


def test_what_was_compared_with_other_expect_files_is_not_accepted(tmp_path, shards):
    write_expect_files(tmp_path, VERDICTS[:1])
    before = content(tmp_path / "results")
    with pytest.raises(MergeError, match="the shards were not compared with the expect files in "):
        merge(tmp_path, shards, accept=True)
    assert content(tmp_path / "results") == before
    assert not (tmp_path / "merged").exists()
    assert merge(tmp_path, shards)[0] == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [], "nothing to merge: name the run.jsonl of every shard"),
        (lambda folder: [folder / "nowhere"], "nowhere does not exist"),
        (lambda folder: [folder / "results"], "results has no run.jsonl"),
        (lambda folder: [folder / "damaged.jsonl"], "damaged.jsonl cannot be read (JSONDecodeError: "),
        (lambda folder: [folder / "damaged.jsonl"], "; run that shard again"),
        (lambda folder: [folder / "whole" / run_jsonl.NAME], "is not about a shard: it was written by a run without --shard"),
    ],
)
def test_merge_refuses_other_files_in_one_line(tmp_path, shards, make, message, capsys):
    finish(tmp_path, VERDICTS, work=str(tmp_path / "whole"))
    (tmp_path / "damaged.jsonl").write_text(shards[0].read_text()[:-20])
    status = main(["merge", *map(str, make(tmp_path)), f"--work-dir={tmp_path / 'merged'}"])
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    [error] = printed.err.splitlines()
    assert error.startswith("sweep: ")
    assert message in error
    assert not (tmp_path / "merged").exists()


# --- whole runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sharded(known, tmp_path_factory):
    """A folder with two shards over the corpus of ``known``, run without expect files, and what merging and accepting says."""
    folder = tmp_path_factory.mktemp("sharded")
    for number, processes in ((1, "0"), (2, "2")):
        work = folder / "shards" / str(number)
        completed = sweep(known, folder / "results", "-n", processes, "--shard", f"{number}/2", work=work)
        assert completed.returncode == 1, completed.stdout  # there are no expect files
        assert "no expect files for torch" in completed.stdout
    options = [f"--results={folder / 'results'}", f"--work-dir={folder / 'work'}", "--accept"]
    line = [sys.executable, "-m", "sweep", "merge", str(folder / "shards"), *options]
    completed = subprocess.run(line, cwd=ROOT, env=environment(accept=False), capture_output=True, text=True, timeout=60)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return folder


def test_accepted_shards_write_the_bytes_that_one_run_writes(known, sharded):
    assert content(sharded / "results") == content(known / "results")


def test_merged_shards_leave_the_rows_that_one_run_leaves(known, sharded):
    merged, alone = run_file(sharded / "work"), known / "run.jsonl"
    assert plain(merged.read_text(), sharded, known) == plain(alone.read_text(), sharded, known)


def test_both_shards_have_a_part_of_the_calls(sharded):
    calls = [
        sum(row.verdict.result.calls for row in run_jsonl.read(run_file(sharded / "shards" / number)).rows) for number in "12"
    ]
    assert min(calls) > 0.4 * sum(calls)


def test_a_shard_without_what_is_selected_passes_and_says_that_it_was_run(known, sharded, tmp_path):
    first = {row.overload for row in run_jsonl.read(run_file(sharded / "shards" / "1")).rows}
    empty = "2/2" if "aten.sort.stable" in first else "1/2"
    completed = sweep(known, known / "results", "-k", "aten.sort.stable", "--shard", empty, work=tmp_path)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    [info] = run_jsonl.read(run_file(tmp_path)).infos
    assert (info.shard.rows, info.shard.finished) == (0, True)
