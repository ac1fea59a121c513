"""The baseline: the format of expect files, the files of a folder, verdicts against them, accepting, and notes.

What a result is lives in ``findings``, what a run prints in ``report``. Runs in the parent; no torch.
"""

from sweep.expect.accept import Accepted, accept, accepting
from sweep.expect.expect_file import (
    ABSENT_TEXT,
    AGREE_TEXT,
    UNKNOWN_TEXT,
    ExpectFile,
    examples,
    parse,
    read_section,
    restrict,
    text_of_result,
)
from sweep.expect.folder import checked_in, differing_head, digest, folder_of, head, known, load, named, nearest, shown, write
from sweep.expect.verdict import Change, Verdict

__all__ = [
    "ABSENT_TEXT",
    "AGREE_TEXT",
    "UNKNOWN_TEXT",
    "Accepted",
    "Change",
    "ExpectFile",
    "Verdict",
    "accept",
    "accepting",
    "checked_in",
    "differing_head",
    "digest",
    "examples",
    "folder_of",
    "head",
    "known",
    "load",
    "named",
    "nearest",
    "parse",
    "read_section",
    "restrict",
    "shown",
    "text_of_result",
    "write",
]
