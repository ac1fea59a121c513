"""What is known of a finding's cause, as plain data: the function that answered. No torch."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Role(enum.Enum):
    """What a function is to the finding that it answers for; the value is its text."""

    PYTHON = "Python"
    CPP = "C++"
    META_KERNEL = "meta kernel"
    COMPOSITE_KERNEL = "composite kernel"
    KERNEL = "kernel"
    REGISTERED = "registered in"
    FUNCTIONALIZATION = "functionalization kernel"
    GENERATED = "generated kernel"
    TAG = "tag"
    MISSING = "no meta kernel"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Function:
    """The function that answered.

    Attributes:
        place: its file, from the folder that holds ``torch``; of a kernel in C++ whose function has no known name that of its
            registration. Empty if unknown.
        line: line of its definition in Python; 0 for anything else.
        name: qualified name in Python or C++; of a kernel whose function has no known name its overload, or the functional form
            of that; of kernels that are registered together what they are for; of a generated kernel the function that generates
            it; of a missing one the function that looks for it.
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
        if role is Role.REGISTERED:
            return f"{self.name} {role} {self.place}"
        if role is Role.TAG:
            return f"{role} {self.name} ({self.place})"
        return f"{role} of {self.name}"

    @property
    def order(self) -> tuple[str, int, str, str]:
        """By what functions are sorted."""
        return self.place, self.line, self.name, self.role.name


@dataclass(frozen=True)
class Attributed:
    """Who answered.

    Attributes:
        function: the function.
        inside: as in :class:`Answer`.
    """

    function: Function
    inside: str = ""


@dataclass(frozen=True)
class Answer:
    """The cause of one finding.

    Attributes:
        title: what identifies the finding among those of its overload.
        function: the function that answered; ``None`` if that is unknown.
        inside: what is inside the call and answers by that function: an operator, the first whose answer is wrong, or, of a
            function that generates kernels, the C++ function that is one; empty if it is the overload itself.
        unknown: why the function is unknown; empty if it is known.
    """

    title: str
    function: Function | None
    inside: str = ""
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
