"""The README's table of coverage agrees with the checked-in expect files."""

from collections import Counter
from pathlib import Path

import pytest
from tabulate import tabulate

from sweep import expect

ROOT = Path(__file__).resolve().parent.parent
RELEASE = "2.13"  # the one that `make venv` installs


def coverage():
    """Rows of the table, the largest namespace first."""
    rows = []
    for namespace, file in expect.load(ROOT / "results" / RELEASE / "cpu").items():
        reasons = [text.removeprefix("not called: ") for text in file.sections.values() if text.startswith("not called: ")]
        count = Counter(overloads=len(file.overloads()), called=len(file.overloads()) - len(reasons))
        rows.append((namespace, count + Counter(none=sum(reason.startswith("no kernel for") for reason in reasons))))
    rows.sort(key=lambda row: (-row[1]["overloads"], row[0]))
    rows.append(("all", sum((count for _, count in rows), Counter())))
    return [(name, c["overloads"], c["overloads"] - c["none"], c["called"], share(c)) for name, c in rows]


def share(count):
    callable_ = count["overloads"] - count["none"]
    return f"{count['called'] / callable_:.1%}" if callable_ else ""


def table():
    head = ("namespace", "overloads", "with a kernel", "called", "coverage")
    return tabulate(coverage(), headers=head, tablefmt="github", disable_numparse=True)


def test_the_table_of_coverage_is_true():
    assert table() in (ROOT / "README.md").read_text(), f"the README should say:\n{table()}"


@pytest.mark.parametrize("namespace", ["aten", "all"])
def test_nearly_all_that_has_a_kernel_is_called(namespace):
    [(callable_, called)] = [row[2:4] for row in coverage() if row[0] == namespace]
    assert called / callable_ >= 0.98
