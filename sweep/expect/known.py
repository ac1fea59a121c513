"""What an expect file says about one overload, as data: its findings, or why it is not called. Read by ``expect_file``."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from sweep.findings.ending import EndingKind
from sweep.findings.finding import author
from sweep.findings.kind import LostValidation
from sweep.findings.kind_class import KindClass, kind_class
from sweep.findings.reason import ReasonKind

#: How a finding begins that ends the process.
_DEADLY = (EndingKind.CRASH.value, EndingKind.EXIT.value, EndingKind.TIMEOUT.value, EndingKind.HANGUP.value)


class Standing(enum.Enum):
    """What an expect file says about an overload in one word."""

    ABSENT = "absent"
    NOT_CALLED = "not called"
    AGREES = "agrees"
    UNSUPPORTED = "unsupported"
    KNOWN_BAD = "known-bad"

    def __str__(self) -> str:
        return self.value

    @property
    def is_called(self) -> bool:
        """Whether the overload was called."""
        return self not in (Standing.ABSENT, Standing.NOT_CALLED)


@dataclass(frozen=True)
class KnownFinding:
    """One finding of an expect file.

    Attributes:
        crossref: the crossref that reports it, or ``call``.
        form: its form, or empty.
        what: place, kind and index: ``output 0 strides[1]``.
        calls: how many calls show it.
        total: how many calls that is out of.
        extent: the dtypes and variants of those calls, as the file has them after the numbers; empty if it has none.
        example: the call that shows it, as Python, with the comment that may follow.
        sides: the lines under the example, each the name of a side and what it says.
    """

    crossref: str
    form: str
    what: str
    calls: int
    total: int
    extent: str
    example: str
    sides: tuple[tuple[str, str], ...]

    @property
    def author(self) -> str:
        """The crossref and its form: ``validation[fake]``."""
        return author(self.crossref, self.form)

    @property
    def title(self) -> str:
        """What identifies the finding among those of its overload: ``fake: output 0 strides[1]``."""
        return f"{self.author}: {self.what}"

    @property
    def kind(self) -> KindClass:
        """The class of its kind."""
        return kind_class(self.what)

    @property
    def is_refusal(self) -> bool:
        """Whether one side only refuses the call by design; as ``Finding.is_refusal``."""
        return self.kind is KindClass.UNSUPPORTED or self.what == str(LostValidation(NotImplementedError.__name__))

    @property
    def ends_process(self) -> bool:
        """Whether the call, or its prediction, ends the process or never ends."""
        return self.what.startswith(_DEADLY)


@dataclass(frozen=True)
class Known:
    """What an expect file says about one overload; the default is nothing.

    Attributes:
        standing: in one word.
        findings: in the order of the file.
        reason: why it is not called; empty if it is.
    """

    standing: Standing = Standing.ABSENT
    findings: tuple[KnownFinding, ...] = field(default=())
    reason: str = ""

    @property
    def has_kernel(self) -> bool:
        """Whether the device has a kernel for it."""
        return not self.reason.startswith(ReasonKind.NO_KERNEL.value.format(""))
