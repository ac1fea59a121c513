"""A module of torch that registers operators, as plain data. The parent uses it too: no torch; ``registrations`` fills it in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Module:
    """A module of torch in whose source operators are registered.

    Attributes:
        name: of the module.
        operators: names of the operators that the dispatcher knows since it was imported, as the dispatcher writes them.
        failure: why it cannot be imported; empty if it can.
    """

    name: str
    operators: tuple[str, ...] = ()
    failure: str = ""
