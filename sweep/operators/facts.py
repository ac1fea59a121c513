"""What is known of an overload beside its schema: where its kernels and its prediction come from, as plain data.

The parent uses it too: no torch; ``origins`` fills it in.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sweep.operators.overload import Overload


class Origin(enum.Enum):
    """What computes the outcome of an overload on fake tensors."""

    PYTHON_META = "Python meta function"
    DECOMPOSITION = "decomposition"
    PYTHON_COMPOSITE = "Python CompositeImplicitAutograd kernel"
    CPP_COMPOSITE = "C++ CompositeImplicitAutograd kernel"
    PRIM_META = "meta function of a prim"
    FAKE_IMPL = "fake impl"
    HANDLER = "handler of fake tensors"
    CPP_META = "C++ meta kernel"
    TRIVIAL = "the schema, which returns nothing new"
    REAL_KERNEL = "the real kernel, run on zeros"
    NONE = "nothing: fake tensors refuse it"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Prediction:
    """Where a prediction comes from.

    Attributes:
        origin: what computes it.
        place: file, line and name of the Python function, or file and line of the registration in C++; empty if unknown.
    """

    origin: Origin
    place: str = ""

    def __str__(self) -> str:
        return f"{self.origin}, {self.place}" if self.place else str(self.origin)


@dataclass(frozen=True)
class Facts:
    """What torch says about one overload.

    Attributes:
        overload: its schema, kind, tags and kernels.
        kernels: dispatch key -> where the kernel is registered or, if it is Python, defined.
        static: where the prediction of fake tensors comes from.
        symbolic: where it comes from if sizes are symbolic.
    """

    overload: Overload
    kernels: dict[str, str]
    static: Prediction
    symbolic: Prediction
