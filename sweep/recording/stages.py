"""The stages of a recording, and the names of its tasks. Imported by parent and child; no torch."""

from __future__ import annotations

from dataclasses import dataclass

#: Name of the derivation that only looks at an overload's schema.
GUESSED = "schema_guesses"

#: Name of the derivation that carries calls over to other overloads of the operator.
OVERLOAD_VARIANTS = "overload_variants"

#: Name of the derivation that covers pairs of unusual arguments, which runs only where that is asked for.
PAIRS = "pairs"

#: The modules of ``opinfo_adapters.derived`` in the order in which they run, after the adapters. Overload variants come twice: an
#: overload that only schema guesses reach has variants too. Nothing is derived from stored calls but pairs.
STAGES = (OVERLOAD_VARIANTS, GUESSED, OVERLOAD_VARIANTS, "tensor_variants", "stored_calls", PAIRS)

#: Number of incidental calls (see ``recorder``) that are kept per overload and dtype.
INCIDENTAL = 48


@dataclass(frozen=True)
class Task:
    """One unit of parallel work.

    Attributes:
        stage: 0 for the adapters, then one for each of ``STAGES``.
        module: name of the adapter, or of the derivation.
        name: name within the module; a derivation's tasks are named by the overload.

    >>> str(Task(2, "schema_guesses", "aten.abs.default"))
    'schema_guesses:aten.abs.default'
    """

    stage: int
    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def title(stage: int) -> str:
    """The name under which the progress of a stage is shown."""
    return STAGES[stage - 1] if stage else "recording"
