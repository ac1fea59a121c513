"""The format of an expect file: the baseline of one namespace on one device, as text that people read in a diff.

The only module that renders or parses that text; folders of files are in ``folder``. A file has a head of comments, one section
for every overload that does not simply agree, sorted, and a last section ``[agree]`` with a line for every other overload.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from sweep.errors import ExpectError
from sweep.expect.known import Known, KnownFinding, Standing
from sweep.findings.finding import CALL, Finding, Population, Result
from sweep.findings.reason import Reason, ReasonKind

#: The text of an overload that simply agrees.
AGREE_TEXT = "agrees\n"

#: The text of an overload that an expect file does not mention.
UNKNOWN_TEXT = "not in the expect file\n"

#: The text of an overload that only an expect file mentions.
ABSENT_TEXT = f"{Reason(ReasonKind.ABSENT)}\n"

_AGREE = "agree"
_HEADER = re.compile(r"^\[(?P<name>[^\[\]\s]+)\]$")
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7}|\|{7})( |$)")
_NOT_CALLED = "not called: "
_EXEMPT = f"{_NOT_CALLED}{Reason(ReasonKind.EXEMPT)}"
_FIRST_LINE = re.compile(
    r"^(?P<author>(?P<crossref>\w+)(\[(?P<form>[^]]+)\])?): (?P<what>.+): "
    r"(?P<calls>\d+) of (?P<total>\d+) [a-z ]*calls?(, (?P<extent>.*))?$"
)


@dataclass
class ExpectFile:
    """One expect file.

    Attributes:
        head: the comment lines that it starts with, without ``# ``.
        sections: overload -> the text under its header.
        agree: the overloads that simply agree.
    """

    head: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    agree: set[str] = field(default_factory=set)

    def text_of(self, overload: str, crossrefs: Collection[str] | None = None) -> str:
        """The expected text of an overload, in the form of :func:`text_of_result`.

        Args:
            overload: qualified name.
            crossrefs: names of the crossrefs whose findings to include; ``None`` includes all.
        """
        if overload in self.agree:
            return AGREE_TEXT
        if overload not in self.sections:
            return UNKNOWN_TEXT
        return restrict(self.sections[overload], crossrefs)

    def known(self, overload: str) -> Known:
        """What the file says about an overload, as data.

        Raises:
            ExpectError: its section is not of this format.
        """
        return read_section(overload, self.text_of(overload))

    def put(self, overload: str, text: str, crossrefs: Collection[str] | None = None) -> None:
        """Replaces the expected text of an overload.

        Args:
            overload: qualified name.
            text: as :func:`text_of_result` renders it; ``ABSENT_TEXT`` removes the overload.
            crossrefs: names of the crossrefs that the text is about: findings of others are kept. ``None`` is all.
        """
        merged = merge(self.text_of(overload), text, crossrefs)
        self.sections.pop(overload, None)
        self.agree.discard(overload)
        if merged == AGREE_TEXT:
            self.agree.add(overload)
        elif merged != ABSENT_TEXT:
            self.sections[overload] = merged

    def overloads(self) -> set[str]:
        """Every overload that the file mentions."""
        return {*self.sections, *self.agree}

    def render(self) -> str:
        """The text of the file."""
        parts = ["".join(f"# {line}".rstrip() + "\n" for line in self.head)]
        parts += [f"[{name}]\n{self.sections[name]}" for name in sorted(self.sections)]
        parts.append(f"[{_AGREE}]\n" + "".join(f"{name}\n" for name in sorted(self.agree)))
        return "\n".join(parts)


# --- rendering ---------------------------------------------------------------------------------------------------------


def text_of_result(result: Result) -> str:
    r"""A result as the text of its section.

    >>> text_of_result(Result("aten.abs.default", calls=3))
    'agrees\n'
    >>> text_of_result(Result("aten.abs.default", reason=Reason(ReasonKind.NO_KERNEL, "cpu")))
    'not called: no kernel for cpu\n'
    """
    if result.reason is not None:
        return ABSENT_TEXT if result.reason.kind is ReasonKind.ABSENT else f"{_NOT_CALLED}{result.reason}\n"
    return "".join(_block(finding, result) for finding in result.findings) or AGREE_TEXT


def _block(finding: Finding, result: Result) -> str:
    total = result.calls
    if finding.population is not Population.MADE:  # calls that end their process are never compared
        total = max(result.compared.get(finding.crossref, 0), finding.calls)
    calls = f"{finding.calls} of {total} {finding.population.value}{'s' if total != 1 else ''}"
    if result.given_up:
        calls += f", {result.given_up} not made"
    elif finding.given_up:
        calls += ", then given up"
    dtypes = f", {' '.join(finding.dtypes)}" if finding.dtypes else ""
    variants = f", only {' '.join(finding.variants)}" if finding.variants else ""
    lines = [f"{finding.author}: {finding.what}: {calls}{dtypes}{variants}", f"  {finding.example}"]
    for label, side in zip(finding.labels, (finding.predicted, finding.actual), strict=True):
        if side:
            lines.append(f"  {label}: {side}")
    return "".join(f"{line}\n" for line in lines)


def summary_of_result(result: Result) -> str:
    """A result in one line: the crossref and the subject of each finding.

    >>> summary_of_result(Result("aten.abs.default", calls=3))
    'agrees'
    """
    if result.findings:
        return "; ".join(f"{finding.author}: {finding.what}" for finding in result.findings)
    return text_of_result(result).rstrip()


# --- parsing -----------------------------------------------------------------------------------------------------------


def summary(section: str) -> str:
    r"""The text of a section in one line, in the form of :func:`summary_of_result`.

    >>> summary("fake: output 0 dtype: 1 of 2 calls, float32\n  torch.ops.aten.abs.default(1)\n")
    'fake: output 0 dtype'
    """
    lines = []
    for block in _blocks(section):
        first = block.partition("\n")[0]
        parts = _FIRST_LINE.match(first)
        lines.append(f"{parts['author']}: {parts['what']}" if parts else first)
    return "; ".join(lines)


def read_section(overload: str, section: str) -> Known:
    r"""What a text says about an overload, as data.

    Args:
        overload: qualified name, for errors.
        section: the text, in the form of :func:`text_of_result`.

    Raises:
        ExpectError: it is not of this format.

    >>> known = read_section("aten.abs.default", "fake: output 0 dtype: 1 of 2 calls, int8\n  torch.ops.x()\n  fake: int8\n")
    >>> known.findings[0].title, known.findings[0].extent, known.findings[0].sides
    ('fake: output 0 dtype', 'int8', (('fake', 'int8'),))
    >>> read_section("aten.abs.default", "not called: no sample\n").reason
    'no sample'
    """
    if section == AGREE_TEXT:
        return Known(Standing.AGREES)
    if section in (UNKNOWN_TEXT, ABSENT_TEXT):
        return Known()
    if section.startswith(_NOT_CALLED):
        return Known(Standing.NOT_CALLED, reason=section.removeprefix(_NOT_CALLED).rstrip())
    findings = tuple(_read_finding(overload, block) for block in _blocks(section))
    is_bad = any(not finding.is_refusal for finding in findings)
    return Known(Standing.KNOWN_BAD if is_bad else Standing.UNSUPPORTED, findings)


def examples(section: str) -> dict[str, str]:
    r"""The examples of a text by the titles of their findings.

    A block of another format has none; that the text differs from every result says what is wrong with it.

    >>> examples("fake: output 0 dtype: 1 of 2 calls, int8\n  torch.ops.x()\n  fake: int8\n")
    {'fake: output 0 dtype': 'torch.ops.x()'}
    """
    found = {}
    for block in _blocks(section):
        first, *rest = block.splitlines()
        parts = _FIRST_LINE.match(first)
        if parts is not None and rest:
            found[f"{parts['author']}: {parts['what']}"] = rest[0].strip()
    return found


def _read_finding(overload: str, block: str) -> KnownFinding:
    first, *rest = block.splitlines()
    parts = _FIRST_LINE.match(first)
    if parts is None or not rest:
        raise ExpectError(f"section [{overload}]: {first!r} is no finding with an example; restore the file with git")
    example, *sides = (line.strip() for line in rest)
    named = tuple((label, text) for label, _, text in (side.partition(": ") for side in sides))
    return KnownFinding(
        crossref=parts["crossref"],
        form=parts["form"] or "",
        what=parts["what"],
        calls=int(parts["calls"]),
        total=int(parts["total"]),
        extent=parts["extent"] or "",
        example=example,
        sides=named,
    )


def restrict(section: str, crossrefs: Collection[str] | None) -> str:
    r"""The part of a section that some crossrefs are the authors of; the whole section for ``None``.

    Findings about the real call belong to every crossref, since each of them needs that call.

    >>> restrict("fake: output 0 dtype: 1 of 1 call\nfunctionalize: output 0 dtype: 1 of 1 call\n", ["fake"])
    'fake: output 0 dtype: 1 of 1 call\n'
    """
    if crossrefs is None or not _has_findings(section):
        return section
    return "".join(block for block in _blocks(section) if _author(block) in {*crossrefs, CALL}) or AGREE_TEXT


def merge(old: str, new: str, crossrefs: Collection[str] | None) -> str:
    r"""The text of a section after a run under some crossrefs.

    Args:
        old: the text before.
        new: what the run says.
        crossrefs: names of the crossrefs that were run: findings of others are kept. ``None`` is all.

    >>> merge("fake: output 0 dtype: 1 of 1 call\n", "functionalize: output 0 dtype: 1 of 1 call\n", ["functionalize"])
    'fake: output 0 dtype: 1 of 1 call\nfunctionalize: output 0 dtype: 1 of 1 call\n'
    >>> merge("fake: output 0 dtype: 1 of 1 call\n", "agrees\n", ["fake"])
    'agrees\n'
    """
    replaced: set[str] = {*(crossrefs or ()), CALL}
    if crossrefs is not None and is_exempt(new) and (_has_findings(old) or old == AGREE_TEXT):
        new, replaced = AGREE_TEXT, {*crossrefs}  # exempt from these crossrefs only; no real call was made
    elif not _has_findings(new) and new != AGREE_TEXT:
        return new
    kept = _blocks(old) if crossrefs is not None and _has_findings(old) else []
    blocks = _blocks(new) if _has_findings(new) else []
    blocks += [block for block in kept if _author(block) not in replaced]
    return "".join(sorted(blocks, key=_author)) or AGREE_TEXT  # findings of one crossref keep their order


def is_exempt(section: str) -> bool:
    r"""Whether a section says that no crossref applies to its overload.

    >>> is_exempt("not called: exempt: its result is not a tensor\n"), is_exempt("not called: no sample\n")
    (True, False)
    """
    return section.startswith(_EXEMPT)


def _has_findings(section: str) -> bool:
    return section not in (AGREE_TEXT, UNKNOWN_TEXT, ABSENT_TEXT) and not section.startswith(_NOT_CALLED)


def _blocks(section: str) -> list[str]:
    """The findings of a section: each a line at the margin and the indented lines under it."""
    blocks: list[str] = []
    for line in section.splitlines(keepends=True):
        if line.startswith(" ") and blocks:
            blocks[-1] += line
        else:
            blocks.append(line)
    return blocks


def _author(block: str) -> str:
    """The crossref of a finding's block, without its form."""
    parts = _FIRST_LINE.match(block.partition("\n")[0])
    return parts["crossref"] if parts else ""


