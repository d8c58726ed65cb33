"""Runs through Airflow's scheduler: a failure stops what reads it, and is mended alone; a run that
is triggered with params does what they say.

A dbt project of six models, run by Airflow's scheduler with the real dbt on the embedded Postgres.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dev.tests.scheduled.aftermath import said
from dev.tests.scheduled.installation import dag_arguments, finish, start, table_of, write_project
from scripts.local import postgres
from scripts.local.api import Api
from scripts.local.environment import load_secrets

FILES = {
    "models/top.sql": "select 1 as id",
    "models/middle.sql": "select id from {{ ref('top') }}",
    "models/sibling.sql": "select id + {{ var('more', 0) }} as id from {{ ref('top') }}",
    "models/bottom.sql": "select id from {{ ref('middle') }}",
    "models/below.sql": "select id from {{ ref('bottom') }}",
    "models/sibling.yml": """
models:
  - name: sibling
    columns: [{name: id, data_tests: [unique, not_null]}]
""",
    "tests/middle_is_empty.sql": "select * from {{ ref('middle') }}",
}
RUNS = "/api/v2/dags/dbt_dag/dagRuns"
MODELS = ("top", "middle", "sibling", "bottom", "below")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "tiny", FILES)


@pytest.fixture(scope="module")
def environment(environment) -> dict[str, str]:
    return environment | dag_arguments(retry_delay=1)


@pytest.fixture
def run(at, api, environment):
    """Runs the DAG once; returns the state of each task, and the id of the run."""

    def once() -> tuple[dict[str, str], str]:
        _, output = finish(start("run", at=at, environment=environment), timeout=600)
        runs = api.call("GET", "/api/v2/dags/dbt_dag/dagRuns?order_by=-run_after")["dag_runs"]
        return table_of(output), runs[0]["dag_run_id"]

    return once


def states(**different: str) -> dict[str, str]:
    found = {f"model.tiny.{name}": "success" for name in MODELS}
    return (
        found
        | {"test.tiny.middle": "success", "test.tiny.sibling": "success"}
        | {"check_dbt": "success", "run_results": "success"}
        | {k.replace("__", "."): v for k, v in different.items()}
    )


def tries(api: Api, run_id: str) -> dict[str, tuple[int, str]]:
    return {task["task_id"]: (task["try_number"], task["start_date"]) for task in api.tasks(run_id)}


def test_a_failed_test_stops_what_reads_its_model_and_nothing_else(run, api):
    """The failed test is not tried again, though tasks have two retries: its data is what it is."""
    found, run_id = run()
    assert found == states(
        test__tiny__middle="failed",
        model__tiny__bottom="upstream_failed",
        model__tiny__below="upstream_failed",
        run_results="failed",
    )
    assert {task: number for task, (number, _) in tries(api, run_id).items()} == {
        **dict.fromkeys(found, 1),
        "model.tiny.bottom": 0,
        "model.tiny.below": 0,
    }


def test_a_mended_model_is_run_again_with_what_is_downstream_and_nothing_else(run, api, project):
    (project / "tests/middle_is_empty.sql").write_text(
        "select * from {{ ref('middle') }} where id > 1"
    )
    (project / "models/bottom.sql").write_text("select id / 0 as id from {{ ref('middle') }}")
    found, run_id = run()
    assert found == states(
        model__tiny__bottom="failed", model__tiny__below="upstream_failed", run_results="failed"
    )
    before = tries(api, run_id)
    assert before["model.tiny.bottom"][0] == 1  # to divide by zero does not heal by repetition

    (project / "models/bottom.sql").write_text("select id from {{ ref('middle') }}")
    clear(api, run_id, "model.tiny.bottom")
    assert wait(api, run_id) == "success"
    after = tries(api, run_id)
    assert {task["task_id"]: task["state"] for task in api.tasks(run_id)} == states()
    assert {task for task in after if after[task] != before[task]} == {
        "model.tiny.bottom",
        "model.tiny.below",
        "run_results",
    }


def test_when_all_is_well_every_task_runs_once(run, api):
    found, run_id = run()
    assert found == states()
    assert {number for number, _ in tries(api, run_id).values()} == {1}


@pytest.fixture
def trigger(api):
    """Triggers a run with these params; returns the states of its tasks, its own, and its id."""

    def with_params(**params) -> tuple[dict[str, str], str, str]:
        run_id = f"triggered_{len(api.call('GET', RUNS)['dag_runs'])}"
        api.call("POST", RUNS, {"dag_run_id": run_id, "logical_date": None, "conf": params})
        state = wait(api, run_id)
        return {task["task_id"]: task["state"] for task in api.tasks(run_id)}, state, run_id

    return with_params


def skipped(**different: str) -> dict[str, str]:
    return (
        dict.fromkeys(states(), "skipped")
        | {"check_dbt": "success", "run_results": "success"}
        | {k.replace("__", "."): v for k, v in different.items()}
    )


def test_what_is_not_selected_is_skipped_and_holds_back_nothing(trigger, api, at):
    """Neither in the run nor when a task of it is cleared, which keeps the params."""
    chosen = skipped(model__tiny__bottom="success", test__tiny__middle="success")
    found, state, run_id = trigger(select="bottom test_type:singular")
    assert (found, state) == (chosen, "success")
    reason = "Not in this run's selection: '--select=bottom test_type:singular'"
    assert reason in said(at, run_id, "model.tiny.top")
    before = tries(api, run_id)
    clear(api, run_id, "model.tiny.bottom", only_failed=False)
    assert wait(api, run_id) == "success"
    assert {task["task_id"]: task["state"] for task in api.tasks(run_id)} == chosen
    assert tries(api, run_id)["model.tiny.bottom"][0] == before["model.tiny.bottom"][0] + 1


def test_of_a_models_tests_those_run_that_are_selected(trigger, at):
    found, state, run_id = trigger(select="unique_sibling_id")
    assert (found, state) == (skipped(test__tiny__sibling="success"), "success")
    task = at.logs / "dag_id=dbt_dag" / f"run_id={run_id}" / "task_id=test.tiny.sibling"
    (log,) = task.glob("*.log")
    assert "1 of 1 PASS unique_sibling_id" in log.read_text()


def test_a_selection_of_nothing_fails_at_once(trigger, api, at):
    found, state, run_id = trigger(select="no_such_model")
    assert state == "failed"
    failed = {"check_dbt": "failed", "run_results": "failed"}
    assert found == dict.fromkeys(states(), "upstream_failed") | failed
    assert tries(api, run_id)["check_dbt"][0] == 1
    (log,) = (at.logs / "dag_id=dbt_dag" / f"run_id={run_id}").glob("task_id=check_dbt/*.log")
    assert "does not match any enabled nodes" in log.read_text()


def test_variables_reach_dbt(trigger, at):
    found, state, _ = trigger(select="sibling", vars={"more": 41})
    assert (found["model.tiny.sibling"], state) == ("success", "success")
    with postgres.cursor(at, load_secrets(at), "warehouse") as ask:
        ask.execute("select id from tiny.sibling")
        assert ask.fetchall() == [(42,)]


def clear(api: Api, run_id: str, task_id: str, only_failed: bool = True) -> None:
    """What the UI's button does: the task and what is downstream of it are to be run again."""
    wanted = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id]}
    options = {"include_downstream": True, "only_failed": only_failed, "reset_dag_runs": True}
    api.call("POST", "/api/v2/dags/dbt_dag/clearTaskInstances", wanted | options)


def wait(api: Api, run_id: str, seconds: float = 240) -> str:
    """The state of the run once it has finished."""
    deadline = time.monotonic() + seconds
    while (state := api.run_state(run_id)) not in ("success", "failed"):
        assert time.monotonic() < deadline, api.tasks(run_id)
        time.sleep(0.5)
    return state
