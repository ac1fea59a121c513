"""The examples in docstrings are executed, and a wrong one fails."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import types

import pytest

import opinfo_adapters
import sweep


def modules():
    """Every module of both packages; importing ``__main__`` or a test module would run or need something."""
    for package in (sweep, opinfo_adapters):
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2] not in ("__main__", "test_overloads", "conftest"):
                yield module.name


def examples(name):
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, name) if test.examples]


def run(test):
    """The report of a failed doctest; empty if it passes."""
    report = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert results.attempted > 0
    return "".join(report)


@pytest.mark.parametrize("name", sorted(set(modules())))
def test_every_example_of_a_module_is_true(name):
    for test in examples(name):
        assert run(test) == ""


def test_there_are_examples():
    assert len(examples("sweep.operators.overload")) >= 2
    assert examples("sweep.findings.ending")


def test_a_wrong_example_fails():
    module = types.ModuleType("wrong", ">>> 1 + 1\n3\n")
    [test] = doctest.DocTestFinder().find(module, "wrong", module=False)
    assert "Expected:\n    3\nGot:\n    2" in run(test)
