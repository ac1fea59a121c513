"""Workers of xdist in other folders or on other machines: which recorded calls they use, and whether they are fit for the run.

The controller sends its plan, with the expect files in it. A worker needs the same sources and torch, and a copy of the corpus.
"""

from __future__ import annotations

import functools
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep import files
from sweep.calls import corpus
from sweep.errors import CorpusError, WorkerError
from sweep.isolation.sandbox import Sandbox
from sweep.plan import Plan, base
from sweep.sharding import difference, digest_of_corpus


@dataclass(frozen=True)
class Origin:
    """The place where a run was started, as a worker elsewhere is told.

    Attributes:
        base: the folder that relative paths of the run are relative to.
        sources: digest of the sweep's sources.
    """

    base: str
    sources: str

    @classmethod
    def here(cls) -> Origin:
        """The place of this process."""
        return cls(str(base()), digest_of_sources())


def is_elsewhere(spec: Any) -> bool:
    """Whether the worker of a specification of execnet is anything but a fork of this interpreter in this folder."""
    return not spec.popen or bool(spec.chdir or spec.python)


@functools.cache
def digest_of_sources() -> str:
    """Digest of the sources that this process runs."""
    return files.digest(sorted(Path(__file__).resolve().parent.rglob("*.py")))


def check_sources(origin: Origin) -> None:
    """Checks that a worker has the sources of its controller.

    Raises:
        WorkerError: it has others.
    """
    if digest_of_sources() != origin.sources:
        where = Path(__file__).resolve().parent
        raise WorkerError(f"{_name()} has other sources in {where} than this run: send them with --rsyncdir=CHECKOUT")


def corpus_of(plan: Plan, origin: Origin, rootpath: Path) -> Path:
    """The folder of this run's recorded calls as a worker elsewhere finds it.

    It is looked for where ``--rsyncdir`` puts it, at its place relative to the worker's folder and to its checkout, and at its
    path on the machine of the controller, which may be on a disk that both share.

    Args:
        plan: what is run.
        origin: where it was started.
        rootpath: pytest's rootdir in the worker.

    Raises:
        WorkerError: there is no copy that has the same calls.
    """
    there = Path(plan.corpus)
    candidates = [Path.cwd() / there.name]
    if there.is_relative_to(origin.base):
        candidates += [folder / there.relative_to(origin.base) for folder in (Path.cwd(), rootpath)]
    candidates.append(there)
    for folder in candidates:
        try:
            if digest_of_corpus(corpus.read_manifest(folder)) == plan.corpus_digest:
                return folder
        except CorpusError:
            continue  # there may be a good one elsewhere
    looked = ", ".join(map(str, dict.fromkeys(candidates)))
    raise WorkerError(f"{_name()} has no copy of this run's corpus in {looked}: send it with --rsyncdir={there}")


def scratch() -> Path:
    """The folder of the working folders of this machine's processes."""
    return Path(tempfile.gettempdir()) / f"operator-sweep-{os.getuid()}"


def check_environment(plan: Plan, sandbox: Sandbox) -> None:
    """Checks that a worker's child processes have the torch, device and libraries of the run.

    Raises:
        WorkerError: they have others.
        UserError: the device or a library cannot be used.
    """
    environment = sandbox.request("sweep.operators.queries:environment", device=plan.environment.device)
    differing = difference(plan.environment, environment)
    if differing:
        raise WorkerError(f"{_name()} differs from where the run was started in {differing}")


def _name() -> str:
    """A worker as messages name it."""
    return f"worker {os.environ.get('PYTEST_XDIST_WORKER', '')} on {platform.node()}"
