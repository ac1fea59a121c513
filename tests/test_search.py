"""The search reaches branches that no known call does, survives crashes, and writes files that replay; no torch in the parent."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest
import torch

from sweep import __main__
from sweep.calls.call import Recorded
from sweep.calls.codec import build, encode
from sweep.commands import coverage, search
from sweep.errors import MissingExtraError, SearchedFileError
from sweep.isolation.sandbox import Sandbox
from sweep.operators.inventory import resolve
from sweep.search import driver as driving
from sweep.search import measurement as measuring
from sweep.search import report, stored
from sweep.search.driver import Driver
from sweep.search.measurement import Measurement
from sweep.search.mutations import Mutator
from sweep.search.plain import call_of, plain, pruned
from tests import search_library
from tests.whole_runs import ROOT, make_corpus

LIBRARY = Path(search_library.__file__)
PREFIX = "sweep_searched."
DEEP = "return x.new_empty(x.shape)  # behind three conditions"


def calls():
    x = torch.ones(2, 3)
    known = {"rare": (x, "constant", 1), "refusing": (x, 1), "crashing": (x, 1)}
    return {f"{PREFIX}{n}.default": encode(f"{PREFIX}{n}.default", a, {}, device="cpu", source="known") for n, a in known.items()}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A sandbox whose children import the planted operators."""
    with Sandbox(tmp_path_factory.mktemp("scratch"), libraries=["tests.search_library"], preloads=measuring.PRELOADS) as sandbox:
        yield sandbox


@pytest.fixture
def measured(tmp_path, sandbox):
    """Measures known calls of planted operators, and returns the measurement."""
    corpus = make_corpus(tmp_path / "corpus", *calls().values())

    def measure(*names):
        measurement = Measurement([sandbox], corpus, (str(LIBRARY),), tmp_path / "work", {}, sys.stderr)
        measurement.run([f"{PREFIX}{name}.default" for name in names])
        return measurement

    return measure


def lines_of(measurement, numbers):
    """The lines of the planted file to which branches go."""
    text = LIBRARY.read_text().splitlines()
    targets = [measurement.table.branches[number].target for number in numbers]
    return {text[target - 1].strip() for target in targets if target > 0}


def searched_calls(measurement, name, seconds=50):
    driver = Driver(measurement, [f"{PREFIX}{name}.default"], sys.stderr)
    driver.run(seconds)
    return driver.found.get(f"{PREFIX}{name}.default", [])


def test_a_branch_behind_three_conditions_is_reached_within_a_minute(measured):
    measurement = measured("rare")
    assert DEEP not in lines_of(measurement, measurement.everything().branches)
    started = time.monotonic()
    found = searched_calls(measurement, "rare")
    assert time.monotonic() - started < 60
    values = [(c["args"][1], c["args"][2], c["tensors"][0]["dtype"]) for c in found]
    assert ("reflect", 7, "bfloat16") in values
    measurement.searched = {f"{PREFIX}rare.default": found}
    measurement.run([f"{PREFIX}rare.default"])
    reached = measurement.everything()
    assert DEEP in lines_of(measurement, reached.branches)
    assert measurement.summary(reached).reached == measurement.summary(reached).total == 6


def test_what_the_kernel_refuses_is_kept_as_refused_for_a_branch_that_no_accepted_call_reaches(measured):
    measurement = measured("refusing")
    [found] = searched_calls(measurement, "refusing", 20)
    assert (found["args"][1], found["recorded"]) == (3, "refused")
    name = f"{PREFIX}refusing.default"
    assert call_of(name, found, "").recorded is Recorded.REFUSED
    measurement.searched = {name: [found]}
    measurement.run([name])
    assert measurement.summary(measurement.everything()).text() == "2 of 2 branches (100.0%)"