def parse(text: str, namespace: str, path: str) -> ExpectFile:
    """Parses an expect file.

    Args:
        text: its text.
        namespace: the namespace whose overloads it may mention.
        path: its path, for errors.

    Raises:
        ExpectError: it has a conflict marker, a section that is no overload of the namespace, or the same section twice.
    """
    file = ExpectFile()
    current: str | None = None
    bodies: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{path}:{number}"
        if _CONFLICT.match(line):
            raise ExpectError(f"{place}: a conflict marker; resolve the conflict first, nothing is written over it")
        header = _HEADER.match(line)
        if header:
            current = header["name"]
            _check_header(current, namespace, bodies, place)
            bodies[current] = []
        elif current is None:
            if line and not line.startswith("#"):
                raise ExpectError(f"{place}: text before the first section; restore the file with git")
            file.head.append(line.removeprefix("#").removeprefix(" "))
        elif line:
            bodies[current].append(line)
    while file.head and not file.head[-1]:
        file.head.pop()
    file.agree = set(bodies.pop(_AGREE, []))
    for name, lines in bodies.items():
        if not lines or name in file.agree:
            raise ExpectError(f"{path}: section [{name}] {'is empty' if not lines else 'and a line under [agree]'}; remove it")
        file.sections[name] = "".join(f"{line}\n" for line in lines)
    return file


def _check_header(name: str, namespace: str, bodies: Collection[str], place: str) -> None:
    if name != _AGREE and not re.fullmatch(rf"{re.escape(namespace)}\.\w+\.\w+", name):
        raise ExpectError(f"{place}: unknown section [{name}]; a section is an overload, as [{namespace}.add.Tensor]")
    if name in bodies:
        raise ExpectError(f"{place}: a second section [{name}]; remove one of them")
