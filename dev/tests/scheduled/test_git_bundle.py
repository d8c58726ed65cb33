"""A run that is pinned to its version of a git bundle, while a newer version has landed.

Airflow's scheduler reads the DAG file from a bundle with versions. PYTHONPATH names a third copy of
the engine: this checkout. The real dbt builds on a real Postgres.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.tests.scheduled.aftermath import results, states
from dev.tests.scheduled.bundles import git
from dev.tests.scheduled.installation import CLEAN, clear, triggered, write_project
from include.engine import settings
from scripts.local import airflow, ports, postgres
from scripts.local.api import Api
from scripts.local.environment import airflow_environment, load_secrets
from scripts.local.paths import Paths

OF_THE_ENGINE = """
from include.engine import settings, version
print("The engine:", version.VERSION, settings.ROOT)
"""
EXECUTABLE = {"DBT_EXECUTABLE": str(settings.load().dbt_executable)}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A repository of the template, with a dbt project of two models."""
    folder = tmp_path_factory.mktemp("repository")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(settings.ROOT / "include/engine", folder / "include/engine", ignore=without)
    shutil.copy(settings.ROOT / "include/__init__.py", folder / "include")
    shutil.copy(settings.ROOT / ".airflowignore", folder)
    (folder / "dags").mkdir()
    text = (settings.ROOT / "dags/dbt_dag.py").read_text()
    (folder / "dags/dbt_dag.py").write_text(text + OF_THE_ENGINE)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    return folder


def commit(repository: Path, version: str, models: dict[str, str]) -> str:
    """Commits the engine as this version, these models and their manifest; returns the commit."""
    (repository / "include/engine/version.py").write_text(f'VERSION = "{version}"\n')
    shutil.rmtree(repository / "include/dbt", ignore_errors=True)
    write_project(repository / "include/dbt", "bundled", models)
    subprocess.run(
        [sys.executable, "-m", "include.engine.manifest.build"],
        cwd=repository,
        env={**CLEAN, **EXECUTABLE, "PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        check=True,
    )
    git(repository, "add", "--all", "--force", ".airflowignore", "dags", "include", ".dbt/manifest")
    git(repository, "commit", "--quiet", "--message", version)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def first(repository) -> str:
    """The first commit."""
    models = {"models/one.sql": "select 1 as id", "models/old.sql": "select 1 as id"}
    return commit(repository, "1.0.0", models)


@pytest.fixture(scope="module")
def api(at: Paths, repository: Path, first: str, runs: Path) -> Iterator[Api]:
    """Airflow, whose only bundle is the repository."""
    keys, port = load_secrets(at), ports.free_port(0)
    postgres.start(at, keys, "up")
    bundle = {
        "name": "repository",
        "classpath": "dev.tests.scheduled.bundles.GitFolders",
        "kwargs": {"repository": str(repository), "refresh_interval": 2},
    }
    environment = {
        **airflow_environment(CLEAN, at, keys, port, "up", os.cpu_count() or 2),
        **EXECUTABLE,
        "DBT_RUNS": str(runs),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(at.state / "bundles"),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    }
    airflow.migrate(at, keys, environment)
    api = Api(port)
    since = datetime.datetime.now(datetime.timezone.utc)
    airflow.start(at, api, environment, "up")
    airflow.wait_until_parsed(at, api, since, "up")
    yield api
    airflow.stop(at)
    postgres.stop(at)


@pytest.fixture(scope="module")
def ask(at: Paths, api: Api) -> Callable[[str], list[tuple]]:
    def rows(query: str) -> list[tuple]:
        with postgres.cursor(at, load_secrets(at), "warehouse") as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    return rows


def engines(at: Paths, run_id: str, task_id: str) -> set[str]:
    """What the DAG file has printed in the processes of all tries of this task."""
    folder = at.logs / "dag_id=dbt_dag" / f"run_id={run_id}" / f"task_id={task_id}"
    lines = [json.loads(line)["event"] for log in folder.glob("*.log") for line in log.open()]
    return {line for line in lines if line.startswith("The engine:")}


def test_each_run_has_the_dag_the_engine_and_the_manifest_of_its_commit(
    api, at, repository, first, runs, ask
):
    api.unpause()
    assert triggered(api, "first") == "success"
    assert ask("select id from bundled.one") == [(1,)]

    models = {"models/one.sql": "select 2 as id", "models/new.sql": "select 2 as id"}
    second = commit(repository, "2.0.0", models)
    deadline = time.monotonic() + 120
    while "model.tiny.new" not in {
        task["task_id"] for task in api.call("GET", "/api/v2/dags/dbt_dag/tasks")["tasks"]
    }:
        assert time.monotonic() < deadline, api.import_errors()
        time.sleep(0.5)
    assert triggered(api, "second") == "success"
    assert ask("select id from bundled.one") == [(2,)]

    assert clear(api, "first", "check_dbt") == "success"
    assert ask("select id from bundled.one") == [(1,)]
    versions = {
        run["dag_run_id"]: run["bundle_version"]
        for run in api.call("GET", "/api/v2/dags/dbt_dag/dagRuns")["dag_runs"]
        if run["run_type"] == "manual"
    }
    assert versions == {"first": first, "second": second}
    own = {"first": "model.tiny.old", "second": "model.tiny.new"}
    for run_id, model in own.items():
        built = ("model.tiny.one", model)
        tasks = ("check_dbt", *built, "run_results")
        assert states(api, run_id) == dict.fromkeys(tasks, "success")
        assert results(runs, run_id) == dict.fromkeys(built, "success")
        folder = at.state / "bundles" / "repository" / "versions" / versions[run_id]
        version = {"first": "1.0.0", "second": "2.0.0"}[run_id]
        for task in tasks:
            assert engines(at, run_id, task) == {f"The engine: {version} {folder}"}
