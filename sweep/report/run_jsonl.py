"""``run.jsonl``: reading and writing a run as JSON, an object per line. What the objects mean is documented in ``model``.

First come the runs (``"type": "run"``), then the overloads (``"type": "overload"``). Beside the data that is read back, an
overload has texts for whoever filters the file: ``reason``, ``what``, ``change``, ``why``. Of two equal runs only the fields
``id``, ``started``, ``seconds``, ``seconds_of``, ``arguments``, ``run`` and ``crossref_runs`` differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from sweep import files
from sweep.errors import UserError
from sweep.expect.verdict import Verdict
from sweep.findings.ending import Ending, EndingKind
from sweep.findings.finding import Finding, Place, Population, Result
from sweep.findings.kind import (
    Access,
    Difference,
    Edge,
    Kind,
    LostValidation,
    OutOfBoundsAccess,
    SchemaFault,
    StateChange,
)
from sweep.findings.reason import Reason, ReasonKind
from sweep.operators.environment import Environment
from sweep.report.model import Row, Run, RunInfo, ShardInfo
from sweep.sharding import Part, Shard, ShardedSweep

NAME = "run.jsonl"


class RunFileError(UserError):
    """A ``run.jsonl`` that is missing or cannot be read."""


def update(path: Path, run: Run) -> None:
    """Writes a run into a file, whose rows of other overloads stay unless the run is a whole one.

    A file that cannot be read, such as one of an older format, is replaced.

    Raises:
        OSError: it could not be written; it is as it was.
    """
    with files.locked(path.parent):
        with contextlib.suppress(RunFileError):
            run = read(path).updated(run)
        files.replace(path, dumps(run))


def read(path: Path, remedy: str = "the next run replaces it") -> Run:
    """Reads a file.

    Args:
        path: the file.
        remedy: what to do about one that cannot be read.

    Raises:
        RunFileError: there is none, or it is damaged or of another format.
    """
    try:
        return loads(path.read_text())
    except FileNotFoundError:
        raise RunFileError(f"{path} does not exist: no run has finished yet: `make sweep` first") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFileError(f"{path} cannot be read ({type(error).__name__}: {error}); {remedy}") from None


def dumps(run: Run) -> str:
    """A run as the text of a file."""
    objects = [{"type": "run", **dataclasses.asdict(info)} for info in run.infos]
    objects += [{"type": "overload", **_row_to_json(row)} for row in run.rows]
    return "".join(f"{json.dumps(plain)}\n" for plain in objects)


def loads(text: str) -> Run:
    """The run of which :func:`dumps` made a text.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is the text of something else.
    """
    objects = [json.loads(line) for line in text.splitlines()]
    infos = tuple(_info_from_json(plain) for plain in objects if plain["type"] == "run")
    rows = tuple(_row_from_json(plain) for plain in objects if plain["type"] == "overload")
    if unknown := {row.run for row in rows} - {info.id for info in infos}:
        raise ValueError(f"no run {min(unknown)}")
    return Run(infos, rows)


def _info_from_json(plain: dict[str, Any]) -> RunInfo:
    return RunInfo(**_fields(plain, "type", "shard"), shard=_shard_from_json(plain.get("shard")))


def _shard_from_json(plain: dict[str, Any] | None) -> ShardInfo | None:
    if plain is None:
        return None
    part = plain["part"]
    sweep = ShardedSweep(**_fields(part["sweep"], "environment"), environment=Environment(**part["sweep"]["environment"]))
    return ShardInfo(**_fields(plain, "part"), part=Part(Shard(**part["shard"]), sweep))


def _fields(plain: dict[str, Any], *left_out: str) -> dict[str, Any]:
    """The fields of a dataclass whose sequences are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items() if name not in left_out}


