"""The DAG folder with what dbt's YAML says of Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from airflow.dag_processing.dagbag import DagBag

from dev.tests import sample
from dev.tests.conftest import with_arguments
from include.engine import settings


@pytest.fixture
def read(monkeypatch, tmp_path) -> Callable[..., DagBag]:
    """The DAG folder, where the sample's manifest says these things under `meta.airflow`, and has
    this configuration besides.
    """

    def with_airflow(said: dict[str, dict], config: dict | None = None, **arguments) -> DagBag:
        raw = json.loads(settings.load().manifest.read_bytes())
        for unique_id, airflow in said.items():
            section = "sources" if unique_id.startswith("source.") else "nodes"
            raw[section][unique_id]["config"] |= {"meta": {"airflow": airflow}, **(config or {})}
        (tmp_path / "manifest.json").write_text(json.dumps(raw))
        with_arguments(monkeypatch, **arguments)
        monkeypatch.setenv("DBT_MANIFEST", str(tmp_path / "manifest.json"))
        return DagBag(str(sample.DAGS))

    return with_airflow
