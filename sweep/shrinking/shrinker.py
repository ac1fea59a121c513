"""The search for a smaller call: greedy, over all simplifications, until none helps or the attempts are used up."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

import torch

from sweep.calls.call import Call, Unrecordable
from sweep.shrinking.draft import Draft, Text, printed
from sweep.shrinking.simplifications import TABLE, Edit, Simplification

_Shown = TypeVar("_Shown")


class Shrinker(Generic[_Shown]):
    """Makes one call smaller. What comes out depends on the call and on what texts show, and on nothing else.

    Args:
        op: the overload.
        call: the call.
        fill: the fill with which its text shows what it is to show.
        device: the device under test.
        evaluate: returns what a text shows; ``None`` if it does not show it.
        attempts: how many texts are evaluated at most.
    """

    def __init__(
        self,
        op: torch._ops.OpOverload,
        call: Call,
        fill: str,
        device: str,
        evaluate: Callable[[str], _Shown | None],
        attempts: int,
    ) -> None:
        self._overload, self._device, self._evaluate, self._attempts = call.overload, device, evaluate, attempts
        self._draft = Draft.of(op, call, device, fill)
        self._text = self._printed(self._draft)
        self._shown: _Shown | None = None
        self._seen = {self._text.text} if self._text is not None else set()

    def smallest(self) -> tuple[str, _Shown] | None:
        """The text of the smallest call that was found, and what it shows; ``None`` if none is smaller than the call itself."""
        improved = True
        while improved:
            improved = False
            for simplification in TABLE:
                improved |= self._improves(simplification)
        return None if self._text is None or self._shown is None else (self._text.text, self._shown)

    def _improves(self, simplification: Simplification) -> bool:
        """Tries each edit of a simplification, of the smallest draft so far, and returns whether one made it smaller."""
        improved, at = False, 0
        while self._attempts and (edit := next(islice(simplification(self._draft), at, None), None)):
            if self._is_better(edit):
                improved = True  # the next edit is then one of the smaller draft
            else:
                at += 1
        return improved

    def _is_better(self, edit: Edit) -> bool:
        """Takes up the draft that an edit makes if it is smaller and shows the same."""
        try:
            draft = edit()
        except Exception:  # torch has no such tensor, so there is nothing to try
            return False
        text = self._printed(draft)
        if text is None or text.text in self._seen or self._text is None or text.size >= self._text.size:
            return False
        self._seen.add(text.text)
        self._attempts -= 1
        shown = self._evaluate(text.text)
        if shown is None:
            return False
        self._draft, self._text, self._shown = draft, text, shown
        return True

    def _printed(self, draft: Draft) -> Text | None:
        try:
            return printed(draft, self._overload, self._device)
        except Unrecordable:
            return None
