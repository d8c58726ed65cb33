"""What tasks return, kept as files for the last task of the run: as Airflow would give it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from include.engine import settings
from include.engine.run import kept_xcoms

LATER = UUID("01a22273-0002-7000-8000-000000000000")
"""The id of a later try: Airflow's begin with the time."""

ODD = "model.shop." + "日本語" * 60 + "/.."


class Running(NamedTuple):
    """A task of a run, and what Airflow has of all tasks; it counts what Airflow is asked for."""

    task_id: str
    xcoms: dict[str, Any]
    asked: list[str]
    dag_id: str = "dbt_dag"
    run_id: str = "scheduled__2026-01-01T00:00:00+00:00"
    id: UUID = UUID("01a22273-0001-7000-8000-000000000000")

    def xcom_pull(self, task_ids: list[str], map_indexes: int) -> list[Any]:
        self.asked.extend(task_ids)
        return [self.xcoms.get(task_id) for task_id in task_ids]


@pytest.fixture
def config(tmp_path, monkeypatch) -> settings.Settings:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    return settings.load({"DBT_RUNS": str(tmp_path / "runs"), "DBT_RUNS_KEPT": "2"})


def task(task_id: str = "run_results", **others: Any) -> Running:
    return Running(task_id, {"a": {"of": "Airflow"}, ODD: {"of": "Airflow"}}, [], **others)


def test_what_a_task_has_kept_is_not_asked_of_airflow(config):
    kept_xcoms.keep(config, task("a"), {"of": "a"})
    kept_xcoms.keep(config, task(ODD), {"of": "日本語"})
    last = task()
    pulled = kept_xcoms.pull(config, last, ["a", ODD])
    assert (pulled, last.asked) == ({"a": {"of": "a"}, ODD: {"of": "日本語"}}, [])


def test_airflow_is_asked_for_the_others_and_nothing_is_left_out(config):
    kept_xcoms.keep(config, task(ODD), {"of": "file"})
    last = task()
    pulled = kept_xcoms.pull(config, last, ["nothing", "a", ODD])
    assert pulled == {"a": {"of": "Airflow"}, ODD: {"of": "file"}}
    assert last.asked == ["nothing", "a"]


def test_a_task_that_starts_again_has_kept_nothing(config):
    kept_xcoms.keep(config, task("a"), {"of": "the first try"})
    kept_xcoms.forget(config, task("a"))
    kept_xcoms.forget(config, task("a"))
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "Airflow"}}


def test_a_try_that_goes_on_beside_a_later_one_keeps_nothing(config):
    """A frozen worker wakes up: its try ends after the next one has begun, or ended."""
    kept_xcoms.forget(config, task("a", id=LATER))
    kept_xcoms.keep(config, task("a"), {"of": "the first try"})
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "Airflow"}}
    kept_xcoms.keep(config, task("a", id=LATER), {"of": "the second try"})
    kept_xcoms.keep(config, task("a"), {"of": "the first try"})
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "the second try"}}


def test_a_run_with_the_id_of_a_deleted_one_keeps_its_own(config):
    """Its tasks begin with their first try, though the deleted run had several."""
    kept_xcoms.keep(config, task("a"), {"of": "the deleted run"})
    kept_xcoms.forget(config, task("a", id=LATER))
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "Airflow"}}
    kept_xcoms.keep(config, task("a", id=LATER), {"of": "the new run"})
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "the new run"}}


def test_machines_that_share_the_folder_share_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    config = settings.load({"DBT_RUNS": str(tmp_path), "DBT_RUNS_SHARED": "true"})
    kept_xcoms.keep(config, task("a"), {"of": "a"})
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "a"}}


def test_runs_and_dags_are_kept_apart(config):
    kept_xcoms.keep(config, task("a"), {"of": "this run"})
    kept_xcoms.keep(config, task("a", run_id="another"), {"of": "another run"})
    kept_xcoms.keep(config, task("a", dag_id="another"), {"of": "another DAG"})
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "this run"}}


@pytest.mark.parametrize(
    ("executor", "runs"),
    [
        ("CeleryExecutor", "{}"),
        ("LocalExecutor,KubernetesExecutor", "{}"),
        ("LocalExecutor", "memory://runs"),
    ],
)
def test_nothing_is_kept_where_another_machine_may_run_a_task(
    executor, runs, tmp_path, monkeypatch
):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    config = settings.load({"DBT_RUNS": runs.format(tmp_path)})
    kept_xcoms.forget(config, task("a"))
    kept_xcoms.keep(config, task("a"), {"of": "a"})
    kept_xcoms.remove_old(config, "dbt_dag")
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "Airflow"}}
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_and_a_file_that_is_cut_off_cost_only_time(config):
    Path(config.runs_folder).write_text("in the way of the folder")
    kept_xcoms.keep(config, task("a"), {"of": "a"})
    kept_xcoms.forget(config, task("a"))
    kept_xcoms.remove_old(config, "dbt_dag")
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "Airflow"}}
    Path(config.runs_folder).unlink()
    kept_xcoms.keep(config, task("a"), {"of": "a"})
    (file,) = (path for path in Path(config.runs_folder).rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:-3])
    assert kept_xcoms.pull(config, task(), ["a"]) == {"a": {"of": "Airflow"}}


def test_the_files_of_the_runs_that_ended_last_stay(config):
    for run_id in ("first", "second", "third"):
        kept_xcoms.keep(config, task("a", run_id=run_id), {"of": run_id})
    kept_xcoms.keep(config, task("b", run_id="first"), {"of": "first"})
    kept_xcoms.keep(config, task("a", dag_id="another"), {"of": "another DAG"})
    kept_xcoms.remove_old(config, "dbt_dag")
    left = {
        run_id: kept_xcoms.pull(config, task(run_id=run_id), ["a"])["a"]["of"]
        for run_id in ("first", "second", "third")
    }
    assert left == {"first": "first", "second": "Airflow", "third": "third"}
    assert kept_xcoms.pull(config, task(dag_id="another"), ["a"]) == {"a": {"of": "another DAG"}}
    shutil.rmtree(config.runs_folder)
    kept_xcoms.remove_old(config, "dbt_dag")
