"""A run with tasks of a person's own before and after those of dbt, by Airflow's scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tests.dag.test_dag_file import AFTER, BEFORE, edited
from dev.tests.scheduled.installation import (
    dag_arguments,
    start,
    statuses,
    triggered,
    write_project,
)
from scripts.local.api import Api
from scripts.local.paths import Paths, installation_paths

FILES = {
    "models/parent.sql": "select 1 as id",
    "models/child.sql": "select id from {{ ref('parent') }}",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "own_tasks", FILES)


@pytest.fixture(scope="module")
def missing(tmp_path_factory) -> Path:
    """A file without which the first task succeeds."""
    return tmp_path_factory.mktemp("extracted") / "missing"


@pytest.fixture(scope="module")
def at(tmp_path_factory, missing: Path) -> Iterator[Paths]:
    folder = tmp_path_factory.mktemp("own dags")
    edited(folder, BEFORE.replace("true", f"test ! -e '{missing}'"), AFTER)
    found = installation_paths(str(tmp_path_factory.mktemp("state")), str(folder))
    yield found
    start("down", at=found).wait(timeout=60)


@pytest.fixture(scope="module")
def environment(environment) -> dict[str, str]:
    return environment | dag_arguments(schedule="none", retries=0)


def states(api: Api, run_id: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in api.tasks(run_id)}


def test_they_run_around_dbts_and_the_run_is_as_good_as_its_tasks(api, missing, runs):
    assert triggered(api, "good") == "success"
    dbts = ("check_dbt", "model.tiny.parent", "model.tiny.child", "run_results")
    assert states(api, "good") == dict.fromkeys(("extract", *dbts, "report"), "success")
    assert statuses(runs / "dag_id=dbt_dag" / "run_id=good") == {
        "model.tiny.parent": "success",
        "model.tiny.child": "success",
    }
    missing.touch()
    assert triggered(api, "bad") == "failed"
    assert states(api, "bad") == {
        "extract": "failed",
        "check_dbt": "upstream_failed",
        "model.tiny.parent": "upstream_failed",
        "model.tiny.child": "upstream_failed",
        "run_results": "failed",
        "report": "upstream_failed",
    }
