"""``python -m sweep show GLOB``: where kernels and predictions come from, the recorded calls, findings and notes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
import torch

from sweep.calls.codec import encode
from sweep.operators.facts import Origin
from sweep.operators.inventory import resolve
from sweep.operators.origins import facts, prediction_of
from tests.whole_runs import ROOT, make_corpus

ABS = "aten.abs.default"


@pytest.mark.parametrize(
    ("name", "origin", "place"),
    [
        ("aten.max_unpool2d.default", Origin.DECOMPOSITION, r"torch/_decomp/decompositions.py:\d+ max_unpool2d"),
        ("aten.addbmm.default", Origin.PYTHON_META, r"torch/_meta_registrations.py:\d+ meta_\w+"),
        ("aten.nonzero.default", Origin.HANDLER, r"torch/_subclasses/fake_impls.py:\d+ nonzero"),
        ("aten.view.default", Origin.HANDLER, r"torch/_subclasses/fake_impls.py:\d+ _view_meta"),
        ("aten.matmul.out", Origin.PYTHON_COMPOSITE, r"torch/_decomp/decompositions.py:\d+ matmul"),
        ("aten.kron.out", Origin.CPP_COMPOSITE, r".*CompositeImplicitAutograd_0.cpp:\d+"),
        ("aten.polygamma_.default", Origin.CPP_META, r".*\.cpp:\d+"),
        ("aten._add_relu.Scalar", Origin.REAL_KERNEL, ""),
        ("prims.sin.default", Origin.PRIM_META, r"torch/_prims/__init__.py:\d+ _prim_elementwise_meta"),
    ],
)
def test_where_a_prediction_comes_from(name, origin, place):
    prediction = prediction_of(resolve(name), symbolic=False)
    assert prediction.origin is origin
    assert re.fullmatch(place, prediction.place), prediction.place


def test_a_fake_impl_is_where_it_was_registered():
    with torch.library._scoped_library("sweep_show_test", "DEF") as library:
        library.define("same(Tensor x) -> Tensor")
        torch.library.register_fake("sweep_show_test::same", lambda x: torch.empty_like(x), lib=library)
        prediction = prediction_of(torch.ops.sweep_show_test.same.default, symbolic=False)
        assert prediction.origin is Origin.FAKE_IMPL
        assert re.search(r"test_show.py:\d+", prediction.place), prediction.place


def test_the_origins_that_are_named_compute_what_fake_tensors_say(monkeypatch):
    """The Python function that is said to predict an overload is the one that a fake mode calls."""
    op = torch.ops.aten.max_unpool2d.default
    called = []
    table = torch._decomp.decomposition_table
    monkeypatch.setitem(table, op, watched(table[op], called))
    with torch._subclasses.FakeTensorMode():
        op(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.int64), [4, 4])
    assert called == ["max_unpool2d"]


def watched(function, called):
    def watching(*args, **kwargs):
        called.append(function.__name__)
        return function(*args, **kwargs)

    watching.__module__, watching.__name__ = function.__module__, function.__name__
    return watching


def test_kernels_have_their_places():
    known = facts(["aten.abs.default"], ["cpu"])
    kernels = known["aten.abs.default"].kernels
    assert re.fullmatch(r".*RegisterSparseCPU_0.cpp:\d+", kernels["SparseCPU"])
    assert re.fullmatch(r"torch/\S+\.py:\d+ \w+", kernels["Meta"])


# --- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def show(work, tmp_path):
    """Runs the command on a folder of results with a second device and notes, and a corpus with one call."""
    results = tmp_path / "results"
    shutil.copytree(ROOT / "results" / "2.13" / "cpu", results / "2.13" / "cpu")
    shutil.copytree(ROOT / "results" / "2.13" / "cpu", results / "2.13" / "cuda")
    (results / "notes.toml").write_text(f'[{ABS}]\nreason = "nothing is wrong"\n')
    corpus = make_corpus(tmp_path / "corpus", encode(ABS, (torch.zeros(2),), {}, device="cpu", source="op_db/0001/abs/float32"))

    def run(*arguments):
        options = [*arguments, "--results", str(results), "--corpus", str(corpus), "--work-dir", str(work)]
        line = [sys.executable, "-m", "sweep", "show", *options]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)

    return run


def test_show_prints_all_that_is_known(show):
    done = show("aten.abs.*")
    assert (done.returncode, done.stderr) == (0, ""), done
    one, other, rest = done.stdout.split("\n\n")
    assert rest == ""
    assert one.startswith(f"{ABS}\n  schema: aten::abs(Tensor self) -> Tensor\n  kind: functional\n  tags: core ")
    assert re.search(r"\n  predicted by: Python meta function, torch/_refs/__init__.py:\d+ abs\n", one)
    assert "\n  recorded calls: 1\n" in one
    assert re.search(r"\n    op_db +returned +1\n", one)
    assert re.search(r"\n  2.13/cuda: [^\n]*\n(    [^\n]*\n)*  2.13/cpu: ", one)
    assert one.endswith("\n  note: nothing is wrong")
    assert other.startswith("aten.abs.out\n")
    assert "\n  recorded calls: none\n" in other
    assert re.search(r"\n    1  fake: fake raises RuntimeError: 1 of \d+", other)


def test_show_suggests_names_for_an_unknown_overload(show):
    done = show("aten.asb.default")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("sweep: no overload matches 'aten.asb.default'; similar ones: aten.abs.default, ")
    assert done.stderr.count("\n") == 1
