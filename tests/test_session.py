"""The command that accepts repeats each option of its run that is not the default; folders and combinations are checked first."""

from __future__ import annotations

import dataclasses

import pytest

from sweep import plan as plans
from sweep import session
from sweep.errors import UsageError
from sweep.operators.environment import Environment
from sweep.plan import Options, Plan

CPU = Environment(
    torch="2.13.0",
    build="2.13.0+cpu",
    git="0" * 10,
    release="2.13",
    device="cpu",
    device_type="cpu",
    features="AVX2",
    python="3.11.0",
    numpy="2.0.0",
    libraries={},
    native_cpu=False,
)
CUDA = dataclasses.replace(CPU, device="cuda", device_type="cuda", features="A100")
LIBRARY = dataclasses.replace(CPU, libraries={"my.ops": "digest"})
PYTEST = "EXPECTTEST_ACCEPT=1 pytest -n auto sweep/"


def plan(**changes):
    work = Options().work
    plain = {
        "environment": CPU,
        "corpus": "/corpora/one",
        "own_corpus": True,
        "crossrefs": ["fake", "functionalize"],
        "all_crossrefs": True,
        "results": f"{Options().results}/2.13/cpu",
        "reasons": {},
        "selected": [],
        "unknown": 0,
        "expected": True,
        "timeout": 1.0,
        "overload_timeout": 1.0,
        "memory": 0,
        "native_cpu": False,
        "work": f"{work}/2.13/cpu",
        "scratch": plans.scratch_folder(work),
    }
    return Plan(**{**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "overload", "command"),
    [
        ({}, None, "make accept"),
        ({}, "aten.abs.default", "make accept OPS=aten.abs.default"),
        ({"environment": CUDA}, "aten.abs.out", "make accept DEVICE=cuda OPS=aten.abs.out"),
        ({"own_corpus": False}, None, f"{PYTEST} --corpus=/corpora/one"),
        ({"all_crossrefs": False, "crossrefs": ["fake"]}, None, f"{PYTEST} --crossref fake"),
        (
            {"environment": LIBRARY, "results": "/a folder/2.13/cpu"},
            "my.op.default",
            f"{PYTEST} --import my.ops '--results=/a folder' --ops my.op.default",
        ),
        ({"environment": CUDA, "own_corpus": False}, None, f"{PYTEST} --corpus=/corpora/one --device cuda"),
        ({"scratch": plans.scratch_folder("/a work")}, None, f"{PYTEST} '--work-dir=/a work'"),
    ],
)
def test_the_command_that_accepts(changes, overload, command):
    assert plan(**changes).accept_command(overload) == command


def test_an_installed_sweep_accepts_by_the_name_of_its_package(monkeypatch, tmp_path):
    monkeypatch.setattr(plans, "ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    here = {"results": f"{tmp_path}/results/2.13/cpu", "scratch": plans.scratch_folder(f"{tmp_path}/.sweep")}
    assert plan(**here).accept_command("aten.abs.out") == "EXPECTTEST_ACCEPT=1 pytest -n auto --pyargs sweep --ops aten.abs.out"
    assert Options().work == str(tmp_path / ".sweep")


def test_what_this_cpu_has_is_not_accepted_as_the_baseline(tmp_path):
    with pytest.raises(UsageError, match="--native-cpu"):
        session.prepare(Options(native_cpu=True, accept=True, work=str(tmp_path)))


def test_an_unknown_overload_has_a_hint_with_similar_ones():
    names = ["aten.abs.default", "aten.abs.out", "prims.abs.default"]
    assert session.select(names, ["*.abs.default"]) == ["aten.abs.default", "prims.abs.default"]
    with pytest.raises(UsageError, match=r"no overload matches 'aten\.abz\.default'; similar ones: aten\.abs\.default"):
        session.select(names, ["aten.abz.default"])


def test_folders_of_a_torch_and_device():
    assert plans.work_folder("/work", LIBRARY) == plans.corpus_folder("/work", LIBRARY).parent
    assert str(plans.corpus_folder("/work", CPU)) == "/work/2.13/cpu/corpus"
    assert str(plans.corpus_folder("/work", LIBRARY)) == "/work/2.13/cpu/my.ops/corpus"
