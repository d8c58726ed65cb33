"""DAG integrity: what `astro dev pytest` runs. Needs the manifest, but no database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException

from dev.tests import sample
from dev.tests.conftest import GRAPH, in_task_process, parsed, serialized, with_arguments
from include.engine import settings
from include.engine.manifest import staleness
from include.engine.run import summary
from include.engine.run.environment import require_dbt
from include.engine.run.operator import DbtOperator
from include.engine.version import VERSION


def test_the_dag_folder_has_no_import_errors(dagbag):
    assert dagbag.import_errors == {}
    assert list(dagbag.dags) == ["dbt_dag"]


def test_the_dag_runs_daily_without_catchup_and_one_run_at_a_time(dag):
    daily = CronTriggerTimetable("@daily", timezone="UTC")
    assert (dag.timetable, dag.catchup, dag.max_active_runs) == (daily, False, 1)
    assert dag.tags == {"dbt"}
    assert "Every dbt model as a task of its own" in dag.doc_md
    assert dag.doc_md.splitlines()[-1] == f"**Version** of the engine: {VERSION}."


def test_every_task_is_retried_twice_with_exponential_backoff(dag):
    assert dag.default_args["retries"] == 2
    policy = {
        (t.retries, t.retry_delay, t.retry_exponential_backoff, t.max_retry_delay)
        for t in dag.tasks
    }
    assert policy == {(2, timedelta(seconds=60), 2, timedelta(hours=1))}


def test_no_model_is_built_by_two_runs_at_a_time(dag):
    assert {task.max_active_tis_per_dag for task in dag.tasks} == {1}


def test_tasks_and_edges_are_exactly_those_of_the_sample_project(dag):
    """sample_graph.txt has a line for each task: its id and what it waits for."""
    lines = [f"{task.task_id} <- {', '.join(sorted(task.upstream_task_ids))}" for task in dag.tasks]
    assert sorted(line.rstrip() for line in lines) == GRAPH.read_text().splitlines()
    downstream = {(t.task_id, d) for t in dag.tasks for d in t.downstream_task_ids}
    assert downstream == {(u, t.task_id) for t in dag.tasks for u in t.upstream_task_ids}


def test_the_graph_has_no_cycle(dag):
    dag.check_cycle()


def test_every_command_is_plain_dbt_that_selects_something(dag):
    verbs = {tuple(task.bash_command.split()[:2]) for task in commands(dag)}
    assert verbs == {("dbt", "run"), ("dbt", "seed"), ("dbt", "snapshot"), ("dbt", "test")}
    assert all(" --select " in task.bash_command for task in commands(dag))


def commands(dag) -> list[DbtOperator]:
    """The tasks that run nodes of dbt."""
    return [task for task in dag.tasks if isinstance(task, DbtOperator) and task.nodes]


def test_what_is_no_command_publishes_after_all_before_it_succeeded(dag):
    others = [task for task in dag.tasks if not isinstance(task, DbtOperator)]
    found = [t for t in others if t.task_id not in ("check_dbt", summary.TASK_ID)]
    assert {(type(task), task.trigger_rule) for task in found} == {(EmptyOperator, "all_success")}
    assert all(task.outlets for task in found)


def test_every_model_is_published_by_one_task(dag):
    published = Counter(outlet.name for task in dag.tasks for outlet in task.outlets)
    built = {task.node: 1 for task in commands(dag) if task.verb != "test"}
    assert published == {**built, "exposure.jaffle_shop.revenue_dashboard": 1}


def test_task_groups_follow_the_folders_of_the_dbt_project(dag):
    groups = {group_id for group_id in dag.task_group.get_task_group_dict() if group_id}
    assert groups == {
        "exposures",
        "exposures__marts",
        "intermediate",
        "marts",
        "seeds",
        "snapshots",
        "staging",
        "staging__jaffle_shop",
        "staging__stripe",
        "tests",
        "tests__staging",
        "tests__staging__jaffle_shop",
        "tests__staging__stripe",
    }


def test_nothing_of_the_connection_is_in_the_dag_and_airflow_renders_nothing(dag):
    """The database keeps a task's rendered fields; the warehouse comes when the task runs."""
    assert {(task.template_fields, task.env) for task in commands(dag)} == {((), None)}


