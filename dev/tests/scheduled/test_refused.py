"""A DAG that Airflow reads without an error, and then cannot save in its database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tests import sample
from dev.tests.scheduled.installation import finish, processes_of, start
from scripts.local.paths import Paths, installation_paths

REFUSED = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset

EmptyOperator(task_id="mine", dag=dag, outlets=[Asset(name="x", uri="Kundenauftr\u00e4ge")])
"""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    dags = tmp_path_factory.mktemp("dags")
    text = (Path(sample.DAGS) / "dbt_dag.py").read_text()
    (dags / "dbt_dag.py").write_text(text + REFUSED)
    paths = installation_paths(str(tmp_path_factory.mktemp("state")), str(dags))
    yield paths
    start("down", at=paths).wait(timeout=60)


def test_a_run_ends_at_once_with_the_reason_of_airflows_database(at):
    code, output = finish(start("run", at=at), timeout=200)
    assert code == 1
    assert "Airflow has read dbt_dag.py, but could not save its DAGs" in output
    assert "ValueError: URI must be ascii" in output
    assert processes_of(at) == []
