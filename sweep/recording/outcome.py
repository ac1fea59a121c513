"""The outcome of a recording task, and the plan of its attempts, as plain data. Imported by parent and child; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sweep.findings.kind import Access


@dataclass(frozen=True)
class PairCounts:
    """What became of the pairs of mutations that a derivation was to cover.

    Attributes:
        covered: those that a kept call has.
        infeasible: those that the kernel refuses.
        left: those for which there was no room.
    """

    covered: int = 0
    infeasible: int = 0
    left: int = 0

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(self.covered + other.covered, self.infeasible + other.infeasible, self.left + other.left)


@dataclass(frozen=True)
class TaskOutcome:
    """What happened in one task. The default is a task that was given up.

    Attributes:
        dispatched: number of calls that were observed or attempted.
        calls: number of calls that were kept.
        refused: exception class of an attempted call -> count.
        unrecordable: reason -> number of calls without a plain-data form.
        failures: description -> number of samples that could not be generated or run.
        out_of_bounds: how a call used memory outside of its arguments -> the smallest such call, printed.
        refusals: overload -> the error that its calls were refused with: of a derivation that found no call of an overload
            without any, the most frequent one; of an adapter, that of the first call which was written for the overload.
        pairs: what became of the pairs of mutations, if the task has any.
    """

    dispatched: int = 0
    calls: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    unrecordable: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    out_of_bounds: Mapping[Access, str] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    pairs: PairCounts = PairCounts()

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON data."""
        return {
            "dispatched": self.dispatched,
            "calls": self.calls,
            "refused": dict(self.refused),
            "unrecordable": dict(self.unrecordable),
            "failures": dict(self.failures),
            "out_of_bounds": {kind.value: text for kind, text in self.out_of_bounds.items()},
            "refusals": dict(self.refusals),
            "pairs": asdict(self.pairs),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TaskOutcome:
        """The inverse of :meth:`as_json`.

        Raises:
            KeyError: a field is missing.
            ValueError: an unknown kind of out-of-bounds access.
        """
        out_of_bounds = {Access(kind): text for kind, text in data["out_of_bounds"].items()}
        names = ("dispatched", "calls", "refused", "unrecordable", "failures", "refusals")
        return cls(**{name: data[name] for name in names}, out_of_bounds=out_of_bounds, pairs=PairCounts(**data["pairs"]))


@dataclass(frozen=True)
class AttemptPlan:
    """Which attempts of a derivation's task to make. Attempts are numbered from 0 and come in the same order every time.

    Attributes:
        skip: attempts not to make, because they ended the process.
        crashes: those of them whose calls are kept without being made, because they crash every time.
        only: the one attempt to make, to see whether it crashes again; ``None`` for all.
        stop: the first attempt that is not made any more, because too many before it ended the process; ``None`` for no limit.
    """

    skip: tuple[int, ...] = ()
    crashes: tuple[int, ...] = ()
    only: int | None = None
    stop: int | None = None

    def allows(self, attempt: int) -> bool:
        """Whether to make an attempt."""
        is_before_stop = self.stop is None or attempt < self.stop
        return is_before_stop and attempt not in self.skip and self.only in (None, attempt)
