"""Every overload that a crossref does not check, with the reason: the one place for exceptions of this kind.

An entry is an overload and why asking it would tell nothing true; "it fails" is not a reason, an expect file holds that.
"""

from __future__ import annotations

#: crossref -> overload -> reason
EXEMPTIONS: dict[str, dict[str, str]] = {
    "fake": {
        # The seed's and CrossRefFakeMode's own exception: a constant being lifted is a real tensor on purpose, and under a
        # fake mode "lifting" is what turns it into a fake one, so the two answers cannot be of the same kind.
        "aten.lift_fresh.default": "lifting is what makes a fake tensor of a real one",
        "aten._version.default": "making a fake or functional tensor counts as writing to it, or not",
    },
    "functionalize": {
        # The seed suppresses it as well ("pretty weird"): under functionalization, lifting is what wraps a plain tensor.
        "aten.lift_fresh.default": "lifting is what wraps a plain tensor",
        "aten._version.default": "making a fake or functional tensor counts as writing to it, or not",
        # Which of its calls crash there and which raise differs from run to run (torch 2.13), with the same arguments.
        "aten._amp_foreach_non_finite_check_and_unscale.out": "what its functionalized form does depends on what memory holds",
    },
}


def exemption(crossref: str, overload: str) -> str | None:
    """Why a crossref leaves an overload out; ``None`` if it does not."""
    return EXEMPTIONS.get(crossref, {}).get(overload)
