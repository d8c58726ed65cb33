"""Tasks for the project's hooks: where they are in the graph, and what they have dbt do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)

from dev.tests.conftest import (
    EMPTY,
    Instance,
    in_task_process,
    parsed,
    record,
    serialized,
    with_arguments,
)
from include.engine import settings
from include.engine.run import docs_catalog, results, summary
from include.engine.run.operator import DbtOperator
from include.engine.run.project_hooks import Hooks

START, END = ("operation.jaffle_shop.jaffle_shop-on-run-start-0", "on-run-end")
ORDERS = "model.jaffle_shop.orders"


@pytest.fixture
def hooked(monkeypatch, tmp_path) -> Path:
    """The sample's manifest, as if its project had a hook of each kind."""
    raw = json.loads(settings.load().manifest.read_bytes())
    for name in ("jaffle_shop-on-run-start-0", "jaffle_shop-on-run-end-0"):
        unique_id = f"operation.jaffle_shop.{name}"
        raw["nodes"][unique_id] = {
            "unique_id": unique_id,
            "resource_type": "operation",
            "name": name,
            "package_name": "jaffle_shop",
            "fqn": ["jaffle_shop", "hooks", name],
            "original_file_path": "./dbt_project.yml",
        }
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    monkeypatch.setenv("DBT_MANIFEST", str(tmp_path / "manifest.json"))
    return tmp_path


def test_a_project_without_hooks_has_no_tasks_for_them(dag):
    assert [task for task in dag.tasks if isinstance(task, Hooks)] == []
    assert {task.hooks for task in dag.tasks if isinstance(task, DbtOperator)} == {None}


def test_hooks_are_tasks_before_and_after_all_others_which_leave_them_out(hooked, dag):
    found = parsed()
    start, end = found.get_task("on_run_start"), found.get_task("on_run_end")
    roots = dag.get_task("check_dbt").downstream_task_ids
    leaves = dag.get_task(summary.TASK_ID).upstream_task_ids
    assert (start.upstream_task_ids, start.downstream_task_ids) == (set(), roots)
    assert (end.upstream_task_ids, end.downstream_task_ids) == (leaves, {summary.TASK_ID})
    assert (start.trigger_rule, end.trigger_rule) == ("none_failed", "all_done")
    assert start.bash_command == "DBT_HOOKS=on-run-start dbt build < /dev/null"
    assert "check_dbt" not in found.task_ids
    others = [task for task in found.tasks if type(task) is DbtOperator]
    assert {task.hooks for task in others} == {()}
    assert "1 on-run-end tasks, 1 on-run-start tasks" in found.doc_md


def test_with_a_cold_dbt_hooks_run_with_each_command_and_the_dag_is_as_without(
    hooked, dag, monkeypatch
):
    monkeypatch.setenv("DBT_WARM", "false")
    assert serialized(parsed()) == serialized(dag)


def test_hooks_take_a_slot_of_the_pool_and_their_process_has_them_alone(hooked, monkeypatch):
    with_arguments(monkeypatch, default_args={"pool": "dbt"})
    with in_task_process("on_run_end"):
        (task,) = parsed().tasks
    assert (task.task_id, task.pool) == ("on_run_end", "dbt")
    with in_task_process(ORDERS):
        (task,) = parsed().tasks
    assert task.hooks == ()


def test_the_catalog_is_asked_for_before_the_last_hooks(hooked, dag, monkeypatch):
    monkeypatch.setenv("DBT_DOCS_CATALOG", str(hooked / "catalog.json"))
    found = parsed()
    leaves = dag.get_task(summary.TASK_ID).upstream_task_ids
    assert found.get_task(docs_catalog.TASK_ID).upstream_task_ids == leaves
    assert found.get_task("on_run_end").upstream_task_ids == {*leaves, docs_catalog.TASK_ID}
    assert found.get_task(summary.TASK_ID).upstream_task_ids == {"on_run_end"}


