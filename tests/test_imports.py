"""What imports what: no circle between files or rooms, and no torch in the parent."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Packages and modules that run in a child process and may import torch. Everything else in ``sweep`` runs in the parent as well.
CHILD = (
    "sweep.calls",
    "sweep.causes.attribution",
    "sweep.causes.cached",
    "sweep.causes.decomposed",
    "sweep.causes.functionalized",
    "sweep.causes.naming",
    "sweep.causes.native_functions",
    "sweep.causes.tracer",
    "sweep.causes.work",
    "sweep.crossref.",
    "sweep.execution",
    "sweep.operators",
    "sweep.recording.adapters",
    "sweep.recording.attempts",
    "sweep.recording.observers",
    "sweep.recording.recorded",
    "sweep.recording.recorder",
    "sweep.recording.tasks",
    "sweep.recording.text",
    "sweep.search.measuring",
    "sweep.search.mutations",
    "sweep.search.plain",
    "sweep.search.predictions",
    "sweep.search.searching",
    "sweep.search.work",
    "sweep.shrinking",
)

#: Modules of those packages that the parent uses too.
PARENT = (
    "sweep.calls",
    "sweep.calls.call",
    "sweep.calls.corpus",
    "sweep.execution",
    "sweep.execution.checkpoints",
    "sweep.execution.explanation",
    "sweep.operators",
    "sweep.operators.environment",
    "sweep.operators.facts",
    "sweep.operators.module",
    "sweep.operators.overload",
    "sweep.operators.requirements",
)

#: May be imported in a child only, and by name.
FORBIDDEN = ("torch", "opinfo_adapters")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in ("sweep", "opinfo_adapters") for path in (ROOT / package).rglob("*.py")}


def runs_in_parent(name):
    if not name.startswith("sweep") or name in PARENT:
        return name.startswith("sweep")
    return not any(name == child or name.startswith(child if child.endswith(".") else f"{child}.") for child in CHILD)


def imports(name):
    """The modules that a module imports, anywhere in it, also for type annotations alone."""
    imported = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                imported.add(submodule if submodule in MODULES else node.module)
    return imported


def room(name):
    """The room of a module: a package of ``sweep``, one of its files, or ``opinfo_adapters``."""
    parts = name.split(".")
    return parts[0] if parts[0] == "opinfo_adapters" else ".".join(parts[:2])


def circle(graph):
    """A circle of a graph as a list of names; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_circle_between_files():
    assert circle({name: imports(name) & MODULES.keys() - {name} for name in MODULES}) == []


def test_no_circle_between_rooms():
    graph = {}
    for name in MODULES:
        graph.setdefault(room(name), set()).update(room(other) for other in imports(name) & MODULES.keys())
    assert circle({name: others - {name} for name, others in graph.items()}) == []


def test_a_circle_is_detected():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_names_of_modules_that_are_listed_here_exist():
    assert [name for name in PARENT if name not in MODULES] == []
    assert [name for name in CHILD if not any(module.startswith(name) for module in MODULES)] == []


@pytest.mark.parametrize("name", sorted(filter(runs_in_parent, MODULES)))
def test_no_module_of_the_parent_names_torch_or_a_module_of_the_child(name):
    imported = imports(name)
    assert [other for other in imported if other.split(".")[0] in FORBIDDEN] == []
    assert [other for other in imported & MODULES.keys() if not runs_in_parent(other)] == []


def test_the_parent_never_imports_torch():
    """Not by way of others either: every module that runs in the parent, in one new process."""
    names = sorted(filter(runs_in_parent, MODULES))
    code = f"""
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
    loaded = [module for module in {FORBIDDEN!r} if module in sys.modules]
    assert not loaded, f"{{name}} imports {{loaded}}"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "sweep.conftest" in names
    assert len(names) > 20
