"""The journal of a recording: a line of JSON for every task that has ended and every process that was lost, written as it goes.

It says afterwards what took how long and what could not be recorded, and a recording that was stopped goes on from it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from opinfo_adapters import GUESSED
from sweep.files import replace

#: How many of the slowest tasks a summary names.
_SLOWEST = 20


class Journal:
    """What happened, over all stages.

    Args:
        path: where it is written.
        what: all that the recording's result depends on.
        resume: whether to go on from what is there, if it is of the same recording; else it is begun anew.

    Attributes:
        tasks: (stage, task) -> what its process answered, empty where it was given up, with its ``seconds``.
        lost: (task, ending) -> how many processes it took with it.
        stages: the seconds that each finished stage took.
    """

    def __init__(self, path: Path, what: dict[str, Any], *, resume: bool) -> None:
        self.tasks: dict[tuple[int, str], dict[str, Any]] = {}
        self.lost: Counter[tuple[str, str]] = Counter()
        self.stages: list[float] = []
        lines = _read(path, what) if resume else []
        for line in lines:
            self._take(line)
        replace(path, "".join(json.dumps(line) + "\n" for line in (what, *lines)))
        self._file = path.open("a", buffering=1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def ended(self, stage: int, task: str, seconds: float, done: dict[str, Any]) -> None:
        """A task has ended; with nothing done, it was given up."""
        self._write({"stage": stage, "task": task, "seconds": round(seconds, 3), **done})

    def replaced(self, stage: int, task: str, seconds: float, ending: str) -> None:
        """A task took its process with it."""
        self._write({"stage": stage, "task": task, "seconds": round(seconds, 3), "lost": ending})

    def finished(self, stage: int, seconds: float) -> None:
        """All tasks of a stage have ended."""
        self._write({"finished": stage, "seconds": round(seconds, 1)})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "finished" in line:
            self.stages.append(line["seconds"])
        elif "lost" in line:
            self.lost[line["task"], line["lost"]] += 1
        else:
            self.tasks[line["stage"], line["task"]] = line

    def refusals(self) -> dict[str, str]:
        """Overload -> what its derived calls were refused for, if a task has found none that is not.

        What forms of the same operator are called with tells more than what is guessed from a schema.
        """
        tried = sorted(self.tasks.items(), key=lambda item: (item[0][1].startswith(f"{GUESSED}:"), item[0]))
        found: dict[str, str] = {}
        for (_, task), done in tried:
            if done.get("why"):
                found.setdefault(task.partition(":")[2], done["why"])
        return found

    def counts(self) -> dict[str, Any]:
        """What could not be recorded, as counts, for the manifest of a corpus."""
        refused: Counter[str] = Counter()
        unrecordable: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        for done in self.tasks.values():
            refused.update(done.get("refused", {}))
            unrecordable.update(done.get("unrecordable", {}))
            failures.update(done.get("failures", {}))
        return {
            "tasks": len(self.tasks),
            "dispatched": sum(done.get("dispatched", 0) for done in self.tasks.values()),
            "refused": dict(sorted(refused.items())),
            "unrecordable": dict(sorted(unrecordable.items())),
            "failures": dict(sorted(failures.items())),
            "lost": {f"{task}: {ending}": n for (task, ending), n in sorted(self.lost.items())},
        }

    def _outside(self) -> list[str]:
        """By kind and overload, the shortest that its tasks have found."""
        found: dict[tuple[str, str], str] = {}
        for (_, task), done in self.tasks.items():
            for kind, text in done.get("outside", {}).items():
                key = (kind, task.partition(":")[2])
                found[key] = min(found.get(key, text), text, key=len)
        return [f"{kind}: {text}" for (kind, _), text in sorted(found.items(), reverse=True)]

    def summary(self) -> str:
        """The same for people, with what took longest."""
        counts = self.counts()
        slowest = sorted(self.tasks.values(), key=lambda done: -done["seconds"])[:_SLOWEST]
        seconds = " + ".join(f"{s:.0f}" for s in self.stages) or "no"
        parts = {
            "derived calls that were refused": _lines(counts["refused"]),
            "calls that write or read outside of what they are given, which are not kept; one of each overload": self._outside(),
            "calls without a plain-data form": _lines(counts["unrecordable"]),
            "tasks that took longest, in seconds": [f"{done['seconds']:7.1f} {done['task']}" for done in slowest],
            "processes that were lost, and what they were at": _lines(counts["lost"]),
            "samples that could not be generated or run": _lines(counts["failures"]),
            "overloads of which no derived call works, and why": [
                f"{name}: {why}" for name, why in sorted(self.refusals().items())
            ],
        }
        head = f"{counts['tasks']} tasks, {counts['dispatched']} dispatched calls; {seconds} s in the finished stages"
        return "\n".join([head, *(line for title, lines in parts.items() for line in ("", f"{title}:", *lines))]) + "\n"


def _read(path: Path, what: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a journal, if it is of this recording; the last one may have been cut short."""
    try:
        first, *lines = path.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")] if json.loads(first) == what else []
    except (OSError, ValueError):  # there is none, or what is there is no journal
        return []


def _lines(counts: dict[str, int]) -> list[str]:
    return [f"{n:7} {what}" for what, n in counts.items()]
