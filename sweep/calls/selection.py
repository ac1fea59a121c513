"""Selection of few calls that together show how an overload is called. No torch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence, Set


def cover(features: Sequence[Set[Hashable]], costs: Sequence[int], budget: int) -> list[int]:
    """Selects items greedily: each one adds the most features that the ones before do not have.

    Args:
        features: the features of each item.
        costs: the cost of each item.
        budget: the most that the selected items may cost together; the first one may cost more.

    Returns:
        The positions of the selected items in the order of selection. Of items that add equally many features the first is taken.

    >>> cover([{"a"}, {"a", "b"}, {"b", "c"}, {"d"}], [1, 1, 1, 1], 3)
    [1, 2, 3]
    """
    positions: dict[frozenset[Hashable], int] = {}
    for at, of_item in enumerate(features):
        positions.setdefault(frozenset(of_item), at)
    waiting = list(positions.items())
    shown: set[Hashable] = set()
    selected: list[int] = []
    while waiting:
        best = max(range(len(waiting)), key=lambda at: (len(waiting[at][0] - shown), -waiting[at][1]))
        of_item, position = waiting.pop(best)
        if of_item <= shown or (selected and costs[position] > budget):
            break
        shown |= of_item
        budget -= costs[position]
        selected.append(position)
    return selected
