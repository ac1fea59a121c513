"""Refusals in words: what an expect file says of an overload that refuses every call. No torch."""

from __future__ import annotations

import re

from sweep.errors import first_line

#: The parts of a message that depend on the build or the process: the source line of an assertion, and addresses.
_SOURCE_LINE = re.compile(r" at \"/\S+\":\d+, please report a bug to PyTorch")
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_DECIMAL_ADDRESS = re.compile(r"(?<=data_ptr)=\d+")

#: The beginning of an assertion that always fails: what follows is the reason.
_UNCONDITIONAL = re.compile(r"^false (INTERNAL ASSERT FAILED)\. (?=\S)")

#: Length of a sentence.
_LENGTH = 120


def refusal(error: BaseException) -> str:
    """The class of an error and the first sentence of its message.

    >>> refusal(ValueError("no kernel at 0x7f12, sorry. Try another device."))
    'ValueError: no kernel at 0x..., sorry'
    >>> refusal(RuntimeError('false INTERNAL ASSERT FAILED at "/src/a.cpp":28, please report a bug to PyTorch. Not supported.'))
    'RuntimeError: INTERNAL ASSERT FAILED: Not supported'
    """
    return f"{type(error).__name__}: {sentence(error)}"


def sentence(error: BaseException) -> str:
    """The first sentence of an error's message, without what differs between two processes or builds."""
    text = _UNCONDITIONAL.sub(r"\1: ", _SOURCE_LINE.sub("", first_line(error)))
    text = _DECIMAL_ADDRESS.sub("", _ADDRESS.sub("0x...", text))
    return re.split(r"[.;] ", text, maxsplit=1)[0].rstrip(" .:")[:_LENGTH]
