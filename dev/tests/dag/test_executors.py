"""Which executor runs a task; and a folder on one machine is no place for results if tasks run on
several: the DAG says so.
"""

from __future__ import annotations

import pytest

from dev.tests.conftest import in_task_process, parsed
from include.engine import settings
from include.engine.run import executors

KUBERNETES = "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor"
NOTICE = (
    "\n**Each machine keeps the results of runs to itself.** CeleryExecutor runs tasks "
    "on several machines, and `DBT_RUNS` is a folder on a local disk. Set `DBT_RUNS` to an "
    "object store, such as `s3://bucket/dbt`. If the folder is a disk that all machines share, "
    "set `DBT_RUNS_SHARED=true`.\n"
)


@pytest.mark.parametrize(
    ("setting", "elsewhere"),
    [
        ("LocalExecutor", []),
        ("LocalExecutor,CeleryExecutor", ["CeleryExecutor"]),
        (f"pods:{KUBERNETES}", ["KubernetesExecutor"]),
        ("LocalExecutor;team_a=astronomer.runtime.AstroExecutor", ["AstroExecutor"]),
    ],
)
def test_executors_that_run_tasks_on_other_machines_are_known_by_name(setting, elsewhere):
    assert executors.run_elsewhere(setting) == elsewhere


@pytest.mark.parametrize(
    ("folder", "shared", "notice"),
    [
        ("/local/runs", "", NOTICE),
        ("file:///local/runs", "", NOTICE),
        ("/shared/runs", "true", ""),
        ("s3://bucket/dbt", "", ""),
    ],
)
def test_a_local_folder_is_named_unless_it_is_shared(folder, shared, notice):
    config = settings.load({"DBT_RUNS": folder, "DBT_RUNS_SHARED": shared})
    assert executors.unshared_results(config, "CeleryExecutor") == notice
    assert executors.unshared_results(config, "LocalExecutor") == ""


def test_the_page_and_a_tag_of_the_dag_say_it(dag, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    told = parsed()
    assert told.doc_md == NOTICE + dag.doc_md
    assert told.tags == dag.tags | {executors.TAG}
    monkeypatch.setenv("DBT_RUNS_SHARED", "true")
    quiet = parsed()
    assert (quiet.doc_md, quiet.tags) == (dag.doc_md, dag.tags)


MODEL = "model.jaffle_shop.orders"


def test_a_model_may_name_the_executor_of_its_run(read):
    bag = read({MODEL: {"run": {"executor": "LocalExecutor"}}})
    assert bag.import_errors == {}
    tasks = {task.task_id: task for task in bag.dags["dbt_dag"].tasks}
    assert [name for name, task in tasks.items() if task.executor] == [MODEL]
    assert tasks[MODEL].executor == "LocalExecutor"


def test_an_executor_that_airflow_does_not_have_is_named_in_airflow(read):
    (error,) = read({MODEL: {"executor": "KubernetesExecutor"}}).import_errors.values()
    assert "'KubernetesExecutor'" in error
    assert MODEL in error


def test_the_process_of_a_task_needs_no_executor(read):
    """In a pod, Airflow has the LocalExecutor alone."""
    with in_task_process(MODEL):
        bag = read({MODEL: {"executor": "KubernetesExecutor"}})
    assert bag.import_errors == {}
    assert [task.task_id for task in bag.dags["dbt_dag"].tasks] == [MODEL]
