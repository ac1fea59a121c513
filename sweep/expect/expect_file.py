"""Expect files: what is known about the overloads of one namespace on one device, as text that people read in a diff.

The only module that knows the format. A file has a head of comments, one section for every overload that does not simply agree,
sorted, and a last section ``[agree]`` with a line for each that does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.files import replace_all
from sweep.findings.finding import AGREES, NOT_CALLED, Finding, Result

SUFFIX = ".expect"

#: The text that stands for an overload that simply agrees, and for one that a file does not know.
AGREE_TEXT = "agrees\n"
UNKNOWN_TEXT = "not in the expect file\n"
ABSENT_TEXT = "no such overload in this torch\n"

_AGREE = "agree"
_HEADER = re.compile(r"^\[(?P<name>[^\[\]\s]+)\]$")
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7}|\|{7})( |$)")
_NOT_CALLED = "not called: "


class ExpectError(Exception):
    """An expect file cannot be used; the message is one line that says where and what to do."""


@dataclass
class ExpectFile:
    """One expect file.

    Attributes:
        head: the comment lines it starts with, without ``# ``.
        sections: overload -> the text under its header.
        agree: the overloads that simply agree.
    """

    head: list[str] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    agree: set[str] = field(default_factory=set)

    def text_of(self, overload: str, crossrefs: Iterable[str] | None = None) -> str:
        """What is expected of an overload, as ``text_of_result`` gives what is found.

        Args:
            overload: qualified name.
            crossrefs: only what these say; ``None`` is all.
        """
        if overload in self.agree:
            return AGREE_TEXT
        body = self.sections.get(overload)
        if body is None:
            return UNKNOWN_TEXT
        return only(body, crossrefs) or AGREE_TEXT

    def put(self, overload: str, text: str, crossrefs: Iterable[str] | None = None) -> None:
        """Takes what was found for what is expected; with ``crossrefs``, what others say is kept."""
        kept = "" if crossrefs is None else _without(self.sections.get(overload, ""), crossrefs)
        self.sections.pop(overload, None)
        self.agree.discard(overload)
        body = "" if text == AGREE_TEXT else text
        if not body.startswith(_NOT_CALLED):
            body = "".join(sorted(_blocks(body + kept), key=_block_order))
        if text == ABSENT_TEXT:
            return
        if body:
            self.sections[overload] = body
        else:
            self.agree.add(overload)

    def overloads(self) -> set[str]:
        """Every overload the file says something about."""
        return {*self.sections, *self.agree}

    def render(self) -> str:
        """The file's text."""
        parts = ["".join(f"# {line}".rstrip() + "\n" for line in self.head)]
        parts += [f"[{name}]\n{self.sections[name]}" for name in sorted(self.sections)]
        parts.append(f"[{_AGREE}]\n" + "".join(f"{name}\n" for name in sorted(self.agree)))
        return "\n".join(parts)


def accepting() -> bool:
    """Whether this run takes what it finds for what is expected: expecttest's own switch."""
    return bool(os.environ.get("EXPECTTEST_ACCEPT"))


def text_of_result(result: Result) -> str:
    """What was found about an overload, as it stands under its header; ``AGREE_TEXT`` where there is nothing to say."""
    if result.status == NOT_CALLED:
        return f"{_NOT_CALLED}{result.reason}\n"
    if result.status == AGREES:
        return AGREE_TEXT
    return "".join(_block(f, result) for f in result.findings)


def _block(finding: Finding, result: Result) -> str:
    many = f"{finding.calls} of {result.calls} call{'s' if result.calls != 1 else ''}"
    if result.given_up:
        many += f", {result.given_up} not made"
    dtypes = f", {' '.join(finding.dtypes)}" if finding.dtypes else ""
    layouts = f", only {' '.join(finding.layouts)}" if finding.layouts else ""
    lines = [f"{finding.crossref}: {finding.what}: {many}{dtypes}{layouts}", f"  {finding.example}"]
    for side, answer in zip(finding.sides, (finding.fake, finding.real), strict=True):
        if answer:
            lines.append(f"  {side}: {answer}")
    return "".join(f"{line}\n" for line in lines)


def _blocks(body: str) -> list[str]:
    """A section's findings: a line that starts at the margin and the indented ones under it."""
    blocks: list[str] = []
    for line in body.splitlines(keepends=True):
        if line.startswith(" ") and blocks:
            blocks[-1] += line
        else:
            blocks.append(line)
    return blocks


def _crossref_of(block: str) -> str:
    return block.partition(":")[0]


def _block_order(block: str) -> tuple[str, int]:
    return (_crossref_of(block), 0)  # blocks of one crossref keep the order in which they came


