"""All tasks of a DAG run have one `run_started_at` and one `invocation_id`, as in one `dbt build`.

A dbt project that writes both into its tables, run by Airflow's scheduler with the warm dbt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.tests.scheduled.aftermath import said, states
from dev.tests.scheduled.installation import (
    clear,
    dag_arguments,
    triggered,
    wait_until,
    write_project,
)
from scripts.local import postgres
from scripts.local.environment import load_secrets

OWN = "'{{ run_started_at }}' as started_at, '{{ invocation_id }}' as id"
MODELS = ("first", "second", "third")
FILES = {
    "models/first.sql": f"select {OWN}, clock_timestamp() as at",
    "models/second.sql": f"select {OWN}, clock_timestamp() as at from {{{{ ref('first') }}}}",
    "models/third.sql": f"select {OWN}, clock_timestamp() as at from {{{{ ref('second') }}}}",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "one_run", FILES)


@pytest.fixture(scope="module")
def environment(environment) -> dict[str, str]:
    return environment | dag_arguments(schedule="none", retries=0) | {"DBT_WARM_IDLE": "0"}


@pytest.fixture(scope="module")
def tables(at, api) -> Callable[[], dict[str, tuple]]:
    """Reads the row of each model: the time and the id of its run, and when it was built."""

    def read() -> dict[str, tuple]:
        with postgres.cursor(at, load_secrets(at), "warehouse") as cursor:
            rows = {}
            for name in MODELS:
                cursor.execute(f"select started_at, id, at from one_run.{name}")
                (rows[name],) = cursor.fetchall()
            return rows

    return read


def own(rows: dict[str, tuple]) -> set[tuple[str, str]]:
    """The pairs of `run_started_at` and `invocation_id` in the tables."""
    return {row[:2] for row in rows.values()}


def test_a_warm_dbt_that_is_to_stay_starts_with_the_scheduler(at, api):
    def commands() -> list[int | None]:
        return [json.loads(file.read_text()).get("commands") for file in at.warm.glob("*.json")]

    wait_until(lambda: commands() == [0], found=commands)


def test_tasks_of_a_run_share_both_also_when_they_are_cleared(api, at, runs, tables):
    """Airflow gives a run that is cleared a new start: its tasks keep the first one."""
    assert triggered(api, "one") == "success"
    before = tables()
    ((moment, invocation),) = own(before)
    results = json.loads((runs / "dag_id=dbt_dag/run_id=one/run_results.json").read_bytes())
    assert results["metadata"]["invocation_id"] == invocation
    start = api.call("GET", api._run("one"))["start_date"]
    assert moment.replace("+00:00", "Z").replace(" ", "T") == start
    assert clear(api, "one", "model.tiny.second") == "success"
    after = tables()
    assert own(after) == {(moment, invocation)}
    rebuilt = {name: after[name][2] > before[name][2] for name in MODELS}
    assert rebuilt == {"first": False, "second": True, "third": True}
    assert api.call("GET", api._run("one"))["start_date"] > start
    logs = "".join(said(at, "one", task) for task in states(api, "one"))
    assert "dbt starts cold" not in logs


def test_a_task_that_failed_and_is_fixed_has_both_of_its_run(api, project, tables):
    """Another run has another time, and another id."""
    ((moment, invocation),) = own(tables())
    model = project / "models/second.sql"
    model.write_text(model.read_text().replace("select", "select 1 / 0,", 1))
    assert triggered(api, "fixed") == "failed"
    model.write_text(FILES["models/second.sql"])
    assert clear(api, "fixed", "model.tiny.second") == "success"
    ((later, other),) = own(tables())
    assert (later > moment, other != invocation) == (True, True)
