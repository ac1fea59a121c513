"""The command that accepts what was found says everything that the run was told to do otherwise."""

import pytest

from sweep.session import Options, Plan


def plan(**changes):
    identity = {"device": "cpu", "libraries": {}}
    plain = {
        "identity": identity,
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
    }
    return Plan(**{**plain, **changes})


CUDA = {"device": "cuda", "libraries": {}}
LIBRARY = {"device": "cpu", "libraries": {"my.ops": "digest"}}
PYTEST = "EXPECTTEST_ACCEPT=1 pytest -n auto sweep/"


@pytest.mark.parametrize(
    ("changes", "overload", "command"),
    [
        ({}, None, "make accept"),
        ({}, "aten.abs.default", "make accept OPS=aten.abs.default"),
        ({"identity": CUDA}, "aten.abs.out", "make accept DEVICE=cuda OPS=aten.abs.out"),
        ({"own_corpus": False}, None, f"{PYTEST} --corpus /corpora/one"),
        ({"all_crossrefs": False, "crossrefs": ["fake"]}, None, f"{PYTEST} --crossref fake"),
        (
            {"identity": LIBRARY, "results": "/a folder/2.13/cpu"},
            "my.op.default",
            f"{PYTEST} --import my.ops --results '/a folder' --ops my.op.default",
        ),
        ({"identity": CUDA, "own_corpus": False}, None, f"{PYTEST} --corpus /corpora/one --device cuda"),
    ],
)
def test_the_command_that_accepts(changes, overload, command):
    assert plan(**changes).accept_command(overload) == command
