"""Runs of dbt projects, each in an empty warehouse, and what they leave."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from dev.tests import sample
from dev.tests.celery import swapping
from dev.tests.image.astro import DAG, HOME, Project, eventually
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


def manifest_of(one: swapping.Project) -> Path:
    """The folder of the project's manifest; the sample has none, as the image has its manifest."""
    return one.folder.parent / "manifest"


def build_manifest(one: swapping.Project) -> None:
    sample.build_manifest(
        {
            "DBT_PROJECT_DIR": str(one.folder),
            "DBT_PROFILES_DIR": str(one.folder),
            "DBT_MANIFEST": str(manifest_of(one) / "manifest.json"),
        }
    )


def put(project: Project, one: swapping.Project) -> None:
    """Put this dbt project, with its manifest as `make manifest` leaves it, in the place of the one
    that is there, and wait until Airflow has read it.
    """
    for source, place in ((one.folder, "include/dbt"), (manifest_of(one), ".dbt/manifest")):
        shutil.rmtree(project.folder / place, ignore_errors=True)
        if source.exists():
            shutil.copytree(source, project.folder / place)
    # The file may have been half read before: the second time from now is a whole one.
    times = {project.dag()["last_parsed_time"]}
    read_twice = lambda: times.add(project.dag()["last_parsed_time"]) or len(times) == 3  # noqa: E731
    eventually(read_twice, 120, lambda: project.compose("logs", "dag-processor").stdout[-2000:])
    errors = project.api("importErrors")["import_errors"]
    assert errors == [], errors


def volumes(one: swapping.Project) -> list[str]:
    """The words of `docker run` for a container that has this project, and not the image's."""
    if not manifest_of(one).exists():
        return []
    return [
        *("--volume", f"{one.folder}:{HOME}/include/dbt:ro"),
        *("--volume", f"{manifest_of(one)}:{HOME}/.dbt/manifest:ro"),
    ]


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


def everything(
    project: Project, projects: Iterable[swapping.Project], where: str, read: Callable[[str], str]
) -> dict[str, Ran]:
    """A run of each of these dbt projects, by its name. `read` returns a file of DBT_RUNS."""
    ran = {}
    for one in projects:
        put(project, one)
        ran[one.name] = run(project, one, f"{one.name}_{where}", read)
    return ran


def run(project: Project, one: swapping.Project, run_id: str, read: Callable[[str], str]) -> Ran:
    """A run of the DAG of a dbt project that is in its place."""
    empty(project)
    for statement in one.setup:
        project.sql(statement)
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
        "tables": swapping.tables(lambda statement: rows(project, statement)),
    }
    return Ran(left, {task["task_id"]: task for task in api.tasks(run_id)})


def left(ran: dict[str, Ran]) -> dict[str, dict[str, object]]:
    """What the run of each project left."""
    return {name: one.left for name, one in ran.items()}
