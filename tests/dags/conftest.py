from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from include import settings


@pytest.fixture(scope="session")
def dagbag() -> DagBag:
    """The project's own DAG folder, read as Airflow's dag processor reads it."""
    return DagBag(str(settings.ROOT / "dags"))


@pytest.fixture(scope="session")
def dag(dagbag):
    assert dagbag.import_errors == {}
    return dagbag.dags["dbt_dag"]


@pytest.fixture
def errors_with(monkeypatch, tmp_path) -> Callable[..., list[str]]:
    """The import errors of the DAG folder when `variables` are set."""

    def read(**variables: str | os.PathLike) -> list[str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        return list(DagBag(str(settings.ROOT / "dags")).import_errors.values())

    return read


def serialized(dag) -> str:
    """The DAG as Airflow stores it, less the places on this machine that Airflow adds itself."""
    from airflow.serialization.serialized_objects import DagSerialization

    data = DagSerialization.to_dict(dag)
    for place in ("fileloc", "_processor_dags_folder", "relative_fileloc"):
        data["dag"].pop(place, None)
    return json.dumps(data, sort_keys=True)


@contextmanager
def in_task_process(task_id: str, dag_id: str = "dbt_dag") -> Iterator[None]:
    """DAG files are read as the process of that task reads them."""
    # Airflow's own context manager does not take its variables back where there were none before.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
        patch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", task_id)
        yield


GRAPH = Path(__file__).with_name("sample_graph.txt")
