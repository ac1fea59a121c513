"""Selection of the calls that variants are derived from.

What distinguishes calls in kind lives in ``sweep.calls.values``.
"""

from __future__ import annotations

from sweep.calls.call import Call
from sweep.calls.selection import cover
from sweep.calls.values import features


def representatives(calls: list[Call], limit: int) -> list[Call]:
    """Select calls greedily: each one adds the most features that the ones before do not have.

    Args:
        calls: the calls of one overload.
        limit: largest number of calls to select.

    Returns:
        The selected calls. Of those that add equally many features the smallest is taken, but one of less than two elements last.
    """
    by_size = sorted(calls, key=lambda call: (call.number_of_elements() < 2, call.number_of_elements(), call.key()))
    return [by_size[at] for at in cover([features(call) for call in by_size], [1] * len(by_size), limit)]
