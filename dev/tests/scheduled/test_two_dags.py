"""The sample project in two DAGs: staging in `dbt_dag`, the marts in one that it triggers."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from dev.tests import sample
from dev.tests.scheduled.installation import dag_arguments, up
from scripts.local.api import Api

MARTS = "    marts:\n      +materialized: table\n"
APART = f"{MARTS}      +meta: {{airflow: {{schedule: assets, dag: marts}}}}\n"


@pytest.fixture
def api(at, tmp_path) -> Api:
    folder = sample.write_project(tmp_path / "a dbt project")
    project = folder / "dbt_project.yml"
    assert MARTS in project.read_text()
    project.write_text(project.read_text().replace(MARTS, APART))
    environment = {
        "DBT_PROJECT_DIR": str(folder),
        "DBT_PROFILES_DIR": str(folder),
        "DBT_MANIFEST": str(tmp_path / "manifest" / "manifest.json"),
        **dag_arguments(schedule="none"),
    }
    found, output = up(at, environment)
    assert "Switched on: dbt_dag, dbt_dag__marts." in output
    return found


def states(api: Api, dag_id: str, seconds: float = 240) -> dict[str, str]:
    """The states of the tasks of the DAG's only run, once it has finished."""
    deadline = time.monotonic() + seconds
    of = Api(api.port, dag_id)
    of.token = api.token
    while True:
        runs = api.call("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        if [run["state"] for run in runs] in (["success"], ["failed"]):
            return {task["task_id"]: task["state"] for task in of.tasks(runs[0]["dag_run_id"])}
        assert time.monotonic() < deadline, runs
        time.sleep(0.5)


def graph(api: Api, dag_id: str) -> set[tuple[str, str]]:
    """The edges of Airflow's graph of assets and DAGs around a DAG."""
    found = api.call("GET", f"/ui/dependencies?node_id={quote(f'dag:{dag_id}')}")["edges"]
    return {(edge["source_id"], edge["target_id"]) for edge in found}


def test_the_marts_run_when_all_that_they_read_was_refreshed_and_tested(api):
    api.trigger("staging")
    staging, marts = (states(api, dag_id) for dag_id in ("dbt_dag", "dbt_dag__marts"))
    assert set(staging.values()) == set(marts.values()) == {"success"}
    mart = "model.jaffle_shop.orders"
    assert (mart in staging, mart in marts) == (False, True)
    assert marts["exposure.jaffle_shop.revenue_dashboard"] == "success"
    (run,) = api.call("GET", "/api/v2/dags/dbt_dag__marts/dagRuns")["dag_runs"]
    assert run["run_type"] == "asset_triggered"
    assert {
        event["source_task_id"]
        for event in api.call(
            "GET", f"/api/v2/dags/dbt_dag__marts/dagRuns/{run['dag_run_id']}/upstreamAssetEvents"
        )["asset_events"]
    } == {
        "asset.jaffle_shop.stg_jaffle_shop__orders",
        "asset.jaffle_shop.stg_stripe__payments",
        "test.jaffle_shop.int_order_items_priced",
        "test.jaffle_shop.stg_jaffle_shop__customers",
        "test.jaffle_shop.stg_jaffle_shop__products",
    }
    edges = graph(api, "dbt_dag__marts")
    before = {source for source, target in edges if target == "dag:dbt_dag__marts"}
    assert len(before) == 5
    assert {source for source, target in edges if target in before} == {"dag:dbt_dag"}
