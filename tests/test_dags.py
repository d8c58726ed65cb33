"""DAG integrity: the DAGs are what dbt's manifest says, and what a deployment can run.

https://www.astronomer.io/docs/learn/testing-airflow
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from include.engine import settings
from include.engine.run.operator import DbtOperator

MIN_RETRIES = 1
"""A lost connection is no reason for an alert: every DAG tries a task again."""

TAGS = {"dbt"}
"""Tags that every DAG with a task of dbt has; any other DAG has a tag of its own."""

POOLS = {"default_pool"}
"""Pools that the deployment has. Those in `airflow_settings.yaml` need not be named here."""

BUILT = ("model", "seed", "snapshot", "function")
"""dbt's resource types whose nodes have a task that builds them."""

PASSWORD = "hunter2-is-no-secret"


def test_the_dag_files_import(dagbag):
    assert dagbag.import_errors == {}


def test_no_dag_has_a_cycle(dagbag):
    for dag in dagbag.dags.values():
        dag.check_cycle()


def test_each_node_is_built_by_exactly_one_task(dagbag, manifest):
    built = Counter(
        node for task in dbt_tasks(dagbag) if task.verb != "test" for node in task.nodes
    )
    expected = {
        unique_id
        for unique_id, node in selected_nodes(manifest)
        if node["resource_type"] in BUILT and node["config"].get("materialized") != "ephemeral"
    }
    assert {key: count for key, count in built.items() if key.startswith(BUILT)} == dict.fromkeys(
        expected, 1
    )


def test_each_data_test_runs_exactly_once(dagbag, manifest):
    tested = Counter(
        node for task in dbt_tasks(dagbag) if task.verb == "test" for node in task.nodes
    )
    expected = {key for key, node in selected_nodes(manifest) if node["resource_type"] == "test"}
    assert {
        key: count for key, count in tested.items() if key.startswith("test.")
    } == dict.fromkeys(expected, 1)


def test_every_dag_has_retries_tags_and_owners(dagbag):
    for dag in dagbag.dags.values():
        assert dag.default_args.get("retries", 0) >= MIN_RETRIES, dag.dag_id
        assert dag.tags >= (TAGS if has_dbt(dag) else set()), dag.dag_id
        assert dag.tags, dag.dag_id
        assert all(task.owner for task in dag.tasks), dag.dag_id


def test_every_pool_exists(dagbag):
    pools = {task.pool for dag in dagbag.dags.values() for task in dag.tasks}
    assert pools - known_pools() == set(), (
        "Create these pools in the deployment, and name them in POOLS of tests/test_dags.py"
    )


def test_two_parses_give_the_same_dags(dagbag):
    """Otherwise each parse makes a new version of the DAG in Airflow's database."""
    again = DagBag(str(settings.ROOT / "dags"))
    assert {dag_id: stored(dag) for dag_id, dag in again.dags.items()} == {
        dag_id: stored(dag) for dag_id, dag in dagbag.dags.items()
    }


def test_no_field_of_a_dag_holds_a_secret(monkeypatch):
    """Airflow's database keeps every field: the warehouse comes when a task runs."""
    connection = {"conn_type": "postgres", "host": "h", "login": "u", "password": PASSWORD}
    name = settings.load().connection
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
    monkeypatch.setenv("DBT_ENV_SECRET_WAREHOUSE_PASSWORD", PASSWORD)
    dags = DagBag(str(settings.ROOT / "dags")).dags
    assert [dag_id for dag_id, dag in dags.items() if PASSWORD in stored(dag)] == []


def dbt_tasks(dagbag: DagBag) -> Iterator[DbtOperator]:
    for dag in dagbag.dags.values():
        yield from (task for task in dag.tasks if isinstance(task, DbtOperator))


def has_dbt(dag: DAG) -> bool:
    return any(isinstance(task, DbtOperator) for task in dag.tasks)


def selected_nodes(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The enabled nodes, by unique id, that DBT_SELECT and the like leave in."""
    selected = manifest.get("selected")
    members = {**manifest["nodes"], **manifest.get("functions", {})}
    for unique_id, node in members.items():
        enabled = node["config"].get("enabled", True)
        if enabled and (selected is None or unique_id in selected):
            yield unique_id, node


def known_pools() -> set[str]:
    file = settings.ROOT / "airflow_settings.yaml"
    declared = (yaml.safe_load(file.read_text()) or {}).get("airflow", {}) if file.exists() else {}
    return POOLS | {pool["pool_name"] for pool in declared.get("pools") or () if pool["pool_name"]}


def stored(dag: DAG) -> str:
    """The DAG as Airflow's database keeps it."""
    return json.dumps(DagSerialization.to_dict(dag), sort_keys=True)
