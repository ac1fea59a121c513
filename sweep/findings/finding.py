"""What the sweep says about one overload: its status and its findings."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sweep.findings.ending import Ending, EndingKind
from sweep.findings.kind import Kind, LostValidation, OutOfBoundsAccess
from sweep.findings.reason import Reason

#: Stands for the crossref of a finding about the real call itself, which no crossref is the author of.
CALL = "call"


class Status(enum.Enum):
    """What a run says about an overload in one word."""

    AGREES = "agrees"
    KNOWN_BAD = "known-bad"
    UNSUPPORTED = "unsupported"
    NOT_CALLED = "not-called"
    FLAKY = "flaky"


class Claim(enum.Enum):
    """What one call says about a finding."""

    #: The call shows it.
    SHOWN = enum.auto()
    #: The call shows it, but the finding stands only if no other call of the overload refutes it: "is never written to".
    UNLESS_REFUTED = enum.auto()
    #: The call refutes it.
    REFUTED = enum.auto()


class Population(enum.Enum):
    """The calls that a finding's number of calls is out of; the value is their name in expect files."""

    #: All calls that are made.
    MADE = "call"
    #: Those that its crossref compared, which are others or more than those that are made.
    COMPARED = "compared call"
    #: Those that were refused when they were recorded.
    REFUSED = "refused call"


@dataclass(frozen=True)
class Place:
    """The part of an outcome that disagrees; the default is the whole outcome.

    Attributes:
        output: position of the return value, or ``None``.
        argument: name of the argument that the call wrote to, or empty.
        in_list: any tensor of a list, rather than one of its own.
        inside: qualified name of the overload inside the call whose outcome it is; empty for the call's own.

    >>> str(Place(output=0, in_list=True, inside="aten.view.default"))
    'inside aten.view.default output 0[]'
    """

    output: int | None = None
    argument: str = ""
    in_list: bool = False
    inside: str = ""

    def __str__(self) -> str:
        name = f"output {self.output}" if self.output is not None else f"argument {self.argument}" if self.argument else ""
        inside = f"inside {self.inside}" if self.inside else ""
        return " ".join(filter(None, (inside, f"{name}[]" if self.in_list else name)))


#: The whole outcome of a call.
WHOLE = Place()


@dataclass(frozen=True)
class Mismatch:
    """One disagreement between the predicted and the actual outcome of one call.

    Attributes:
        place: the part of the outcome that disagrees.
        kind: how it disagrees.
        index: the first dimension that differs, for sizes and strides.
        predicted: the predicted side as text.
        actual: the actual side as text.
        claim: what the call says about the finding.
    """

    place: Place
    kind: Kind
    index: int | None = None
    predicted: str = ""
    actual: str = ""
    claim: Claim = Claim.SHOWN


@dataclass(frozen=True)
class Key:
    """What mismatches of different calls have to have in common to be one finding."""

    crossref: str
    place: Place
    kind: Kind
    index: int | None = None
    form: str = ""

    @classmethod
    def of(cls, crossref: str, mismatch: Mismatch, form: str = "") -> Key:
        """The key of a mismatch that a form of a crossref found."""
        return cls(crossref, mismatch.place, mismatch.kind, mismatch.index, form)

    @property
    def author(self) -> str:
        """The crossref and its form: ``fake``, ``equivalence[out=]``."""
        return author(self.crossref, self.form)

    @property
    def what(self) -> str:
        """Place, kind and index as one phrase: ``output 0 strides[1]``, ``writes past argument out``."""
        return phrase(self.place, self.kind, self.index)

    @property
    def title(self) -> str:
        """What identifies the finding among those of its overload: ``fake: output 0 strides[1]``."""
        return f"{self.author}: {self.what}"