def test_known_calls_that_were_not_measured_are_tried_before_mutated_ones(measured, tmp_path, monkeypatch):
    name = f"{PREFIX}rare.default"
    measurement = measured("rare")
    known = [encode(name, (torch.ones(2, 3), mode, 1), {}, device="cpu", source="") for mode in ("constant", "reflect")]
    measurement.corpus = make_corpus(tmp_path / "more", *known)
    monkeypatch.setattr(driving, "_ATTEMPTS", 0)
    [found] = searched_calls(measurement, "rare", 20)
    assert found["args"][1:] == ["reflect", 1]


def test_a_crash_costs_only_the_call_that_crashes(measured):
    measurement = measured("crashing")
    starts = measurement.sandboxes[0].starts
    found = searched_calls(measurement, "crashing", 20)
    assert [call["args"][1] for call in found] == [5]
    assert measurement.sandboxes[0].starts > starts


def test_unreached_lines_are_printed(measured):
    measurement = measured("rare", "refusing")
    reached = measurement.everything()
    lines = list(report.missing(measurement.table, reached, measurement.root))
    assert "search_library.py:rare_meta" in lines
    [line] = [line for line in lines if "# behind three conditions" in line]
    number = LIBRARY.read_text().splitlines().index(line[7:]) + 1
    assert line.startswith(f"{number:6} ")
    [partial] = [line for line in lines if 'if mode == "reflect"' in line]
    assert partial.endswith(f"  # never goes on to {number - 2}")
    assert not any("crashing" in line for line in lines)  # nothing enters that function
    table = report.table_of(measurement.table, reached).splitlines()
    assert table[2].split() == ["search_library.py", "2", "8", "25.0%"]
    assert ["search_library.py:rare_meta", "1", "6", "16.7%"] in [row.split() for row in table]


def test_what_was_measured_is_not_measured_again(measured, monkeypatch):
    measurement = measured("rare")
    before = measurement.reached
    monkeypatch.setattr(measuring.pool, "run", None)
    measurement.run([f"{PREFIX}rare.default"])
    assert measurement.reached == before


def test_a_plain_call_is_the_same_call_again():
    index = torch.tensor([[0, 1], [1, 0]])
    made = encode("aten.gather.default", (torch.ones(2, 2).t(), 1, index), {"sparse_grad": False}, device="cpu", source="")
    data = json.loads(json.dumps(plain(made)))
    again = call_of("aten.gather.default", data, "")
    assert again.key() == made.key()
    args, kwargs = build(again, "cpu")
    assert args[2].tolist() == index.tolist()
    assert resolve("aten.gather.default")(*args, **kwargs).shape == (2, 2)
    assert args[0].isfinite().all()
    assert build(again, "cpu")[0][0].equal(args[0])


def test_what_no_argument_needs_is_pruned():
    made = encode("aten.add.Tensor", (torch.ones(2), torch.ones(3)), {}, device="cpu", source="")
    data = {**plain(made), "args": [{"tensor": 1}, {"tensor": 1}]}
    data = pruned(data)
    assert data["args"] == [{"tensor": 0}, {"tensor": 0}]
    assert [tensor["size"] for tensor in data["tensors"]] == [[3]]
    assert [storage["nbytes"] for storage in data["storages"]] == [12]


def test_mutations_follow_from_the_seed_and_can_be_built():
    made = encode("aten.constant_pad_nd.default", (torch.ones(2, 3, 4), [1, 1], 0.5), {}, device="cpu", source="")
    mutator = Mutator(resolve(made.overload), [])

    def mutated():
        return [mutator.mutated(plain(made), Random(f"seed {number}")) for number in range(300)]

    first = mutated()
    assert first == mutated()
    distinct = {json.dumps(data, sort_keys=True) for data in first if data is not None}
    assert len(distinct) > 150
    built = [build(call_of(made.overload, pruned(json.loads(text)), ""), "cpu")[0][0] for text in distinct]
    tensors = [value for value in built if isinstance(value, torch.Tensor)]
    assert {torch.float64, torch.int64, torch.complex64} <= {tensor.dtype for tensor in tensors}
    assert any(not tensor.is_contiguous() for tensor in tensors)
    assert any(0 in tensor.stride() for tensor in tensors)
    assert {0, 1, 2, 3, 4} <= {tensor.dim() for tensor in tensors}


