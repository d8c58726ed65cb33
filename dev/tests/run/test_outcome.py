"""What a task leaves behind: its result, its warnings, the lines that it fails with, and alerts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRuntimeError,
    ErrorType,
)
from airflow.sdk.execution_time.comms import ErrorResponse

from dev.tests.conftest import EMPTY, Instance, record
from include.engine import settings
from include.engine.plan.records import Dag
from include.engine.run import alerts, environment, results, summary
from include.engine.run.operator import DbtOperator

NOT_NULL = "test.jaffle_shop.not_null_orders_order_id.cf6c17daed"


def leaves(folder: Path, *found: dict) -> None:
    failed = any(result["status"] in results.FAILED for result in found)
    (folder / "code").write_text("1" if failed else "0")
    (folder / "run_results.json").write_text(json.dumps({"metadata": {}, "results": found}))


def execute(ti: Instance) -> object:
    task = DbtOperator(
        task_id=ti.task_id,
        argv=("run", "--select", "orders"),
        node="model.jaffle_shop.orders",
        nodes=["model.jaffle_shop.orders"],
        connection="warehouse",
    )
    return task.execute({"params": EMPTY, "ti": ti})


def test_dbt_has_the_connection_and_the_paths_of_this_machine_in_its_environment(dbt, monkeypatch):
    connection = {
        "conn_type": "postgres",
        "host": "h",
        "port": 5433,
        "login": "u",
        "schema": "d",
        "password": "hunter2-'$secret",
        "extra": {"sslmode": "require"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(connection))
    monkeypatch.setenv("DBT_WARM", "false")
    program = dbt / "bin" / "dbt"
    program.write_text('#!/bin/sh\nenv > "$HERE/environment"\n')
    before = dict(os.environ)
    execute(Instance())
    given = dict(line.split("=", 1) for line in (dbt / "environment").read_text().splitlines())
    assert {name: value for name, value in given.items() if "WAREHOUSE_" in name} == {
        "WAREHOUSE_HOST": "h",
        "WAREHOUSE_PORT": "5433",
        "WAREHOUSE_USER": "u",
        "WAREHOUSE_DATABASE": "d",
        "WAREHOUSE_EXTRA": '{"sslmode": "require"}',
        "WAREHOUSE_SSLMODE": "require",
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": "hunter2-'$secret",
    }
    assert given["PATH"] == os.pathsep.join(
        (str(environment.WARM), str(program.parent), before["PATH"])
    )
    assert dict(os.environ) == before


def test_a_missing_connection_is_named_with_what_defines_it_and_not_tried_again(dbt, monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_WAREHOUSE")
    with pytest.raises(AirflowFailException) as error:
        execute(Instance())
    assert str(error.value) == (
        "No Airflow connection 'warehouse'. Define it with the environment variable "
        "AIRFLOW_CONN_WAREHOUSE (see .env.example) or with: "
        "airflow connections add warehouse --conn-type postgres --conn-host …"
    )
    assert not (dbt / "ran").exists()


def test_a_tasks_result_is_what_dbt_said_of_its_nodes(dbt):
    built = results.missing_result("model.jaffle_shop.orders", "success", "SELECT 99")
    leaves(dbt, built | {"execution_time": 1.5})
    assert execute(ti := Instance()) == {
        "status": "success",
        "execution_time": 1.5,
        "artifact": "run_results",
        "metadata": {},
        "results": [
            {k: v for k, v in built.items() if k != "compiled_code"} | {"execution_time": 1.5}
        ],
    }
    assert ti.xcoms == {}


def test_warnings_are_an_xcom_of_their_own(dbt):
    leaves(
        dbt,
        results.missing_result("model.jaffle_shop.orders", "success"),
        results.missing_result("test.a", "warn", "Got 3 results"),
        results.missing_result("test.b", "pass"),
    )
    assert execute(ti := Instance())["status"] == "warn"
    assert ti.xcoms == {"warnings": "test.a: Got 3 results"}


def test_a_failed_task_ends_with_what_where_and_what_next(dbt):
    leaves(
        dbt,
        results.missing_result(NOT_NULL, "fail", "Got 3 results, configured to fail if != 0")
        | {"compiled_code": "select 1"},
    )
    with pytest.raises(AirflowFailException) as error:
        execute(ti := Instance())
    lines = str(error.value).splitlines()
    assert lines[:2] == [f"{NOT_NULL}: fail", "  Got 3 results, configured to fail if != 0"]
    assert lines[-4:] == [
        "  The query:",
        "    select 1",
        "Held back by it: test.jaffle_shop.orders, model.jaffle_shop.customers.v1, "
        "model.jaffle_shop.customers.v2, model.jaffle_shop.daily_revenue, "
        "test.jaffle_shop.customers.v1 and 5 more",
        "Run it again: python -m include.engine.run.dbt run --select orders",
    ]
    assert ti.xcoms["return_value"]["status"] == "fail"


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        ([("pass", None), ("fail", None)], AirflowFailException),
        ([("fail", None), ("error", "server closed the connection")], AirflowException),
        ([("error", None)], AirflowException),
        ([("fail", None), ("error", "division by zero")], AirflowFailException),
    ],
)
def test_only_what_may_end_otherwise_is_tried_again(dbt, ended, kind):
    """A lost connection is an error of the test, not a failure of its data, and may heal."""
    leaves(dbt, *(results.missing_result(f"test.{n}", *end) for n, end in enumerate(ended)))
    with pytest.raises(AirflowException) as error:
        execute(Instance())
    assert type(error.value) is kind


def test_without_results_a_task_fails_with_dbts_error(dbt):
    (dbt / "code").write_text("2")
    (dbt / "dbt.log").write_text(
        "18:21:29.6 [error] [MainThread]: Encountered an error:\nNo profile\n"
    )
    with pytest.raises(AirflowException) as error:
        execute(ti := Instance())
    assert str(error.value).splitlines()[:2] == [
        "Bash command failed. The command returned a non-zero exit code 2.",
        "  No profile",
    ]
    assert ti.xcoms == {}


@pytest.mark.parametrize(
    ("last_line", "kind"),
    [
        ("Error: No such option: --nope", AirflowFailException),
        ("The warm dbt was lost.", AirflowException),
    ],
)
def test_without_a_log_a_task_fails_with_the_last_line_of_dbt(dbt, last_line, kind):
    program = dbt / "bin" / "dbt"
    program.write_text(f"#!/bin/sh\necho Usage: dbt\necho '{last_line}'\nexit 2\n")
    with pytest.raises(AirflowException) as error:
        execute(Instance())
    assert (type(error.value), str(error.value).splitlines()[:2]) == (
        kind,
        [
            "Bash command failed. The command returned a non-zero exit code 2.",
            f"  {last_line}",
        ],
    )


def test_a_failure_is_told_though_the_manifest_is_gone(dbt, monkeypatch):
    monkeypatch.setenv("DBT_MANIFEST", str(dbt / "none"))
    leaves(dbt, results.missing_result("model.jaffle_shop.orders", "error", "no"))
    with pytest.raises(AirflowException) as error:
        execute(Instance())
    assert str(error.value).splitlines() == [
        "model.jaffle_shop.orders: error",
        "  no",
        "Run it again: python -m include.engine.run.dbt run --select orders",
    ]


def test_a_password_in_a_message_is_in_no_result_and_no_failure(dbt):
    leaves(dbt, results.missing_result("model.a", "error", "no: hunter2-secret"))
    with pytest.raises(AirflowException) as error:
        execute(ti := Instance())
    assert str(error.value).splitlines()[1] == "  no: ***"
    assert ti.xcoms["return_value"]["results"][0]["message"] == "no: ***"


def test_a_notifier_is_called_for_warnings_where_there_are_any():
    contexts = []
    callback = alerts.on_warning(contexts.append)
    callback({"ti": (ti := Instance())})
    assert contexts == []
    ti.xcom_push("warnings", "test.a: Got 3 results")
    callback({"ti": ti})
    assert contexts == [{"ti": ti, "exception": "test.a: Got 3 results"}]


def test_the_last_task_comes_after_the_leaves_whatever_became_of_them(dag):
    last = dag.get_task(summary.TASK_ID)
    assert (last.trigger_rule, last.mode, last.is_teardown) == ("all_done", "reschedule", False)
    assert last.downstream_task_ids == set()
    leaves = {t.task_id for t in dag.tasks if t.downstream_task_ids == {summary.TASK_ID}}
    assert last.upstream_task_ids == leaves


@pytest.fixture
def poke(monkeypatch, tmp_path):
    """Pokes the last task of a run; the results are kept in `tmp_path`."""
    monkeypatch.setenv("DBT_RUNS", str(tmp_path))
    monkeypatch.setenv("DBT_RUNS_KEPT", "2")

    def once(states: dict[str, str], run_id: str = "../r 1", **xcoms):
        found = {name.replace("__", "."): result for name, result in xcoms.items()}
        ti = Instance("run_results", run_id, states, found)
        with DAG("dbt_dag"):
            last = summary.RunResults()
        return last.poke({"ti": ti, "params": EMPTY}), ti

    return once


def test_the_last_task_waits_for_a_branch_that_is_still_at_work(poke, tmp_path):
    assert poke({"a": "upstream_failed", "b": "running", "c": None})[0] is False
    assert list(tmp_path.iterdir()) == []


def test_results_are_kept_by_run_and_as_the_latest_with_the_manifest_beside_them(poke, tmp_path):
    done, _ = poke(
        {"seed.jaffle_shop.raw_orders": "success", "model.jaffle_shop.orders": "skipped"},
        seed__jaffle_shop__raw_orders=record(
            results.missing_result("seed.jaffle_shop.raw_orders", "success")
        ),
    )
    place = tmp_path / "dag_id=dbt_dag" / "run_id=..%2Fr%201"
    assert done.xcom_value == {
        "status": "success",
        "nodes": {"success": 1},
        "failed": {},
        "warnings": {},
        "folder": str(place),
        "paused": {},
    }
    manifest = json.loads(settings.load().manifest.read_text())
    for folder in (place, tmp_path / "dag_id=dbt_dag" / "latest"):
        assert {file.name for file in folder.iterdir()} == {"manifest.json", "run_results.json"}
        assert json.loads((folder / "manifest.json").read_text()) == manifest
        assert len(json.loads((folder / "run_results.json").read_text())["results"]) == 1


def test_a_lost_task_is_an_error_and_what_was_held_back_is_skipped(poke, tmp_path):
    states = {
        "seed.jaffle_shop.raw_orders": "failed",
        "model.jaffle_shop.orders": "upstream_failed",
    }
    with pytest.raises(AirflowFailException) as error:
        poke(states)
    assert str(error.value).splitlines()[0] == "1 of 2 tasks failed: seed.jaffle_shop.raw_orders"
    (file,) = tmp_path.glob("*/latest/run_results.json")
    found = json.loads(file.read_text())["results"]
    assert {result["unique_id"]: result["status"] for result in found} == {
        "seed.jaffle_shop.raw_orders": "error",
        "model.jaffle_shop.orders": "skipped",
    }


def test_what_a_person_marks_as_success_is_no_error(poke, tmp_path):
    failed = results.missing_result(NOT_NULL, "fail", "Got 3 results")
    poke(
        {"model.jaffle_shop.orders": "success", "test.jaffle_shop.orders": "success"},
        model__jaffle_shop__orders=record(
            results.missing_result("model.jaffle_shop.orders", "error", "no")
        ),
        test__jaffle_shop__orders=record(failed, results.missing_result("test.other", "warn")),
    )
    (file,) = tmp_path.glob("*/latest/run_results.json")
    ended = json.loads(file.read_text())["results"]
    assert [(r["unique_id"], r["status"], r["message"]) for r in ended] == [
        ("model.jaffle_shop.orders", "success", "Marked as success in Airflow."),
        (NOT_NULL, "pass", "Marked as success in Airflow."),
        ("test.other", "warn", None),
    ]


def test_other_dags_that_are_paused_are_named(monkeypatch):
    """Not the DAG of the run itself, and not one that Airflow has not read."""
    two = [Dag(name, None, (), (), (None,) * size) for name, size in (("dbt_dag", 3), ("b", 2))]
    monkeypatch.setattr(summary.cache, "load_plan", lambda *_: (*two, two[1]._replace(id="c")))
    paused = SimpleNamespace(is_paused=True)

    def get_dag(dag_id: str) -> SimpleNamespace:
        if dag_id == "c":
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))
        return paused

    ti = SimpleNamespace(dag_id="dbt_dag", get_dag=get_dag)
    assert summary.paused_dags(ti, settings.load()) == {"b": 2}


def test_the_last_runs_are_kept_and_older_ones_are_not(poke, tmp_path):
    for name in ("b", "c", "a"):
        poke({"seed.jaffle_shop.raw_orders": "success"}, run_id=name)
    names = {folder.name for folder in (tmp_path / "dag_id=dbt_dag").iterdir()}
    assert names == {"latest", "run_id=c", "run_id=a"}