def _row_to_json(row: Row) -> dict[str, Any]:
    head = {"overload": row.overload, "run": row.run, "crossref_runs": dict(row.crossref_runs), "notes": list(row.notes)}
    if row.verdict is None:
        return {**head, "status": "not-run", "not_run": row.not_run}
    return {
        **head,
        **result_to_json(row.verdict.result),
        "change": str(row.change or ""),
        "why": row.verdict.transition if row.change else "",
        "accepted": row.accepted,
        "expected": row.verdict.expected,
        "actual": row.verdict.actual,
        "partial": row.verdict.partial,
    }


def _row_from_json(plain: dict[str, Any]) -> Row:
    head = {name: plain[name] for name in ("overload", "run", "crossref_runs")}
    head["notes"] = tuple(plain["notes"])
    if "not_run" in plain:
        return Row(**head, not_run=plain["not_run"])
    verdict = Verdict(_result_from_json(plain), plain["expected"], plain["actual"], plain["partial"])
    return Row(**head, verdict=verdict, accepted=plain["accepted"])


def result_to_json(result: Result) -> dict[str, Any]:
    """A result as an object of JSON."""
    reason = result.reason
    return {
        "overload": result.overload,
        "status": result.status.value,
        "reason": "" if reason is None else str(reason),
        "reason_kind": None if reason is None else reason.kind.name,
        "reason_detail": "" if reason is None else reason.detail,
        "calls": result.calls,
        "given_up": result.given_up,
        "seconds": round(result.seconds, 6),
        "compared": dict(result.compared),
        "seconds_of": {crossref: round(seconds, 6) for crossref, seconds in result.seconds_of.items()},
        "findings": [_finding_to_json(finding) for finding in result.findings],
        "rerun": None if result.rerun is None else result_to_json(result.rerun),
    }


def _result_from_json(plain: dict[str, Any]) -> Result:
    reason = plain["reason_kind"]
    return Result(
        overload=plain["overload"],
        reason=None if reason is None else Reason(ReasonKind[reason], plain["reason_detail"]),
        calls=plain["calls"],
        given_up=plain["given_up"],
        seconds=plain["seconds"],
        findings=tuple(_finding_from_json(finding) for finding in plain["findings"]),
        compared=plain["compared"],
        seconds_of=plain["seconds_of"],
        rerun=None if plain["rerun"] is None else _result_from_json(plain["rerun"]),
    )


def _finding_to_json(finding: Finding) -> dict[str, Any]:
    fields = dataclasses.asdict(finding)
    texts = {"crossref": finding.crossref, "what": finding.what}
    return {**texts, **fields, "kind": _kind_to_json(finding.kind), "population": finding.population.value}


def _finding_from_json(plain: dict[str, Any]) -> Finding:
    fields = _fields(plain, "what", "place", "kind", "population")
    place, kind = Place(**plain["place"]), _kind_from_json(plain["kind"])
    return Finding(**fields, place=place, kind=kind, population=Population(plain["population"]))


def _kind_to_json(kind: Kind) -> dict[str, Any]:
    match kind:
        case Difference():
            return {"type": "difference", "name": kind.value}
        case Ending():
            return {"type": "ending", "name": kind.kind.value, "detail": kind.detail, "side": kind.side}
        case StateChange():
            return {"type": "state change", "names": list(kind.names)}
        case SchemaFault():
            return {"type": "schema fault", "name": kind.value}
        case OutOfBoundsAccess():
            return {"type": "access", "access": kind.access.value, "edge": kind.edge.value if kind.edge else None}
        case LostValidation():
            return {"type": "lost validation", "error": kind.error}


def _kind_from_json(plain: dict[str, Any]) -> Kind:
    match plain["type"]:
        case "difference":
            return Difference(plain["name"])
        case "ending":
            return Ending(EndingKind(plain["name"]), plain["detail"], plain["side"])
        case "state change":
            return StateChange(tuple(plain["names"]))
        case "schema fault":
            return SchemaFault(plain["name"])
        case "access":
            return OutOfBoundsAccess(Access(plain["access"]), Edge(plain["edge"]) if plain["edge"] else None)
        case "lost validation":
            return LostValidation(plain["error"])
        case other:
            raise ValueError(f"unknown kind {other!r}")
