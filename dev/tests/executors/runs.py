"""A run of the project's DAG in an empty warehouse, and what it leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NamedTuple

from dev.tests.celery.swapping import tables
from dev.tests.image.astro import DAG, Project, eventually
from dev.tests.image.conftest import FIGURES
from dev.tests.scheduled import aftermath
from scripts.local.api import Api


class Ran(NamedTuple):
    """What a run left that is equal for every executor, and its tasks as Airflow's API has them."""

    left: dict[str, object]
    tasks: dict[str, dict]


def start(project: Project) -> None:
    """Start the services, wait for the DAG, and switch it on: it has no schedule."""
    project.compose("up", "--detach")
    look = lambda: project.compose("logs", "--tail", "20").stdout  # noqa: E731
    eventually(project.healthy, 300, look)
    eventually(lambda: project.dag()["dag_id"] == DAG, 120, look)
    project.api(f"dags/{DAG}", {"is_paused": False}, "PATCH")


def end(project: Project) -> None:
    project.compose("down", "--volumes", "--timeout", "5", check=False)


def rows(project: Project, statement: str) -> list[tuple[str, ...]]:
    return [tuple(line.split("|")) for line in project.sql(statement).splitlines()]


def empty(project: Project) -> None:
    """Drop all that is in the warehouse."""
    for (schema,) in rows(
        project,
        "select schema_name from information_schema.schemata where schema_name !~ '^pg_'"
        " and schema_name not in ('information_schema', 'public')",
    ):
        project.sql(f'drop schema "{schema}" cascade')


def run(project: Project, run_id: str, read: Callable[[str], str]) -> Ran:
    """Run the DAG. `read` returns a file of DBT_RUNS."""
    empty(project)
    api = Api(project.api_port)
    api.log_in()
    began = time.monotonic()
    api.trigger(run_id)
    state = project.finished(run_id, 1200)
    FIGURES.append(f"{run_id}: {time.monotonic() - began:.0f} s, {state}")
    results = json.loads(read(f"dag_id={DAG}/run_id={run_id}/run_results.json"))["results"]
    left = {
        "states": aftermath.states(api, run_id),
        "results": {result["unique_id"]: result["status"] for result in results},
        "published": aftermath.published(api, run_id),
        "tables": tables(lambda statement: rows(project, statement)),
    }
    return Ran(left, {task["task_id"]: task for task in api.tasks(run_id)})