@dataclass(frozen=True)
class Finding:
    """One disagreement, over all the calls of an overload that show it.

    Attributes:
        crossref: name of the crossref that found it, or ``CALL``.
        place: as in :class:`Mismatch`.
        kind: as in :class:`Mismatch`.
        index: as in :class:`Mismatch`.
        predicted: the predicted side of the example as text.
        actual: the actual side of the example as text.
        labels: the crossref's names for the two sides, such as ``("fake", "real")``.
        dtypes: dtypes of the first tensor argument of the calls that show it, sorted.
        calls: how many calls show it.
        example: a call that shows it, as Python that can be pasted.
        variants: the names of the variants in which alone it shows, sorted; empty if a call shows it as it was recorded.
        form: the form of the crossref that found it; empty for a crossref that makes a single prediction.
        population: the calls that ``calls`` is out of.
        given_up: whether the author was asked about no later call, since it had ended too many processes.
    """

    crossref: str
    place: Place
    kind: Kind
    index: int | None
    predicted: str
    actual: str
    labels: tuple[str, str]
    dtypes: tuple[str, ...]
    calls: int
    example: str
    variants: tuple[str, ...] = ()
    form: str = ""
    population: Population = Population.MADE
    given_up: bool = False

    @property
    def key(self) -> Key:
        """What the mismatches of its calls have in common."""
        return Key(self.crossref, self.place, self.kind, self.index, self.form)

    @property
    def author(self) -> str:
        """As :attr:`Key.author`."""
        return self.key.author

    @property
    def what(self) -> str:
        """As :attr:`Key.what`."""
        return self.key.what

    @property
    def title(self) -> str:
        """As :attr:`Key.title`."""
        return self.key.title

    @property
    def is_refusal(self) -> bool:
        """Whether one side only refuses the call by design, which is no wrong prediction.

        A real call does so by raising ``NotImplementedError``: that is how a device says that it has no kernel for a dtype.
        """
        if isinstance(self.kind, LostValidation):
            return self.kind.error == NotImplementedError.__name__
        return isinstance(self.kind, Ending) and self.kind.kind is EndingKind.UNSUPPORTED

    @property
    def has_error(self) -> bool:
        """Whether a side raised something."""
        raising = (EndingKind.RAISED, EndingKind.INTERNAL_ASSERT, EndingKind.UNSUPPORTED)
        return isinstance(self.kind, LostValidation) or (isinstance(self.kind, Ending) and self.kind.kind in raising)


@dataclass(frozen=True)
class Result:
    """What a run says about one overload.

    Attributes:
        overload: qualified name.
        reason: why it was not called or not compared; ``None`` if it was.
        calls: how many calls were made.
        given_up: how many more were not made: too many before them killed the process, or the time was over.
        seconds: wall-clock time of its calls.
        findings: in the order of :func:`ordered`.
        compared: crossref -> number of calls that it compared.
        seconds_of: crossref -> wall-clock time of its predictions and comparisons.
        rerun: what a second run in a fresh process found, where that is something else; it makes the overload flaky.
    """

    overload: str
    reason: Reason | None = None
    calls: int = 0
    given_up: int = 0
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    compared: Mapping[str, int] = field(default_factory=dict)
    seconds_of: Mapping[str, float] = field(default_factory=dict)
    rerun: Result | None = None

    @property
    def status(self) -> Status:
        if self.rerun is not None:
            return Status.FLAKY
        if self.reason is not None:
            return Status.NOT_CALLED
        if all(finding.is_refusal for finding in self.findings):
            return Status.UNSUPPORTED if self.findings else Status.AGREES
        return Status.KNOWN_BAD


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings in the one order in which they are written: by crossref, form, place, kind and index."""
    return tuple(sorted(findings, key=_order))


def _order(finding: Finding) -> tuple[str, str, str, str, int]:
    index = -1 if finding.index is None else finding.index
    return finding.crossref, finding.form, str(finding.place), str(finding.kind), index


def phrase(place: Place, kind: Kind, index: int | None) -> str:
    """Place, kind and index of a mismatch or finding as one phrase.

    >>> from sweep.findings.kind import Difference
    >>> phrase(Place(output=0), Difference.STRIDES, 1)
    'output 0 strides[1]'
    """
    if isinstance(kind, OutOfBoundsAccess):
        return f"{kind} {place}".strip()
    at = "" if index is None else f"[{index}]"
    return f"{place} {kind}{at}".strip()


def author(crossref: str, form: str) -> str:
    """The name of a form of a crossref in texts.

    >>> author("fake", ""), author("equivalence", "out=")
    ('fake', 'equivalence[out=]')
    """
    return f"{crossref}[{form}]" if form else crossref
