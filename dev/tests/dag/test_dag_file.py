"""What people change in the DAG file, each in a line: docs/dag-file.md."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from dev.tests import sample
from dev.tests.conftest import in_task_process, serialized

OWN_IMPORT = "from airflow.providers.standard.operators.bash import BashOperator\n"
BEFORE = 'BashOperator(task_id="extract", bash_command="true", dag=dag) >> tasks.first'
AFTER = 'tasks.last >> BashOperator(task_id="report", bash_command="true", dag=dag)'
ORDERS = "model.jaffle_shop.orders"


def edited(folder: Path, *lines: str, **replaced: str) -> Path:
    """The DAG file with these lines at the end of its loop, and with texts replaced."""
    text = (sample.DAGS / "dbt_dag.py").read_text()
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    file = folder / "edited_dag.py"
    file.write_text(OWN_IMPORT + text + "".join(f"    {line}\n" for line in lines))
    return file


def read(file: Path) -> DAG:
    bag = DagBag(str(file))
    assert bag.import_errors == {}
    return bag.dags["dbt_dag"]


def test_a_task_of_ones_own_comes_before_or_after_all_of_dbts(tmp_path, dag):
    own = read(edited(tmp_path, BEFORE, AFTER))
    first = {task.task_id for task in dag.tasks if not task.upstream_task_ids}
    assert own.get_task("extract").downstream_task_ids == first
    assert own.get_task("report").upstream_task_ids == {"run_results"}
    assert set(own.task_ids) == {*dag.task_ids, "extract", "report"}


@pytest.mark.parametrize(
    ("task_id", "made"),
    [
        (ORDERS, {ORDERS, "extract", "report"}),
        ("extract", {"extract", "report"}),
        ("run_results", {"run_results", "extract", "report"}),
    ],
)
def test_the_process_of_a_task_makes_that_one_and_ones_own(tmp_path, task_id, made):
    file = edited(tmp_path, BEFORE, AFTER)
    with in_task_process(task_id):
        assert set(read(file).task_ids) == made


def test_run_results_does_not_wait_for_what_comes_after_it(tmp_path):
    file = edited(tmp_path, BEFORE, AFTER)
    with in_task_process("run_results"):
        last = read(file).get_task("run_results")
    assert last.get_flat_relative_ids(upstream=False) == {"report"}


def test_another_default_argument_is_that_of_every_task_of_dbt(tmp_path):
    own = read(edited(tmp_path, **{'"owner": "dbt",': '"execution_timeout": timedelta(hours=1),'}))
    assert {task.execution_timeout for task in own.tasks} == {timedelta(hours=1)}


def test_tasks_that_are_added_inside_a_with_block_are_the_same(tmp_path, dag):
    inside = edited(tmp_path, **{"    tasks = dbt": "    with dag:\n        tasks = dbt"})
    assert serialized(read(inside)) == serialized(dag)


def test_callbacks_are_those_of_every_task_but_the_last(tmp_path, capsys):
    """Any of Airflow's notifiers is such a callback. The last task tells of none but others."""
    own = read(edited(tmp_path, **{'"owner": "dbt",': '"on_failure_callback": print,'}))
    without = {task.task_id for task in own.tasks if not task.on_failure_callback}
    assert without == {"run_results"}
