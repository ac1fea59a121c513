"""The adopted calls: one text file per namespace, with a call of ``torch.ops`` on each line. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep import files
from sweep.errors import AdoptedFileError

#: The folder of the files that are checked in.
ADOPTED = Path(__file__).resolve().parents[2] / "opinfo_adapters" / "adopted"

#: The calls of each overload as Python, by its qualified name.
Adopted = dict[str, list[str]]

_PREFIX = "torch.ops."


def load(folder: Path) -> Adopted:
    """The calls of all files in a folder.

    Raises:
        AdoptedFileError: a file cannot be read, or a line of it is no call.
    """
    calls: Adopted = {}
    for path in sorted(folder.glob("*.txt")):
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise AdoptedFileError(f"{path} cannot be read: restore it, or delete it and adopt again") from error
        for number, line in enumerate(lines, 1):
            overload = overload_of(line)
            if overload is None:
                raise AdoptedFileError(f"{path}:{number} is no call: restore the file, or remove the line")
            calls.setdefault(overload, []).append(line)
    return calls


def save(folder: Path, calls: Mapping[str, Sequence[str]]) -> None:
    """Writes the calls of all overloads, each once and sorted, and removes the files of namespaces that have none.

    Raises:
        AdoptedFileError: a file cannot be written; all of them are as they were.
    """
    by_namespace: dict[str, list[str]] = {}
    for name, of_overload in sorted(calls.items()):
        by_namespace.setdefault(name.partition(".")[0], []).extend(sorted(set(of_overload), key=lambda text: (len(text), text)))
    texts = {folder / f"{namespace}.txt": "".join(f"{x}\n" for x in lines) for namespace, lines in by_namespace.items() if lines}
    try:
        files.replace_all(texts)
        for path in folder.glob("*.txt"):
            if path not in texts:
                path.unlink()
    except OSError as error:
        raise AdoptedFileError(f"cannot write {error.filename} ({error.strerror})") from error


def overload_of(text: str) -> str | None:
    """Qualified name of the overload that a text calls, which has to be one line; ``None`` if it calls none.

    >>> overload_of("torch.ops.aten.abs.default(torch.zeros(2))")
    'aten.abs.default'
    """
    callee, parenthesis, _ = text.partition("(")
    name = callee.removeprefix(_PREFIX)
    is_call = parenthesis and text.endswith(")") and "\n" not in text and callee.startswith(_PREFIX)
    return name if is_call and all(part.isidentifier() for part in name.split(".")) and name.count(".") == 2 else None
