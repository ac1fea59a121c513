"""The expect files of one torch and device: where they are, reading all of them, their heads, and replacing them.

What stands in a file is the business of ``expect_file``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sweep.errors import UsageError
from sweep.expect.expect_file import ExpectFile, parse
from sweep.expect.known import Known
from sweep.files import digest as digest_of_files
from sweep.files import replace_all
from sweep.operators.environment import Environment

SUFFIX = ".expect"


def folder_of(results: Path, environment: Environment) -> Path:
    """The folder of the expect files of a torch and device, such as ``results/2.13/cpu``."""
    return results / environment.release / environment.folder


def load(folder: Path) -> dict[str, ExpectFile]:
    """Every expect file of a folder by its namespace; empty if there is none.

    Raises:
        ExpectError: one of them cannot be parsed.
    """
    return {path.stem: parse(path.read_text(), path.stem, str(path)) for path in sorted(folder.glob(f"*{SUFFIX}"))}


def digest(folder: Path) -> str:
    """Digest of every expect file of a folder."""
    return digest_of_files(sorted(folder.glob(f"*{SUFFIX}")))


def known(files: Mapping[str, ExpectFile], overload: str) -> Known:
    """What the files of a folder say about an overload."""
    file = files.get(overload.partition(".")[0])
    return file.known(overload) if file is not None else Known()


def checked_in(results: Path) -> list[Path]:
    """The folders of expect files that there are, such as ``results/2.13/cpu``, by release and then by device."""
    folders = {path.parent for path in results.glob(f"*/*/*{SUFFIX}")}
    return sorted(folders, key=lambda folder: (_release(folder.parent.name), folder.parent.name, folder.name))


def named(name: str, results: Path, device: str) -> Path:
    """The folder of expect files that a user names.

    Args:
        name: a release such as ``2.13``, both as in ``2.13/cuda``, a device, whose newest release is meant, or the path of a
            folder of expect files.
        results: the folder of all expect files.
        device: the device that is meant where only a release is named.

    Raises:
        UsageError: there is no such folder; the message says which there are.
    """
    if any(Path(name).glob(f"*{SUFFIX}")):
        return Path(name)
    folders = checked_in(results)
    for folder in reversed(folders):
        release = folder.parent.name
        if name in (f"{release}/{folder.name}", folder.name) or (name, device) == (release, folder.name):
            return folder
    wanted = f"{name} on {device}" if _release(name) != (0, 0) else repr(name)
    there = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in folders) or "none"
    raise UsageError(f"no expect files for {wanted}; in {shown(results)} there are: {there}")


def nearest(results: Path, environment: Environment) -> Path | None:
    """The folder of expect files closest to a torch and device without any: the same device first, then the closest release."""
    wanted = _release(environment.release)

    def distance(folder: Path) -> tuple[bool, int, str]:
        release = _release(folder.parent.name)
        apart = abs((release[0] - wanted[0]) * 1000 + release[1] - wanted[1])
        return folder.name != environment.folder, apart, str(folder)

    return min(checked_in(results), key=distance, default=None)


def _release(text: str) -> tuple[int, int]:
    numbers = re.match(r"(\d+)\.(\d+)$", text)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def head(namespace: str, environment: Environment) -> list[str]:
    """The comment that an expect file starts with; its second line says what wrote the file."""
    return [
        f"Overloads of {namespace} about which a crossref is wrong, or which are not called; then those that agree.",
        f"torch {environment.torch} git {environment.git}, {environment.device_type}, {environment.features}",
        "Written by `make accept`; README.md says how to read it.",
    ]


def differing_head(files: Mapping[str, ExpectFile], environment: Environment) -> str | None:
    """The first head line that says another torch or device wrote a file; ``None`` if there is none."""
    for namespace, file in sorted(files.items()):
        expected = head(namespace, environment)[1]
        if len(file.head) > 1 and file.head[1] != expected:
            return file.head[1]
    return None


def write(folder: Path, files: Mapping[str, ExpectFile], *, whole: bool) -> list[Path]:
    """Replaces expect files and returns the paths of those whose text changed.

    Args:
        folder: the folder of the files.
        files: namespace -> its file.
        whole: these are all files there are to be; those of other namespaces are removed.

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


def shown(path: Path) -> str:
    """A path as messages name it: relative to the current folder if it is in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