SERIALIZE = """
from dev.tests.conftest import parsed, serialized
open("serialized.json", "w").write(serialized(parsed()))
"""


def test_the_serialized_dag_is_the_same_in_another_checkout_with_another_hash_seed(dag, tmp_path):
    """Otherwise each parse would make a new version of the DAG in Airflow's database."""
    checkout = tmp_path / "an other checkout"
    for folder in ("dags", "dev"):
        # The Astro CLI copies the caches of the host's Python too, which may be closed to us.
        shutil.copytree(
            settings.ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copytree(
        settings.ROOT / "include",
        checkout / "include",
        ignore=shutil.ignore_patterns("dbt", "__pycache__"),
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(checkout),
        "DBT_MANIFEST": str(settings.load().manifest),
        "DBT_PROJECT_DIR": str(settings.load().project_dir),
        "DBT_PROFILES_DIR": str(settings.load().profiles_dir),
        "AIRFLOW_CONN_WAREHOUSE": "postgres://someone:hunter2@somewhere/else",
    }
    subprocess.run([sys.executable, "-c", SERIALIZE], cwd=checkout, env=environment, check=True)
    other = (checkout / "serialized.json").read_text()
    assert other == serialized(dag)
    assert "hunter2" not in other
    assert str(settings.ROOT) not in other


def test_a_task_process_builds_only_its_own_task():
    """Every task process reads the DAG file again; Airflow says which task it is for."""
    with in_task_process("model.jaffle_shop.orders"):
        assert parsed().task_ids == ["model.jaffle_shop.orders"]


IMPORTED = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
assert bag.import_errors == {}, bag.import_errors
print(*(name for name in sys.modules if name.startswith("include.")))
"""


def test_a_models_process_imports_nothing_of_what_makes_a_plan_or_tells_of_a_run(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("DBT_MANIFEST", shutil.copy(settings.load().manifest, tmp_path))
    parsed()  # keeps the plan
    with in_task_process("model.jaffle_shop.orders"):
        argv = [sys.executable, "-c", IMPORTED, str(sample.DAGS / "dbt_dag.py")]
        done = subprocess.run(
            argv, cwd=settings.ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
    names = done.stdout.splitlines()[-1].split()
    assert {name.removeprefix("include.engine.") for name in names} == {
        *("include.engine", "dag", "manifest", "plan", "run", "settings"),
        *("dag.build", "dag.operators", "dag.pods", "dag.timetables"),
        *("manifest.find", "plan.cache"),
        *("plan.duration", "plan.names", "plan.records"),
        *(
            "run.environment",
            "run.executors",
            "run.kept_xcoms",
            "run.masking",
            "run.one_run",
            "run.operator",
            "run.params",
        ),
        *("run.process", "run.results", "run.shared_manifests", "run.try_folder"),
        *("inside", "inside.store", "warm", "warm.client", "warm.protocol"),
        *("warehouse", "warehouse.adapters", "warehouse.connection", "warehouse.installed"),
        *("warehouse.profile", "warehouse.project", "warehouse.variables"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No manifest at {path}. Build it with: make manifest"),
        ('{"metadata": ', "The manifest at {path} is not JSON"),
        ('{"nodes": {}}', "{path} is not a dbt manifest"),
        (
            json.dumps({"metadata": {"dbt_schema_version": "manifest/v99.json"}}),
            "{path} is a manifest of version v99; this project reads v12",
        ),
    ],
    ids=["missing", "truncated", "another file", "unknown version"],
)
def test_a_bad_manifest_is_an_import_error_that_says_what_to_do(
    errors_with, tmp_path, text, message
):
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    (error,) = errors_with(DBT_MANIFEST=path)
    assert message.format(path=path) in error
    assert "make manifest" in error


def test_a_setting_that_cannot_be_is_an_import_error_that_names_it(errors_with):
    (error,) = errors_with(DBT_GATE_TESTS="maybe")
    assert "DBT_GATE_TESTS is 'maybe'; it takes true or false" in error


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """The DAG's file reads a copy of the dbt project, which a test may change."""
    project = tmp_path / "project"
    shutil.copytree(settings.load().project_dir, project)
    shutil.copy(settings.load().manifest, tmp_path / "manifest.json")
    staleness.write_list(tmp_path / "manifest.json", staleness.project_files(project))
    monkeypatch.setenv("DBT_PROJECT_DIR", str(project))
    monkeypatch.setenv("DBT_MANIFEST", str(tmp_path / "manifest.json"))
    return project


def test_a_dbt_project_that_is_not_the_manifests_is_told_in_the_page_and_the_tags(copied, dag):
    fresh = parsed()
    assert (fresh.tags, fresh.doc_md) == ({"dbt"}, dag.doc_md)
    (copied / "models" / "added.sql").write_text("select 1 as id")
    stale = parsed()
    assert stale.tags == {"dbt", "stale manifest"}
    assert stale.doc_md == staleness.notice(["models/added.sql"]) + dag.doc_md
    assert serialized(stale) == serialized(parsed())


def test_a_task_process_does_not_look_at_the_dbt_project(copied, monkeypatch):
    monkeypatch.setattr(staleness, "files", None)
    with in_task_process("model.jaffle_shop.orders"):
        assert parsed().task_ids == ["model.jaffle_shop.orders"]


def test_a_missing_dbt_is_named_with_the_command_that_installs_it():
    with pytest.raises(
        AirflowFailException, match=r"No dbt at /nowhere/dbt\. Install it with: make"
    ):
        require_dbt(Path("/nowhere/dbt"))


def test_what_dbts_yaml_says_of_a_model_is_what_its_operators_have(errors_with, tmp_path):
    raw = json.loads(settings.load().manifest.read_bytes())
    config = raw["nodes"]["model.jaffle_shop.orders"]["config"]
    config["meta"] = {
        "airflow": {"pool": "heavy", "pool_slots": 2, "test": {"execution_timeout": "PT10M"}}
    }
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    assert errors_with(DBT_MANIFEST=tmp_path / "manifest.json") == []
    tasks = parsed().task_dict
    found = {
        name: (tasks[name].pool, tasks[name].pool_slots, tasks[name].execution_timeout)
        for name in ("model.jaffle_shop.orders", "test.jaffle_shop.orders")
    }
    assert found == {
        "model.jaffle_shop.orders": ("heavy", 2, None),
        "test.jaffle_shop.orders": ("heavy", 2, timedelta(minutes=10)),
    }
    config["meta"]["airflow"] = {"retry": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    (error,) = errors_with()
    assert "model.jaffle_shop.orders (models/marts/orders.sql): meta.airflow has no key" in error


def test_what_runs_no_dbt_takes_no_slot_of_the_pool(errors_with, monkeypatch, tmp_path):
    raw = json.loads(settings.load().manifest.read_bytes())
    exposure = raw["exposures"]["exposure.jaffle_shop.revenue_dashboard"]
    exposure["config"]["meta"] = {"airflow": {"pool": "heavy", "priority_weight": 3}}
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    with_arguments(monkeypatch, default_args={"pool": "dbt"})
    assert errors_with(DBT_MANIFEST=tmp_path / "manifest.json") == []
    tasks = parsed().tasks
    others = {t.task_id: t.pool for t in tasks if t.pool != "dbt"}
    assert others == {t.task_id: "default_pool" for t in tasks if not isinstance(t, DbtOperator)}
    (published,) = (t for t in tasks if t.task_id == exposure["unique_id"])
    assert published.priority_weight == 3
