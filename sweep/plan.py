"""What the user asked for (``Options``) and what one run does (``Plan``), as plain data, and the folders they name.

How a plan is prepared stands in ``session``. Imported by the parent; no torch.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sweep.expect import ExpectFile
from sweep.expect.notes import Note
from sweep.findings.reason import Reason
from sweep.operators.environment import Environment
from sweep.sharding import Part, Shard

#: The folder that holds the package: a checkout of the repository, or ``site-packages``.
ROOT = Path(__file__).resolve().parent.parent


def base() -> Path:
    """The folder of ``results/`` and ``.sweep/``: the checkout that the package is imported from, else the current folder."""
    return ROOT if (ROOT / "pyproject.toml").is_file() else Path.cwd()


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        device: such as ``cpu``, ``cuda``, ``cuda:1``.
        ops: globs of overloads; empty is all.
        crossrefs: names; empty is all.
        corpus: a folder of recorded calls to use as it is, or ``None`` for the one of this torch and device.
        results: the folder of all expect files.
        work: the folder of corpora and of what runs leave behind.
        timeout: seconds that one call may take.
        overload_timeout: seconds that the calls of one overload may take together; 0 is no limit.
        memory: bytes that one child process may use; 0 is no limit, ``None`` the device's default.
        libraries: modules whose operators are swept instead of torch's own.
        workers: number of recording processes, if a corpus has to be recorded.
        native_cpu: make calls with all instruction sets that the CPU has, not with those of the baseline.
        accept: take what the run finds as what is expected.
        shard: run only this part of the overloads.
        keyword: pytest's ``-k``, by which it selects some of the items.
    """

    device: str = "cpu"
    ops: tuple[str, ...] = ()
    crossrefs: tuple[str, ...] = ()
    corpus: str | None = None
    results: str = field(default_factory=lambda: str(base() / "results"))
    work: str = field(default_factory=lambda: str(base() / ".sweep"))
    timeout: float = 120.0
    overload_timeout: float = 900.0
    memory: int | None = None
    libraries: tuple[str, ...] = ()
    workers: int = field(default_factory=_cores)
    native_cpu: bool = False
    accept: bool = False
    shard: Shard | None = None
    keyword: str = ""


#: Options whose values are paths.
_PATHS = ("--corpus", "--results", "--work-dir")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What has to be known at the end of a run to report and accept its results.

    Attributes:
        environment: torch, device and libraries.
        corpus: the folder of recorded calls.
        own_corpus: whether that is the corpus of this torch and device, rather than another one that the user named.
        crossrefs: names, sorted.
        all_crossrefs: whether these are all that are registered.
        results: the folder of this torch's and device's expect files.
        unknown: number of overloads in the corpus that this torch does not have.
        expected: whether there are expect files to compare with.
        work: the folder of what runs of this torch and device leave behind, as in ``.sweep/2.13/cpu``.
        scratch: the folder of the working folders of processes.
        notes: people's notes on findings.
    """

    environment: Environment
    corpus: str
    own_corpus: bool
    crossrefs: list[str]
    all_crossrefs: bool
    results: str
    unknown: int
    expected: bool
    work: str
    scratch: str
    notes: tuple[Note, ...] = ()

    def run_folder(self) -> Path:
        """The folder of what runs of this torch and device leave behind."""
        return Path(self.work)

    def accept_command(self, overload: str | None = None) -> str:
        """The shell command that accepts what this run found, about one overload or about all."""
        default = Options()
        device = self.environment.device
        results = Path(self.results).parent.parent  # without the folders of torch and device
        options = {
            "--corpus": [] if self.own_corpus else [self.corpus],
            "--import": list(self.environment.libraries),
            "--results": [] if results == Path(default.results) else [str(results)],
            "--crossref": [] if self.all_crossrefs else self.crossrefs,
        }
        work = Path(self.scratch).parent
        options["--work-dir"] = [] if work == Path(default.work) else [str(work)]
        in_checkout = base() == ROOT
        if in_checkout and not any(options.values()):  # make can say it
            return "make accept" + (f" DEVICE={device}" if device != "cpu" else "") + (f" OPS={overload}" if overload else "")
        options["--device"] = [device] if device != "cpu" else []
        options["--ops"] = [overload] if overload else []
        words: list[str] = []
        for name, values in options.items():
            for value in values:
                # pytest would take a path that is a word of its own for one of tests, and look for the rootdir there.
                words += [f"{name}={value}"] if name in _PATHS else [name, value]
        tests = ["sweep/"] if in_checkout else ["--pyargs", "sweep"]
        return shlex.join(["EXPECTTEST_ACCEPT=1", "pytest", "-n", "auto", *tests, *words])


@dataclass(frozen=True, kw_only=True)
class Plan(RunSettings):
    """What one run does. It can be pickled and travels to every worker.

    Attributes:
        reasons: overload -> why it is not called; ``None`` if it is. Has every overload of this torch.
        selected: the overloads to run, sorted; those that only an expect file has are among them.
        timeout: seconds that one call may take.
        overload_timeout: seconds that the calls of one overload may take together; 0 is no limit.
        memory: bytes that one child process may use; 0 is no limit.
        native_cpu: whether calls use all instruction sets that the CPU has.
        baseline: the expect files by namespace; empty if there are none.
        corpus_digest: digest of the recorded calls.
        part: the shard that ``selected`` is; ``None`` if this is no sharded sweep.
    """

    reasons: Mapping[str, Reason | None]
    selected: list[str]
    timeout: float
    overload_timeout: float
    memory: int
    native_cpu: bool
    baseline: Mapping[str, ExpectFile] = field(default_factory=dict)
    corpus_digest: str = ""
    part: Part | None = None


def work_folder(work: str, environment: Environment) -> Path:
    """The folder of what runs of a torch and device leave behind; imported libraries have one of their own."""
    folder = Path(work) / environment.release / environment.device_type
    return folder / "+".join(environment.libraries) if environment.libraries else folder


def corpus_folder(work: str, environment: Environment) -> Path:
    """The folder of the corpus of a torch and device."""
    return work_folder(work, environment) / "corpus"


def scratch_folder(work: str) -> Path:
    """The folder of the working folders of this machine's processes; workers on other machines may share ``work``."""
    return Path(work) / f"scratch-{platform.node() or 'local'}"