def only(body: str, crossrefs: Iterable[str] | None) -> str:
    """The part of a section that some crossrefs are the authors of; the whole for ``None``.

    >>> only("fake: output 0 dtype: 1 of 1 call\\nfunctionalize: output 0 dtype: 1 of 1 call\\n", ["fake"])
    'fake: output 0 dtype: 1 of 1 call\\n'
    """
    if crossrefs is None or body.startswith(_NOT_CALLED):
        return body
    wanted = {*crossrefs, "every"}
    return "".join(b for b in _blocks(body) if _crossref_of(b) in wanted)


def _without(body: str, crossrefs: Iterable[str]) -> str:
    if body.startswith(_NOT_CALLED):
        return ""
    gone = {*crossrefs, "every"}
    return "".join(b for b in _blocks(body) if _crossref_of(b) not in gone)


# --- files -------------------------------------------------------------------------------------------------------------


def parse(text: str, namespace: str, where: str) -> ExpectFile:
    """Reads an expect file.

    Args:
        text: its text.
        namespace: whose overloads it may speak of.
        where: its path, for errors.

    Raises:
        ExpectError: it holds a conflict marker, a section that is no overload of the namespace, or the same one twice.
    """
    file = ExpectFile()
    current: str | None = None
    bodies: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{where}:{number}"
        if _CONFLICT.match(line):
            raise ExpectError(f"{place}: a conflict marker; resolve the conflict first, nothing is written over it")
        header = _HEADER.match(line)
        if header:
            current = header["name"]
            if current != _AGREE and not re.fullmatch(rf"{re.escape(namespace)}\.\w+\.\w+", current):
                raise ExpectError(f"{place}: unknown section [{current}]; a section is an overload, as [{namespace}.add.Tensor]")
            if current in bodies:
                raise ExpectError(f"{place}: a second section [{current}]; remove one of them")
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
            raise ExpectError(f"{where}: section [{name}] {'is empty' if not lines else 'and a line under [agree]'}; remove it")
        file.sections[name] = "".join(f"{line}\n" for line in lines)
    return file


def folder_of(results: Path, identity: Mapping[str, Any]) -> Path:
    """Where the expect files of a torch and a device lie: ``results/2.13/cpu``."""
    return results / identity["release"] / identity["device_type"]


def load(folder: Path) -> dict[str, ExpectFile]:
    """Every expect file in a folder: namespace -> file. Empty if there is none.

    Raises:
        ExpectError: one of them cannot be used.
    """
    return {p.stem: parse(p.read_text(), p.stem, str(p)) for p in sorted(folder.glob(f"*{SUFFIX}"))}


def nearest(results: Path, identity: Mapping[str, Any]) -> Path | None:
    """The folder of expect files that comes closest to a torch and device that have none."""
    found = [p.parent for p in results.glob(f"*/*/*{SUFFIX}")]
    wanted = _release(identity["release"])

    def distance(folder: Path) -> tuple[bool, int, str]:
        release = _release(folder.parent.name)
        apart = abs((release[0] - wanted[0]) * 1000 + release[1] - wanted[1])
        return folder.name != identity["device_type"], apart, str(folder)

    return min(set(found), key=distance, default=None)


def _release(text: str) -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)$", text)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def head(namespace: str, identity: Mapping[str, Any]) -> list[str]:
    """The comment that an expect file starts with: what wrote it, so that another machine's differences can be told apart."""
    return [
        f"Overloads of {namespace} about which a crossref is wrong, or which are not called; then those that agree.",
        f"torch {identity['torch']} git {identity['git']}, {identity['device_type']}, {identity['capability']}",
        "Written by `make accept`; README.md says how to read it.",
    ]


def differing_head(files: Mapping[str, ExpectFile], identity: Mapping[str, Any]) -> str | None:
    """The line of a head that says another torch or machine wrote it; ``None`` if it was this one."""
    for namespace, file in sorted(files.items()):
        expected = head(namespace, identity)[1]
        if len(file.head) > 1 and file.head[1] != expected:
            return file.head[1]
    return None


def write(folder: Path, files: Mapping[str, ExpectFile], *, whole: bool) -> list[Path]:
    """Replaces expect files and returns those whose text changed.

    Args:
        folder: where they lie.
        files: namespace -> what its file shall say.
        whole: these are all there are; a file of another namespace is removed.

    Raises:
        OSError: one could not be written; all of them are as they were.
    """
    texts = {folder / f"{namespace}{SUFFIX}": file.render() for namespace, file in sorted(files.items())}
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    replace_all({path: texts[path] for path in changed})
    if whole:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if path not in texts:
                path.unlink()
                changed.append(path)
    return changed
