"""dbt projects in odd shapes, each from its files to Airflow's database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from dev.tests.postgres import run_postgres
from dev.tests.shapes.projects import parse_project, write_project
from include.engine import settings


@pytest.fixture(scope="module")
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of the project in FILES of the test's module."""
    folder = write_project(tmp_path_factory.mktemp("project"), request.module.FILES)
    return parse_project(folder, tmp_path_factory.mktemp("target"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], DagBag]:
    """The project's DAG folder, with the DAGs of a manifest."""

    def read(manifest: Path) -> DagBag:
        monkeypatch.setenv("DBT_MANIFEST", str(manifest))
        return DagBag(str(settings.ROOT / "dags"))

    return read


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    with run_postgres() as folder:
        yield folder


@pytest.fixture
def take_in(postgres: Path, tmp_path: Path) -> Callable[[Path], dict]:
    """What Airflow's database holds after it took in the DAGs of a manifest."""

    def take_in(manifest: Path) -> dict:
        name = f"airflow{os.urandom(4).hex()}"
        url = f"postgresql+psycopg2://postgres@/{name}?host={postgres}"
        create_database(postgres, name)
        done = subprocess.run(
            [sys.executable, "-m", "dev.tests.shapes.take_in", settings.ROOT / "dags"],
            cwd=settings.ROOT,
            env=os.environ
            | {
                "DBT_MANIFEST": str(manifest),
                "AIRFLOW_HOME": str(tmp_path),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
                "AIRFLOW__CORE__DAGS_FOLDER": str(settings.ROOT / "dags"),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return take_in


def create_database(host: Path, name: str) -> None:
    import psycopg2

    connection = psycopg2.connect(host=str(host), user="postgres", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'create database "{name}"')
    connection.close()
