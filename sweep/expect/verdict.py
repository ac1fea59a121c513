"""Verdicts: what a run says about an overload beside what its expect file says. Accepting them is in ``accept``."""

from __future__ import annotations

import enum
import pickle
from dataclasses import dataclass

from sweep.expect.expect_file import ABSENT_TEXT, AGREE_TEXT, UNKNOWN_TEXT, is_exempt, summary, summary_of_result
from sweep.findings.finding import Result, Status
from sweep.findings.reason import ReasonKind


class Change(enum.Enum):
    """The ways in which a result can differ from the baseline."""

    #: It disagrees, or is not called, in a way that no expect file says.
    NEW = "new"
    #: It agrees, or the overload does not exist, where an expect file says otherwise.
    GONE = "gone"
    #: A second run in a fresh process found something else, so neither counts.
    FLAKY = "flaky"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Verdict:
    """A result beside its baseline.

    Attributes:
        result: what the run says.
        expected: the text of the expect file.
        actual: the result as such a text.
        partial: only some crossrefs were run.
    """

    result: Result
    expected: str
    actual: str
    partial: bool = False

    def to_bytes(self) -> bytes:
        """The verdict as bytes, for a worker to send."""
        return pickle.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Verdict:
        """The verdict that a worker of this run sent."""
        verdict = pickle.loads(data)
        assert isinstance(verdict, cls)
        return verdict

    @property
    def absent(self) -> bool:
        """Whether only an expect file mentions the overload."""
        return self.result.reason is not None and self.result.reason.kind is ReasonKind.ABSENT

    @property
    def change(self) -> Change | None:
        """How the result differs from the baseline; ``None`` if it does not."""
        if self.result.status is Status.FLAKY:
            return Change.FLAKY
        if self.expected == self.actual or self._exempt_in_part():
            return None
        improved = self.actual in (AGREE_TEXT, ABSENT_TEXT) and self.expected != UNKNOWN_TEXT
        return Change.GONE if improved else Change.NEW

    def _exempt_in_part(self) -> bool:
        """Whether no crossref of this run applies, and the baseline, which is about all crossrefs, has no finding of theirs."""
        exempt = self.result.reason is not None and self.result.reason.kind is ReasonKind.EXEMPT
        return self.partial and exempt and (self.expected == AGREE_TEXT or is_exempt(self.expected))

    @property
    def transition(self) -> str:
        """From what to what, in one line: ``agrees -> fake: output 0 dtype``; of a flaky overload, also what came next."""
        rerun = f", then {summary_of_result(self.result.rerun)}" if self.result.rerun is not None else ""
        return f"{summary(self.expected)} -> {summary_of_result(self.result)}{rerun}"