def test_files_are_sorted_and_read_back(tmp_path):
    one, other = {"args": [2]}, {"args": [1]}
    stored.save(tmp_path, {"b.y.default": [one], "a.x.default": [one, other, one], "a.w.default": []})
    assert (tmp_path / "a.json").read_text() == '{\n"a.x.default": [\n{"args":[1]},\n{"args":[2]}\n]\n}\n'
    assert stored.load(tmp_path) == {"a.x.default": [other, one], "b.y.default": [one]}
    stored.save(tmp_path, {"a.x.default": [one]})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "a.json").write_text("<<<<<<< HEAD")
    with pytest.raises(SearchedFileError, match=r"a\.json holds no searched calls"):
        stored.load(tmp_path)


def test_checked_in_files_hold_calls_of_overloads():
    for name, of_overload in stored.load(stored.SEARCHED).items():
        assert resolve(name) is not None
        for data in of_overload:
            assert call_of(name, data, "").as_json()["overload"] == name
            assert all("bytes" not in storage for storage in data["storages"])


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "coverage", None)
    monkeypatch.setattr(measuring.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'operator-sweep\[search\]'"):
        measuring.check_installed()


@pytest.mark.parametrize("arguments", [("search", "--minutes", "0"), ("coverage", "--workers", "0")])
def test_a_request_that_cannot_be_met_is_one_line(arguments, tmp_path):
    line = [sys.executable, "-m", "sweep", *arguments, "--work-dir", str(tmp_path)]
    completed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (completed.returncode, completed.stdout, completed.stderr.count("\n")) == (2, "", 1)


def test_search_writes_what_it_finds_and_says_how_far_it_came(measured, tmp_path, monkeypatch, capsys):
    measurement = measured("refusing", "rare")
    names = list(measurement.reached)
    for command in (search, coverage):
        monkeypatch.setattr(command, "measured", lambda arguments: nullcontext((measurement, names)))
    assert __main__.main(["search", "--minutes", "0.1", "--searched", str(tmp_path / "searched")]) == 0
    known, with_found, kept = capsys.readouterr().out.splitlines()
    before, after = (int(line.partition(": ")[2].split()[0]) for line in (known, with_found))
    assert known == "known calls: 2 of 8 branches (25.0%)"
    assert 2 == before < after
    calls = stored.load(tmp_path / "searched")
    assert f"{PREFIX}rare.default" in calls
    assert kept == f"{sum(map(len, calls.values()))} new calls of {len(calls)} overloads; see {tmp_path / 'searched'}"
    assert __main__.main(["coverage"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["all", str(after), "8", f"{after / 8:.1%}"] in rows


def test_coverage_prints_the_branches_of_torch(tmp_path):
    call = encode("aten.avg_pool2d.default", (torch.ones(1, 2, 6, 6), [2, 2], [2, 2]), {}, device="cpu", source="known")
    folders = ["--corpus", str(make_corpus(tmp_path / "corpus", call)), "--work-dir", str(tmp_path / "work")]
    line = [sys.executable, "-m", "sweep", "coverage", "--missing", "--ops", "aten.avg_pool*", "--workers", "1", *folders]
    completed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    head, _, *rows = completed.stdout.splitlines()
    assert head.split() == ["file", "covered", "branches", "share"]
    [covered, branches] = next(row.split()[1:3] for row in rows if row.startswith("torch/_meta_registrations.py "))
    assert 0 < int(covered) < int(branches)
    assert "torch/_meta_registrations.py:meta_avg_pool2d" in rows  # the heading of its source lines
