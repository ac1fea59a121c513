"""Which of many calls to go on from: the fewest that between them show what the overload is called with.

What makes a call different in kind is, for each argument, the rank and dtype of a tensor and how it lies in memory, and for
anything else whether it is given, its type, and its value where that is an option (bool, text, dtype) and not a quantity.
"""

from __future__ import annotations

from typing import Any

from sweep.calls.call import Call


def features(call: Call) -> frozenset[tuple[Any, ...]]:
    """What is different in kind about a call, argument by argument."""
    found: set[tuple[Any, ...]] = set()

    def look(where: Any, value: Any) -> None:
        if isinstance(value, dict) and "tensor" in value:
            tensor = call.tensors[value["tensor"]]
            found.add((where, "dtype", tensor["dtype"]))
            found.add((where, "rank", len(tensor.get("size", ())), tensor.get("layout", "strided")))
        elif isinstance(value, list):
            found.add((where, "length", min(len(value), 4)))
            if value and all(isinstance(item, bool) for item in value):
                found.add((where, "is", tuple(value)))
            for item in value[:2]:
                look((where, "item"), item)
        elif isinstance(value, bool | str) or value is None:
            found.add((where, "is", value))
        elif isinstance(value, dict):
            found.add((where, *sorted(value), str(value.get("dtype", ""))))
        else:
            found.add((where, type(value).__name__))

    for at, value in enumerate(call.args):
        look(at, value)
    for name, value in call.kwargs.items():
        look(name, value)
    return frozenset(found)


def representatives(calls: list[Call], limit: int) -> list[Call]:
    """At most so many calls, each adding the most that the ones before did not show; the smaller one of two equal ones."""
    waiting = [
        (features(c), c) for c in sorted(calls, key=lambda c: (c.number_of_elements() < 2, c.number_of_elements(), c.key()))
    ]
    shown: set[tuple[Any, ...]] = set()
    chosen: list[Call] = []
    while waiting and len(chosen) < limit:
        best = max(range(len(waiting)), key=lambda at: (len(waiting[at][0] - shown), -at))
        added, call = waiting.pop(best)
        if not added - shown:
            break
        shown |= added
        chosen.append(call)
    return chosen
