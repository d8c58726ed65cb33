"""Two Celery workers leave what the LocalExecutor leaves: `make up EXECUTOR=celery WORKERS=2`.
So does a cold dbt for each task, as in a pod.

The sample, a project with hooks, and generated projects with planted failures run on all three.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dev.tests import sample
from dev.tests.celery.swapping import SEEDS, Installation, Project, generated
from dev.tests.scheduled.installation import (
    TINY,
    finish,
    processes_of,
    start,
    up,
    write_project,
)
from include.engine.settings import ROOT
from scripts.local import celery, processes
from scripts.local.paths import Paths, installation_paths

POD = {"AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}
HOOKED = {
    "dbt_project.yml": f"""{TINY["dbt_project.yml"]}
on-run-start: ["create table if not exists hooked.hooks (hook text)"]
on-run-end: ["insert into hooked.hooks values ('end')"]
""",
    **{f"models/m{number}.sql": f"select {number} as id" for number in range(6)},
}


@pytest.fixture(scope="module")
def projects(tmp_path_factory) -> list[Project]:
    folder = tmp_path_factory.mktemp("projects")
    hooked = write_project(folder / "hooked", "hooked", HOOKED)
    return [
        Project("sample", Path(sample.environment()["DBT_PROJECT_DIR"])),
        Project("hooked", hooked, ["create schema hooked"]),
        *(generated(seed, folder / f"oracle_{seed}") for seed in SEEDS),
    ]


@pytest.fixture(scope="module")
def at(tmp_path_factory) -> Iterator[Paths]:
    state = tmp_path_factory.mktemp("celery") / "a state"
    paths = installation_paths(str(state), str(sample.DAGS))
    yield paths
    finish(start("down", at=paths), timeout=60)


def everything(
    at: Paths, projects: list[Project], where: str, *options: str, **environment: str
) -> Iterator[tuple[str, object]]:
    """By project, what its run leaves under an Airflow that is started with these options."""
    installation = Installation(at)
    installation.put(projects[0])
    api, _ = up(at, installation.environment() | environment, *options)
    for project in projects:
        run_id = f"{project.name}_{where}"
        installation.run(api, project, run_id)
        yield project.name, installation.left(api, run_id)


@pytest.fixture(scope="module")
def by_local_executor(at, projects) -> dict[str, object]:
    left = dict(everything(at, projects, "local"))
    assert finish(start("down", at=at), timeout=60)[0] == 0
    return left


@pytest.fixture(scope="module")
def by_cold_dbt(at, projects, by_local_executor) -> dict[str, object]:
    left = dict(everything(at, projects, "cold", **POD))
    assert list(at.warm.glob("*")) == []
    assert finish(start("down", at=at), timeout=60)[0] == 0
    return left


@pytest.fixture(scope="module")
def by_celery(at, projects, by_cold_dbt) -> dict[str, object]:
    return dict(everything(at, projects, "celery", "--executor", "celery", "--workers", "2"))


def test_a_cold_dbt_for_each_task_leaves_the_same(by_local_executor, by_cold_dbt):
    assert by_cold_dbt == by_local_executor


def test_tables_results_states_and_assets_are_those_of_the_local_executor(
    by_local_executor, by_celery
):
    assert by_celery == by_local_executor


def test_planted_failures_have_failed(by_local_executor):
    failed = {
        name
        for name, left in by_local_executor.items()
        if {"fail", "error"} & set(left["results"].values())
    }
    assert failed == {f"oracle_{seed}" for seed in SEEDS}


def test_hooks_run_once(by_celery):
    assert by_celery["hooked"]["tables"]['"hooked"."hooks"'][0] == 1


def test_each_worker_ran_tasks_and_keeps_a_warm_dbt_of_its_own(at, by_celery):
    names = celery.worker_names(2)
    assert [record.name for record in processes.recorded(at) if record.name in names] == names
    servers = {
        name: [
            process.pid
            for process in psutil.process_iter()
            if any(word.startswith(f"{at.warm / name}/") for word in words(process))
        ]
        for name in names
    }
    assert all(servers.values())
    assert set(servers["worker-1"]).isdisjoint(servers["worker-2"])


def test_a_task_may_last_for_a_day_before_it_is_given_to_another_worker(at):
    common = {**os.environ, "PYTHONPATH": str(ROOT), "AIRFLOW__CORE__PARALLELISM": "8"}
    config = "airflow.providers.celery.executors.default_celery"
    asked = f"from {config} import DEFAULT_CELERY_CONFIG as c; print(c['broker_transport_options'])"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env=celery.environment(common, at, "postgresql+psycopg2://airflow@/airflow", 2),
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["{'visibility_timeout': 86400}"], done.stderr


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_up_says_so_if_other_workers_run_than_were_asked_for(at, by_celery):
    ups = lambda *options: finish(start("up", *options, at=at), timeout=60)  # noqa: E731
    assert ups("--executor", "celery", "--workers", "2")[0] == 0
    for options in ((), ("--executor", "celery", "--workers", "3")):
        code, output = ups(*options)
        assert (code, output.splitlines()[-1]) == (
            1,
            "Airflow is running, with redis and worker-1 and worker-2. End it first: make down",
        )


def test_down_ends_it_all(at, by_celery):
    """The last test of the file."""
    code, output = finish(start("down", at=at), timeout=60)
    assert code == 0
    for name in ("redis", *celery.worker_names(2)):
        assert name in output
    assert processes_of(at) == []
    assert not at.broker_socket.exists()
