"""The baseline: the format of expect files, the files of a folder, verdicts against them, and accepting verdicts into them.

What a result is lives in ``findings``, what a run prints in ``report``. Runs in the parent; no torch.
"""

from sweep.expect.accept import Accepted, accept, accepting
from sweep.expect.expect_file import ABSENT_TEXT, AGREE_TEXT, UNKNOWN_TEXT, ExpectFile, parse, restrict, text_of_result
from sweep.expect.folder import differing_head, folder_of, head, load, nearest, write
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
    "differing_head",
    "folder_of",
    "head",
    "load",
    "nearest",
    "parse",
    "restrict",
    "text_of_result",
    "write",
]
