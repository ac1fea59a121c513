"""Exemptions that several crossrefs have in common; those of a single one stand in its own file."""

from __future__ import annotations

#: Making a fake or functional tensor counts as writing to it, or not, so the version of one says nothing about the operator.
VERSION = dict.fromkeys(
    ("aten._version.default", "prims._tensor_version.default"),
    "making a fake or functional tensor counts as writing to it, or not",
)