@pytest.fixture
def execute(hooked, dbt, monkeypatch):
    """Executes a hooks task as Airflow would; returns what dbt has been told."""
    # Otherwise its launcher would come first; what it is told here is what that would be told.
    monkeypatch.setattr("include.engine.run.environment.WARM", dbt / "bin")

    def once(kind: str, states: dict[str, str] | None = None, xcoms=(), **entered) -> dict:
        task = Hooks(task_id=kind.replace("-", "_"), kind=kind, connection="warehouse")
        ti = Instance(task.task_id, states=states or {}, results=dict(xcoms))
        task.execute({"params": EMPTY | entered, "ti": ti})
        return json.loads((hooked / "told").read_text())

    return once


BUILT = results.missing_result(ORDERS, "success", "SELECT 9")
HOOK = results.missing_result(START, "success")


def test_start_hooks_are_about_all_that_one_dbt_build_of_the_dag_would_run(execute, dag, hooked):
    """Not the sources, of which it checks no freshness; with what the run was triggered with."""
    commands = [task for task in dag.tasks if hasattr(task, "nodes")]
    every = sorted({node for task in commands for node in task.nodes})
    told = execute("on-run-start", vars={"a": 1}, target="prod", full_refresh=True)
    assert told == {"nodes": every, "results": []}
    assert (hooked / "ran").read_text().replace("\0", " ") == (
        'on-run-start build --vars={"a": 1} --target=prod --full-refresh '
    )


def test_hooks_of_a_selection_are_about_what_it_selects(execute, hooked):
    (hooked / "listed").write_text(
        f'{{"unique_id": "{ORDERS}"}}\n{{"unique_id": "model.of.another_dag"}}\n'
    )
    assert execute("on-run-start", select="orders+")["nodes"] == [ORDERS]
    (hooked / "listed").write_text('{"unique_id": "model.of.another_dag"}\n')
    with pytest.raises(AirflowFailException, match="dbt_dag runs nothing of this selection"):
        execute("on-run-start", select="another_dag")


def test_end_hooks_wait_for_what_is_still_at_work(execute, hooked):
    with pytest.raises(AirflowRescheduleException):
        execute(END, {"on_run_start": "success", ORDERS: "running"})
    assert not (hooked / "ran").exists()


def test_end_hooks_are_told_of_all_results_but_those_of_hooks(execute):
    """Also of what was held back, and of a task that was lost."""
    found = execute(
        END,
        {
            "on_run_start": "success",
            "seed.jaffle_shop.raw_orders": "failed",
            "model.jaffle_shop.customers.v1": "upstream_failed",
            ORDERS: "success",
        },
        {"on_run_start": record(HOOK), ORDERS: record(BUILT)},
    )["results"]
    assert {result["unique_id"]: result["status"] for result in found} == {
        ORDERS: "success",
        "seed.jaffle_shop.raw_orders": "error",
        "model.jaffle_shop.customers.v1": "skipped",
    }
    assert found[0] == BUILT


def test_after_start_hooks_have_failed_end_hooks_are_told_of_nothing(execute):
    states = {"on_run_start": "failed", ORDERS: "upstream_failed"}
    failed = record(HOOK | {"status": "error"})
    assert execute(END, states, {"on_run_start": failed})["results"] == []


def test_where_dbt_did_not_come_to_start_hooks_end_hooks_do_not_run(execute, hooked):
    with pytest.raises(AirflowSkipException):
        execute(END, {"on_run_start": "failed", ORDERS: "upstream_failed"})
    assert not (hooked / "ran").exists()


@pytest.mark.parametrize(
    ("found", "kind"),
    [([HOOK | {"status": "error"}], AirflowFailException), (None, AirflowException)],
)
def test_a_hook_that_failed_is_not_tried_again_but_a_dbt_that_did_not_come_to_it(
    execute, hooked, found, kind
):
    (hooked / "code").write_text("1")
    if found:
        (hooked / "run_results.json").write_text(json.dumps({"metadata": {}, "results": found}))
    with pytest.raises(AirflowException) as error:
        execute("on-run-start")
    assert type(error.value) is kind
    assert str(error.value).splitlines()[-1].startswith("Run it again: clear on_run_start in ")
