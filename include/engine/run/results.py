"""What dbt says of each node that it ran: of one command, and of a whole DAG run.

Names and values are dbt's own (https://docs.getdbt.com/reference/artifacts/run-results-json).
Standard library only.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
"""One member of `results` in dbt's run_results.json or sources.json."""

# dbt's statuses, worst first; those before `warn` make its exit code 1 (dbt-core: RunStatus,
# TestStatus, FreshnessStatus, and interpret_results of its tasks).
STATUSES = ("runtime error", "error", "fail", "partial success", "warn", "skipped")
FAILED = frozenset(STATUSES[:4])
# Texts, which `re` compiles when they are first used: few tasks, each of them a process, do.
_CUT = r"(?m)^[ \t]*LINE \d+: (?:\.\.\..*|.*\.\.\.)$(?:\n[ \t]*\^$)?\n?"
_NAME = r'"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|([^."`\[\]]+)'
RUN_RESULTS, SOURCES = "run_results", "sources"
WARNINGS = "warnings"  # the XCom in which a task leaves what dbt warned of

_EMPTY = {
    "timing": [],
    "thread_id": "",
    "execution_time": 0,
    "adapter_response": {},
    "failures": None,
    "compiled": False,
    "compiled_code": None,
    "relation_name": None,
    "batch_results": None,
    "overload_results": None,
}


def read(target: Path) -> dict[str, Any]:
    """The artifact that a dbt command left in its target folder, and as `artifact` which one it is.

    {} where there is none: dbt failed before it ran anything.
    """
    for name in (RUN_RESULTS, SOURCES):
        try:
            found = json.loads((target / f"{name}.json").read_bytes())
            return {"artifact": name, "metadata": found["metadata"], "results": found["results"]}
        except (OSError, ValueError, KeyError):
            continue
    return {}


def as_xcom(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact as a task's XCom: the worst status, the seconds, and the results without SQL."""
    found = artifact["results"]
    return {
        "status": worst(result["status"] for result in found),
        "execution_time": round(sum(result.get("execution_time") or 0 for result in found), 3),
        **artifact,
        "results": [{k: v for k, v in result.items() if k != "compiled_code"} for result in found],
    }


def worst(statuses: Iterable[str]) -> str:
    """The worst of these statuses of dbt's; `success` where none of them is bad."""
    found = set(statuses)
    return next((status for status in STATUSES if status in found), "success")


def message(result: Result) -> str:
    """What dbt, or the database, says of a node, without the places of a folder that is gone."""
    if "criteria" in result:
        return _freshness(result)
    said = without_cut_line(str(result.get("message") or result.get("error") or result["status"]))
    lines = said.splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith("compiled code at "))


def without_cut_line(said: str) -> str:
    """The message without a line of the query that Postgres has cut off: what is secret in it would
    be known by nobody who looks for the whole of it.
    """
    return re.sub(_CUT, "", said) if "LINE" in said else said


def _freshness(result: Result) -> str:
    limits = [
        f"{level} after {limit['count']} {limit['period']}(s)"
        for level in ("warn", "error")
        if (limit := result["criteria"].get(f"{level}_after") or {}).get("count") is not None
    ]
    hours = result["max_loaded_at_time_ago_in_s"] / 3600
    return f"The newest row is {hours:.1f} hours old ({', '.join(limits)})"


def missing_result(unique_id: str, status: str, why: str | None = None) -> dict[str, Any]:
    """What dbt writes of a node that it did not come to, or that ended without its knowledge."""
    return {"status": status, "unique_id": unique_id, "message": why, **_EMPTY}


def merge(
    records: Sequence[Mapping[str, Any]],
    others: Iterable[Result],
    args: Mapping[str, Any],
    run: str,
) -> dict[str, dict[str, Any]]:
    """One artifact of each kind out of the tasks' XComs (see `small`) and results of `others`.

    `run_results` is always among them, and is what one `dbt build` with `args` would have left;
    `run` names the DAG run. A node that was run several times, as hooks are, is told of once: as
    it failed, if it did, else as it was the last time.
    """
    kinds = {record["artifact"] for record in records} | {RUN_RESULTS}
    artifacts = {}
    for kind in sorted(kinds):
        own = [record for record in records if record["artifact"] == kind]
        found: dict[str, Result] = {}
        for result in (result for record in own for result in record["results"]):
            before = found.get(result["unique_id"])
            if not before or before["status"] not in FAILED:
                found[result["unique_id"]] = result
        if kind == RUN_RESULTS:
            found |= {other["unique_id"]: other for other in others}
            found = {key: {"compiled_code": None, **result} for key, result in found.items()}
        artifacts[kind] = {
            "metadata": _metadata(own, kind, run),
            "results": list(found.values()),
            "elapsed_time": _elapsed(found.values()),
            **({"args": {"which": "build", **args}} if kind == RUN_RESULTS else {}),
        }
    return artifacts


def with_run_relations(manifest: Mapping[str, Any], found: Iterable[Result]) -> dict[str, Any]:
    """The manifest with the databases and schemas of the run that left these results.

    A manifest that is built without a warehouse may have other names, and `--defer` would look for
    relations there. A node without a result moves as the others of its schema did.
    """
    nodes = manifest.get("nodes") or {}
    own, moved = {}, defaultdict(set)
    for result in found:
        names = _names(result.get("relation_name") or "")
        if len(names) == 3 and (node := nodes.get(result["unique_id"])):
            own[result["unique_id"]] = names
            moved[node["database"], node["schema"]].add(names[:2])
    placed = {}
    for unique_id, node in nodes.items():
        targets = moved.get((node["database"], node["schema"]), ())
        names = own.get(unique_id) or (next(iter(targets)) if len(targets) == 1 else ())
        placed[unique_id] = node | dict(zip(("database", "schema", "alias"), names, strict=False))
    return dict(manifest) | {"nodes": placed}


def _names(relation: str) -> tuple[str, ...]:
    """The parts of a relation's name, without the quotes of Postgres, BigQuery or SQL Server."""
    return tuple("".join(parts).replace('""', '"') for parts in re.findall(_NAME, relation))


def _metadata(records: Sequence[Mapping[str, Any]], kind: str, run: str) -> dict[str, Any]:
    """That of the command that ended last, with the start of the one that began first."""
    if not records:
        version = "run-results/v6" if kind == RUN_RESULTS else "sources/v3"
        schema = f"https://schemas.getdbt.com/dbt/{version}.json"
        return {"dbt_schema_version": schema, "invocation_id": _invocation(run), "env": {}}
    every = [record["metadata"] for record in records]
    began = [one["invocation_started_at"] for one in every if one.get("invocation_started_at")]
    return {
        **max(every, key=lambda one: one["generated_at"]),
        "invocation_id": _invocation(run),
        **({"invocation_started_at": min(began)} if began else {}),
    }


def _invocation(run: str) -> str:
    """An id that is the same however often the results of a run are merged."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, run))


def _elapsed(found: Iterable[Result]) -> float:
    """Seconds from the first start to the last end."""
    steps = [step for result in found for step in result.get("timing") or ()]
    began = [_instant(step["started_at"]) for step in steps if step.get("started_at")]
    ended = [_instant(step["completed_at"]) for step in steps if step.get("completed_at")]
    return (max(ended) - min(began)).total_seconds() if began and ended else 0.0


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 knows no Z
