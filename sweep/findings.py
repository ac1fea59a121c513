"""What the sweep says about one overload: its status, and its findings. Plain data, without torch, so that it can travel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

AGREES = "agrees"
KNOWN_BAD = "known-bad"
NOT_CALLED = "not-called"
FLAKY = "flaky"

#: Stands for the crossref of a finding that says nothing about any one of them: what the real call itself does.
EVERY = "every"


@dataclass(frozen=True)
class Finding:
    """One disagreement, over all the calls of an overload that show it.

    Attributes:
        crossref: which crossref found it.
        output: where: ``output 0``, ``argument out``, ``inside aten.view.default output 0``, or empty for the whole answer.
        kind: what differs, as in :class:`sweep.compare.Mismatch`.
        index: the dimension at which a size or stride first differs.
        fake: the predicted answer in the example.
        real: the answer it is held against in the example.
        sides: what the crossref calls those two.
        dtypes: the dtypes of the calls that show it, sorted.
        calls: how many calls show it.
        example: the smallest of them, as Python that can be pasted.
        layouts: the memory layouts in which alone it shows, sorted; empty if a call shows it as it was recorded.
    """

    crossref: str
    output: str
    kind: str
    index: int | None
    fake: str
    real: str
    sides: tuple[str, str]
    dtypes: tuple[str, ...]
    calls: int
    example: str
    layouts: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """Where and what, in one phrase: ``output 0 strides[1]``."""
        at = "" if self.index is None else f"[{self.index}]"
        return f"{self.output} {self.kind}{at}".strip()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Finding:
        tuples = {name: tuple(plain[name]) for name in ("sides", "dtypes", "layouts")}
        return cls(**{**plain, **tuples})


@dataclass(frozen=True)
class Result:
    """What a run says about one overload.

    Attributes:
        overload: qualified name.
        reason: why it was not called; empty if it was.
        calls: how many calls were made.
        given_up: how many more were not made, because too many before them killed the process.
        seconds: how long they took, wall clock.
        findings: sorted by crossref, output, kind and index.
        again: what a second run in a fresh process found instead, as an expect file would have it; empty if it was not asked or
            agreed with the first.
    """

    overload: str
    reason: str = ""
    calls: int = 0
    given_up: int = 0
    seconds: float = 0.0
    findings: tuple[Finding, ...] = field(default=())
    again: str = ""

    @property
    def status(self) -> str:
        if self.again:
            return FLAKY
        if self.reason:
            return NOT_CALLED
        return KNOWN_BAD if self.findings else AGREES

    def as_json(self) -> dict[str, Any]:
        return {
            "overload": self.overload,
            "status": self.status,
            "reason": self.reason,
            "calls": self.calls,
            "given_up": self.given_up,
            "seconds": round(self.seconds, 4),
            "findings": [f.as_json() for f in self.findings],
            **({"again": self.again} if self.again else {}),
        }

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Result:
        known = {k: v for k, v in plain.items() if k not in ("status", "findings")}
        return cls(**known, findings=tuple(map(Finding.from_json, plain["findings"])))


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings in the one order in which they are written."""
    return tuple(sorted(findings, key=lambda f: (f.crossref, f.output, f.kind, -1 if f.index is None else f.index)))
