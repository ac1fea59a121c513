"""An installed sweep: an entry point adds its options, its files go to the current folder, and other suites are untouched."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

from tests.whole_runs import ROOT, content, environment, rows_of

#: A suite with an option of the same name as one of the sweep's.
OTHER_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--device", default="none")
"""
OTHER_TEST = """
def test_option(request):
    assert request.config.getoption("--device") == "tpu"
    assert not request.config.pluginmanager.has_plugin("sweep-hooks")
    assert request.config.pluginmanager.has_plugin("sweep")
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder that the package was built and installed into; built once for all workers of xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _install(folder)
            (folder / "ready").touch()
    return folder / "site"


def _install(folder):
    """Installs a copy of the sources, since a build leaves files beside them."""
    for name in ("sweep", "opinfo_adapters"):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "sources" / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    line = [sys.executable, "-m", "pip", "install", "-q", *options, "--target", str(folder / "site"), str(folder / "sources")]
    completed = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)
    assert completed.returncode == 0, completed.stdout + completed.stderr


@pytest.fixture
def run_pytest(installed, tmp_path):
    """Runs pytest in an empty folder, with the installed package and the dependencies of this interpreter."""
    here = tmp_path / "empty"
    here.mkdir()

    def run(*arguments, accept=False):
        variables = {
            **environment(accept=accept),
            "PYTHONPATH": os.pathsep.join((str(installed), sysconfig.get_path("purelib"))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        line = [sys.executable, "-S", "-P", "-m", "pytest", *arguments]
        return subprocess.run(line, cwd=here, env=variables, capture_output=True, text=True, timeout=300)

    return run


def test_every_stored_call_is_installed(installed):
    folders = [folder / "opinfo_adapters" for folder in (ROOT, installed)]
    here, there = ({path.relative_to(f): path.read_text() for path in f.glob("*ed/*.[tj]*")} for f in folders)
    assert len(here) > 2
    assert there == here


def test_the_package_has_what_a_sweep_needs(installed):
    files = content(installed)
    assert {"sweep/plugin.py", "sweep/report/renderers/terminal.py", "opinfo_adapters/opinfo.py"} <= files.keys()
    sources = {str(path.relative_to(ROOT)) for name in ("sweep", "opinfo_adapters") for path in (ROOT / name).rglob("*.py")}
    assert sources <= files.keys()
    assert not any(name.startswith("tests/") for name in files)


def test_an_installed_sweep_works_in_the_current_folder(run_pytest, installed, known, tmp_path):
    here = tmp_path / "empty"
    before = content(installed)
    shutil.copytree(known / "results", here / "expect")
    arguments = ["--pyargs", "sweep", "--ops", "aten.max_unpool2d*", "--corpus", str(known / "corpus"), "--results", "./expect"]
    completed = run_pytest("-q", *arguments)
    assert (completed.returncode, completed.stderr) == (0, ""), completed.stdout + completed.stderr
    assert "1 passed, 1 skipped" in completed.stdout
    assert sorted(path.name for path in here.iterdir()) == [".sweep", "expect"]
    [run_file] = (here / ".sweep").glob("*/cpu/run.jsonl")
    rows, _ = rows_of(run_file)
    assert rows.keys() == {"aten.max_unpool2d.default", "aten.max_unpool2d.out"}
    assert content(installed) == before
    assert content(here / "expect") == content(known / "results")
    in_workers = run_pytest("-q", "-n", "2", *arguments)
    assert (in_workers.returncode, in_workers.stderr) == (0, ""), in_workers.stdout + in_workers.stderr
    assert content(installed) == before


def test_a_first_run_says_how_to_make_expect_files(run_pytest, known, tmp_path):
    arguments = ["--pyargs", "sweep", "--ops", "aten.max_unpool2d*", "--corpus", str(known / "corpus"), "--results", "./expect"]
    completed = run_pytest("-q", *arguments)
    assert completed.returncode == 1, completed.stdout + completed.stderr
    [note] = [line for line in completed.stdout.splitlines() if line.startswith("no expect files for torch")]
    assert f"EXPECTTEST_ACCEPT=1 pytest -n auto --pyargs sweep --corpus={known / 'corpus'}" in note
    assert not (tmp_path / "empty" / "expect").exists()


def test_its_options_are_those_of_a_run_that_names_it(run_pytest):
    named = run_pytest("--pyargs", "sweep", "--help")
    assert "--native-cpu" in named.stdout, named.stderr
    other = run_pytest("--help")
    assert other.returncode == 0
    assert "--native-cpu" not in other.stdout


def test_another_suite_may_have_an_option_of_the_same_name(run_pytest, tmp_path):
    here = tmp_path / "empty"
    (here / "conftest.py").write_text(OTHER_CONFTEST)
    (here / "test_other.py").write_text(OTHER_TEST)
    completed = run_pytest("-q", "-p", "no:cacheprovider", "--device", "tpu")
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "1 passed" in completed.stdout
    assert not (here / ".sweep").exists()


def test_a_current_folder_that_cannot_be_written_is_one_line(run_pytest, known, tmp_path):
    (tmp_path / "empty" / ".sweep").touch()
    completed = run_pytest("-q", "--pyargs", "sweep", "--corpus", str(known / "corpus"), "--results", str(known / "results"))
    assert (completed.returncode, completed.stdout.strip()) == (4, ""), completed
    [line] = completed.stderr.strip().splitlines()
    assert f"cannot write to {tmp_path / 'empty' / '.sweep'}" in line
