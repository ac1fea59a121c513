"""Attributes what the form ``cache`` of the crossref ``fake`` finds to a function of torch's fake cache. Runs in a child."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from sweep.causes.answer import Function
from sweep.causes.naming import python_function, traceback_codes
from sweep.causes.tracer import place_of
from sweep.crossref.common.fake_modes import outcome_in
from sweep.crossref.common.protocol import Arguments
from sweep.findings.finding import Mismatch

_FILE = "torch/_subclasses/fake_tensor.py"


def of_cache(op: torch._ops.OpOverload, arguments: Callable[[], Arguments], mismatch: Mismatch) -> Function:
    """The function of the cache that answers wrongly or raises, when the same call is made twice.

    It is the innermost one that raised; for an argument, which the cache does not look at, the one that turns an entry into what
    the call returns; else the one that makes an output of what the entry holds.
    """
    mode = FakeTensorMode()
    mode.cache_enabled, mode.cache_crosscheck_enabled = True, False
    FakeTensorMode.cache_clear()
    entered: list[CodeType] = []

    def profile(frame: FrameType, event: str, value: Any) -> None:
        if event == "call" and "cache" in frame.f_code.co_name and place_of(frame.f_code) == _FILE:
            entered.append(frame.f_code)

    error: BaseException | None = None
    with suppress(Exception):  # the first call fills the cache
        outcome_in(mode, op, *arguments())
    sys.setprofile(profile)
    try:
        outcome_in(mode, op, *arguments())
    except BaseException as raised:  # where it was raised is what is asked for
        error = raised
    finally:
        sys.setprofile(None)
        FakeTensorMode.cache_clear()
    if error is not None:
        own = [code for code in traceback_codes(error) if place_of(code) == _FILE]
        return python_function(own[-1])
    makes_entry = FakeTensorMode._output_from_cache_entry.__code__
    reads = [code for code in entered if code is makes_entry or code.co_name.startswith("_get_output")]
    if mismatch.place.argument or not reads:
        return python_function(makes_entry)
    return python_function(reads[-1])
