"""dbt's result of each node: of one command, and merged for a whole DAG run.

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
# Plain texts: `re` compiles them at first use, and most task processes never use them.
_CUT = r"(?m)^[ \t]*LINE \d+: (?:\.\.\..*|.*\.\.\.)$(?:\n[ \t]*\^$)?\n?"
_NAME = r'"((?:[^"]|"")*)"|`([^`]*)`|\[([^\]]*)\]|([^."`\[\]]+)'
RUN_RESULTS, SOURCES = "run_results", "sources"
# Keys of XComs: dbt's warnings; the end of what a scheduled run of a microbatch model has built,
# ISO 8601; and dbt's arguments for what it builds.
WARNINGS, BUILT_UNTIL, EVENT_TIMES = "warnings", "built_until", "event_times"

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
    """The artifact in the target folder of a dbt command; its key `artifact` names the kind.

    {} if there is none: dbt failed before it ran a node.
    """
    for name in (RUN_RESULTS, SOURCES):
        try:
            artifact = json.loads((target / f"{name}.json").read_bytes())
            return {"artifact": name, **{key: artifact[key] for key in ("metadata", "results")}}
        except (OSError, ValueError, KeyError):
            continue
    return {}


def node_ids(artifact: Mapping[str, Any]) -> set[str]:
    """The unique ids of all results of the artifact."""
    return {result["unique_id"] for result in artifact["results"]}


def as_xcom(artifact: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact as a task's XCom: the worst status, the seconds, and the results without SQL."""
    own = artifact["results"]
    return {
        "status": worst(result["status"] for result in own),
        "execution_time": round(sum(result.get("execution_time") or 0 for result in own), 3),
        **artifact,
        "results": [{k: v for k, v in result.items() if k != "compiled_code"} for result in own],
    }


def worst(statuses: Iterable[str]) -> str:
    """The worst of these dbt statuses; `success` if none of them is bad."""
    present = set(statuses)
    return next((status for status in STATUSES if status in present), "success")


def message(result: Result) -> str:
    """The message of dbt or of the database, without paths in the try's removed folder."""
    if "criteria" in result:
        return _freshness(result)
    text = without_cut_line(str(result.get("message") or result.get("error") or result["status"]))
    lines = text.splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith("compiled code at "))


def without_cut_line(text: str) -> str:
    """The message without the line of the query that Postgres shortened.

    The line may hold one half of a secret, and masking finds only whole secrets.
    """
    return re.sub(_CUT, "", text) if "LINE" in text else text


def _freshness(result: Result) -> str:
    limits = [
        f"{level} after {limit['count']} {limit['period']}(s)"
        for level in ("warn", "error")
        if (limit := result["criteria"].get(f"{level}_after") or {}).get("count") is not None
    ]
    hours = result["max_loaded_at_time_ago_in_s"] / 3600
    age = f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"
    return f"The newest row is {age} old ({', '.join(limits)})"


def missing_result(unique_id: str, status: str, why: str | None = None) -> dict[str, Any]:
    """The result that dbt writes for a node that it did not start, or that ended without it."""
    return {"status": status, "unique_id": unique_id, "message": why, **_EMPTY}


def merge(
    records: Sequence[Mapping[str, Any]],
    others: Iterable[Result],
    args: Mapping[str, Any],
    invocation: str,
) -> dict[str, dict[str, Any]]:
    """One artifact of each kind, from the XComs of tasks (`as_xcom`) and the results `others`.

    There is always a `run_results`: what one `dbt build` with `args` would write, with
    the id `invocation`. A node that ran several times, as hooks may, keeps its failure, else its
    last result.
    """
    kinds = {record["artifact"] for record in records} | {RUN_RESULTS}
    artifacts = {}
    for kind in sorted(kinds):
        own = [record for record in records if record["artifact"] == kind]
        by_node: dict[str, Result] = {}
        for result in (result for record in own for result in record["results"]):
            before = by_node.get(result["unique_id"])
            if not before or before["status"] not in FAILED:
                by_node[result["unique_id"]] = result
        if kind == RUN_RESULTS:
            by_node |= {other["unique_id"]: other for other in others}
            by_node = {key: {"compiled_code": None, **result} for key, result in by_node.items()}
        artifacts[kind] = {
            "metadata": _metadata(own, kind, invocation),
            "results": list(by_node.values()),
            "elapsed_time": _elapsed(by_node.values()),
            **({"args": {"which": "build", **args}} if kind == RUN_RESULTS else {}),
        }
    return artifacts


def with_run_relations(manifest: Mapping[str, Any], ran: Iterable[Result]) -> dict[str, Any]:
    """The manifest with the databases and schemas of the run that has these results.

    A manifest built without a warehouse may have other names, and `--defer` would look for
    relations there. A node without a result moves with the other nodes of its schema.
    """
    nodes = manifest.get("nodes") or {}
    own, moved = {}, defaultdict(set)
    for result in ran:
        names = _names(result.get("relation_name") or "")
        if len(names) == 3 and (node := nodes.get(result["unique_id"])):
            own[result["unique_id"]] = names
            moved[node["database"], node["schema"]].add(names[:2])
    renamed = {}
    for unique_id, node in nodes.items():
        targets = moved.get((node["database"], node["schema"]), ())
        names = own.get(unique_id) or (next(iter(targets)) if len(targets) == 1 else ())
        renamed[unique_id] = node | dict(zip(("database", "schema", "alias"), names, strict=False))
    return dict(manifest) | {"nodes": renamed}


def _names(relation: str) -> tuple[str, ...]:
    """The parts of a relation name, without the quotes of Postgres, BigQuery or SQL Server."""
    return tuple("".join(parts).replace('""', '"') for parts in re.findall(_NAME, relation))


def _metadata(records: Sequence[Mapping[str, Any]], kind: str, invocation: str) -> dict[str, Any]:
    """The metadata of the command that ended last, with the start time of the first command."""
    if not records:
        version = "run-results/v6" if kind == RUN_RESULTS else "sources/v3"
        schema = f"https://schemas.getdbt.com/dbt/{version}.json"
        return {"dbt_schema_version": schema, "invocation_id": invocation, "env": {}}
    every = [record["metadata"] for record in records]
    began = [own["invocation_started_at"] for own in every if own.get("invocation_started_at")]
    return {
        **max(every, key=lambda own: own["generated_at"]),
        "invocation_id": invocation,
        **({"invocation_started_at": min(began)} if began else {}),
    }


def invocation_id(dag_id: str, run_id: str) -> str:
    """dbt's id for all commands of a DAG run, and for the results that are merged of them."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{dag_id}/{run_id}"))


def _elapsed(ran: Iterable[Result]) -> float:
    """Seconds from the first start to the last end."""
    steps = [step for result in ran for step in result.get("timing") or ()]
    began = [_instant(step["started_at"]) for step in steps if step.get("started_at")]
    ended = [_instant(step["completed_at"]) for step in steps if step.get("completed_at")]
    return (max(ended) - min(began)).total_seconds() if began and ended else 0.0


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not parse Z
