"""What is known of a finding's cause, as plain data: the function that answered, and what is wrong with its answer. No torch."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sweep.findings.ending import Ending, EndingKind
from sweep.findings.kind import Difference, Kind, LostValidation, OutOfBoundsAccess, SchemaFault, StateChange


class Fault(enum.Enum):
    """What is wrong with an answer; the value is its text."""

    SHAPE = "number, rank or size of outputs"
    LAYOUT = "strides, offset or aliasing"
    TYPE = "dtype, device or type"
    METADATA = "metadata"
    VALUE = "values"
    RAISES = "raises"
    GUARDS = "guards on an unbacked size"
    SYMBOLIC = "raises on symbolic sizes"
    REFUSES = "refuses by design"
    ACCEPTS = "accepts what the kernel refuses"
    FORM = "another form of the call differs"
    MEMORY = "out of bounds"
    DIES = "ends the process"
    KERNEL = "values, memory or ending"
    SCHEMA = "not as in the schema"
    STATE = "changes the process's state"

    def __str__(self) -> str:
        return self.value

    def grouped(self, *, symbolic: bool) -> Fault:
        """The class by which findings are grouped.

        Args:
            symbolic: whether it shows with symbolic sizes only.

        >>> Fault.LAYOUT.grouped(symbolic=False), Fault.GUARDS.grouped(symbolic=True)
        (<Fault.METADATA: 'metadata'>, <Fault.SYMBOLIC: 'raises on symbolic sizes'>)
        """
        match self:
            case Fault.SHAPE | Fault.LAYOUT | Fault.TYPE:
                return Fault.METADATA
            case Fault.FORM | Fault.MEMORY | Fault.DIES:
                return Fault.KERNEL
            case Fault.RAISES | Fault.GUARDS:
                return Fault.SYMBOLIC if symbolic else Fault.RAISES
            case _:
                return self


_OF_DIFFERENCE = {
    Difference.OUTPUTS: Fault.SHAPE,
    Difference.CONTAINER: Fault.SHAPE,
    Difference.RANK: Fault.SHAPE,
    Difference.SIZE: Fault.SHAPE,
    Difference.STRIDES: Fault.LAYOUT,
    Difference.OFFSET: Fault.LAYOUT,
    Difference.LAYOUT: Fault.LAYOUT,
    Difference.CONJ: Fault.LAYOUT,
    Difference.NEG: Fault.LAYOUT,
    Difference.ALIASING: Fault.LAYOUT,
    Difference.TYPE: Fault.TYPE,
    Difference.DTYPE: Fault.TYPE,
    Difference.DEVICE: Fault.TYPE,
    Difference.VALUE: Fault.VALUE,
}

#: The exception by which a branch on an unbacked size shows.
_GUARD = "GuardOnDataDependentSymNode"


def fault_of(kind: Kind) -> Fault:
    """The class of a kind of finding.

    >>> fault_of(Difference.OFFSET), fault_of(LostValidation("ValueError"))
    (<Fault.LAYOUT: 'strides, offset or aliasing'>, <Fault.ACCEPTS: 'accepts what the kernel refuses'>)
    """
    match kind:
        case Difference():
            return _OF_DIFFERENCE[kind]
        case LostValidation():
            return Fault.ACCEPTS
        case OutOfBoundsAccess():
            return Fault.MEMORY
        case SchemaFault():
            return Fault.SCHEMA
        case StateChange():
            return Fault.STATE
        case Ending(EndingKind.UNSUPPORTED):
            return Fault.REFUSES
        case Ending(EndingKind.RAISED | EndingKind.INTERNAL_ASSERT):
            return Fault.GUARDS if kind.detail == _GUARD else Fault.RAISES
        case Ending():
            return Fault.DIES


class Role(enum.Enum):
    """What a function is to the finding that it answers for; the value is its text."""

    PYTHON = "Python"
    CPP = "C++"
    META_KERNEL = "C++ meta kernel"
    COMPOSITE_KERNEL = "C++ composite kernel"
    KERNEL = "kernel"
    FUNCTIONALIZATION = "functionalization kernel"
    GENERATED = "generated kernel"
    MISSING = "no meta kernel"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Function:
    """The function that answered.

    Attributes:
        place: its file, from the folder that holds ``torch``; of a kernel in C++ the file and line of its registration. Empty if
            unknown.
        line: line of its definition in Python; 0 for anything else.
        name: qualified name in Python or C++; of a kernel its overload, or the functional form of that; of a generated kernel the
            function that generates it; of a missing one the function that looks for it.
        role: what it is to the finding.

    >>> str(Function("torch/_refs/__init__.py", 7, "abs", Role.PYTHON)), str(Function("", 0, "aten.abs.default", Role.KERNEL))
    ('torch/_refs/__init__.py:7 abs', 'kernel of aten.abs.default')
    """

    place: str
    line: int
    name: str
    role: Role

    def __str__(self) -> str:
        role = self.role
        if role is Role.PYTHON:
            return f"{self.place}:{self.line} {self.name}"
        if role is Role.CPP:
            return f"{self.name} ({role})"
        if role is Role.GENERATED:
            return f"{role} ({self.place} {self.name})"
        if role is Role.MISSING:
            return f"{role} ({self.place}:{self.line} {self.name})"
        return f"{role} of {self.name}"

    @property
    def order(self) -> tuple[str, int, str, str]:
        """By what functions are sorted."""
        return self.place, self.line, self.name, self.role.name


@dataclass(frozen=True)
class Answer:
    """The cause of one finding.

    Attributes:
        title: what identifies the finding among those of its overload.
        function: the function that answered; ``None`` if that is unknown.
        fault: what is wrong with its answer.
        operator: the operator inside the call whose answer is the first wrong one; empty if it is the overload itself.
        unknown: why the function is unknown; empty if it is known.
    """

    title: str
    function: Function | None
    fault: Fault | None
    operator: str = ""
    unknown: str = ""


@dataclass(frozen=True)
class Question:
    """One finding whose cause is asked for.

    Attributes:
        title: as in :class:`Answer`.
        crossref: the crossref that reports it, or ``call``.
        form: its form, or empty.
        what: place, kind and index as text.
        example: the call that shows it, as Python.
        ends_process: whether the call or its prediction ends the process, or never ends.
    """

    title: str
    crossref: str
    form: str
    what: str
    example: str
    ends_process: bool = False
