"""Groups findings that have the same cause: the same function answers for the wrong side of each. No torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.causes.answer import Answer, Function
from sweep.findings.kind_class import KindClass, kind_class

#: Overload -> title of a finding -> what is inside the call and answers; empty if it is the overload itself.
Explained = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Cause:
    """A function that answers wrongly, and the findings that this explains.

    Attributes:
        function: the function.
        findings: overload -> title of a finding -> what is inside the call and answers by the function (see
            :class:`sweep.causes.answer.Answer`); empty if it is the overload itself.
    """

    function: Function
    findings: Explained

    @property
    def count(self) -> int:
        """The number of findings."""
        return sum(map(len, self.findings.values()))

    @property
    def kinds(self) -> dict[KindClass, int]:
        """The kinds of the findings, each with the number of overloads that have it, the most frequent first."""
        counts = Counter(kind for titles in self.findings.values() for kind in set(map(kind_class, titles)))
        order = list(KindClass)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], order.index(item[0]))))

    @property
    def kinds_text(self) -> str:
        """The kinds in a line; each with its number of overloads if there are several."""
        kinds = self.kinds
        return ", ".join(f"{kind} {count}" for kind, count in kinds.items()) if len(kinds) > 1 else str(next(iter(kinds), ""))

    @property
    def example(self) -> str:
        """The overload to look at first: one of which the function answers for the overload itself, if there is one."""
        return min(self.findings, key=lambda overload: (any(self.findings[overload].values()), overload))

    def as_json(self) -> dict[str, Any]:
        """The cause as JSON data."""
        return {
            "function": str(self.function),
            "kinds": {kind.value: count for kind, count in self.kinds.items()},
            "overloads": len(self.findings),
            "findings": {overload: list(titles) for overload, titles in sorted(self.findings.items())},
            "example": self.example,
        }


@dataclass(frozen=True)
class Causes:
    """The causes of the findings of one torch and device.

    Attributes:
        known: every cause, in the order of its function.
        unknown: overload -> title of a finding -> why its cause is unknown.
    """

    known: tuple[Cause, ...] = ()
    unknown: Explained = field(default_factory=dict)

    def of(self, overload: str, title: str) -> tuple[Cause, str] | None:
        """The cause of a finding, and what is inside the call and answers by it; ``None`` if it is not known."""
        for cause in self.known:
            inside = cause.findings.get(overload, {}).get(title)
            if inside is not None:
                return cause, inside
        return None

    def text_of(self, overload: str, title: str) -> str:
        """The cause of a finding as text, or why it is unknown; empty if it was never asked for."""
        cause = self.of(overload, title)
        if cause is None:
            reason = self.unknown.get(overload, {}).get(title, "")
            return f"unknown: {reason}" if reason else ""
        found, inside = cause
        return f"{found.function}{f', inside {inside}' if inside else ''}"

    def by_size(self) -> list[Cause]:
        """The causes, those first that explain most overloads."""
        return sorted(self.known, key=lambda cause: (-len(cause.findings), -cause.count, cause.function.order))

    def titles(self) -> dict[str, set[str]]:
        """Overload -> the titles of the findings that it was asked about."""
        asked: dict[str, set[str]] = defaultdict(set)
        for findings in (*(cause.findings for cause in self.known), self.unknown):
            for overload, titles in findings.items():
                asked[overload].update(titles)
        return dict(asked)

    def within(self, overloads: Iterable[str]) -> Causes:
        """The causes of some overloads alone."""
        kept = set(overloads)
        return self.of_titles({name: titles for name, titles in self.titles().items() if name in kept})

    def of_titles(self, titles: Mapping[str, Collection[str]]) -> Causes:
        """The causes of some findings alone.

        Args:
            titles: overload -> the titles of its findings.
        """
        causes = (Cause(cause.function, _of_titles(cause.findings, titles)) for cause in self.known)
        return Causes(tuple(cause for cause in causes if cause.findings), _of_titles(self.unknown, titles))


def _of_titles(findings: Explained, titles: Mapping[str, Collection[str]]) -> dict[str, dict[str, str]]:
    kept = {name: {t: text for t, text in own.items() if t in titles.get(name, ())} for name, own in findings.items()}
    return {name: own for name, own in kept.items() if own}


def grouped(answers: Mapping[str, Iterable[Answer]]) -> Causes:
    """Groups the answers about the findings of overloads.

    Args:
        answers: overload -> what is known of its findings.
    """
    known: dict[Function, dict[str, dict[str, str]]] = defaultdict(dict)
    unknown: dict[str, dict[str, str]] = {}
    for overload, all_answers in sorted(answers.items()):
        for answer in sorted(all_answers, key=lambda answer: answer.title):
            if answer.function is None:
                unknown.setdefault(overload, {})[answer.title] = answer.unknown
            else:
                known[answer.function].setdefault(overload, {})[answer.title] = answer.inside
    order = sorted(known, key=lambda function: function.order)
    return Causes(tuple(Cause(function, known[function]) for function in order), unknown)


def together(parts: Iterable[Causes]) -> Causes:
    """Puts the causes of different overloads together."""
    answers: dict[str, list[Answer]] = defaultdict(list)
    for part in parts:
        for cause in part.known:
            for overload, titles in cause.findings.items():
                answers[overload] += [Answer(title, cause.function, inside) for title, inside in titles.items()]
        for overload, reasons in part.unknown.items():
            answers[overload] += [Answer(title, None, unknown=reason) for title, reason in reasons.items()]
    return grouped(answers)
