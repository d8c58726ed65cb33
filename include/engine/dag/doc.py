"""The page of a DAG in Airflow's UI, as Markdown."""

from __future__ import annotations

from collections import Counter, defaultdict

from include.engine.plan.records import Dag, Schedule
from include.engine.version import VERSION

DOC = """
Every dbt model as a task of its own, wired as dbt's own graph: {counts}.

A task `model.<package>.<name>` runs a model, `test.<package>.<name>` tests it. What depends on a
model waits for both. To run a failed model again after you fixed it, clear its task: it and what is
downstream of it run, nothing else.
"""
_AWAITED = {
    "all": "when all of these assets were refreshed: {}",
    "any": "when one of these assets was refreshed: {}",
}


def dag_doc(dag: Dag) -> str:
    """The page of the DAG: its number of tasks, its schedule, what it reads, and the version."""
    return DOC.format(counts=counts(dag)) + "".join(f"\n{line}\n" for line in _lines(dag))


def counts(dag: Dag) -> str:
    """How many tasks there are of each kind, in words."""
    by_kind = Counter(task.kind for task in dag.tasks)
    return ", ".join(f"{number} {kind} tasks" for kind, number in sorted(by_kind.items()))


def _lines(dag: Dag) -> list[str]:
    lines = [f"**Runs** {_when(dag.request.schedule, [asset.name for asset in dag.awaits])}."]
    by_dag = defaultdict(list)
    for unique_id, dag_id in dag.reads:
        by_dag[dag_id].append(unique_id)
    for dag_id in sorted(by_dag):
        source = f"what `{dag_id}` builds" if dag_id else "what no DAG here builds"
        lines.append(f"**Reads** {source}: {_names(by_dag[dag_id])}.")
    lines.append(f"**Version** of the engine: {VERSION}.")
    return lines


def _when(schedule: Schedule, awaited: list[str]) -> str:
    zone = f" in {schedule.timezone}" if schedule.timezone else ""
    parts = [f"by time: `{schedule.time}`{zone}"] if schedule.time else []
    if schedule.assets:
        parts.append(_AWAITED[schedule.assets].format(_names(awaited)))
    return ", or ".join(parts) or "when it is triggered"


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
