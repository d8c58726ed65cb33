"""All commands of a DAG run have one `run_started_at` and one `invocation_id`."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest

from dev.tests.conftest import EMPTY, Instance
from dev.tests.run.test_outcome import NOT_NULL, leaves
from include.engine.run import one_run, results, summary
from include.engine.run.operator import DbtOperator

FIRST, LATER = "2026-01-01T06:00:00+00:00", "2026-01-01T09:00:00+00:00"
VARIABLES = {
    "DBT_RUN_STARTED_AT": FIRST,
    "DBT_RUN_INVOCATION_ID": "c5680412-eedd-57a9-b908-3a55eb89e74d",
}


def dag_run(start: str = FIRST, clear_number: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        start_date=datetime.fromisoformat(start), clear_number=clear_number, conf={}
    )


def test_the_commands_of_a_task_have_the_start_and_the_id_of_its_dag_run():
    context = {"ti": Instance(), "dag_run": dag_run()}
    assert one_run.environment(context) == VARIABLES
    other = Instance(run_id="another run")
    assert one_run.environment(context | {"ti": other}) == {
        "DBT_RUN_STARTED_AT": FIRST,
        "DBT_RUN_INVOCATION_ID": results.invocation_id("dbt_dag", "another run"),
    }
    assert one_run.environment({"ti": Instance()}) == {}


@pytest.mark.parametrize(
    ("last", "expected"), [({one_run.STARTED_AT: FIRST}, FIRST), ({}, LATER), (None, LATER)]
)
def test_a_run_that_was_cleared_keeps_its_first_start_which_its_last_task_has_kept(last, expected):
    ti = Instance(results={summary.TASK_ID: last})
    assert one_run.started_at(ti, dag_run(LATER, clear_number=1)) == expected
    assert one_run.started_at(ti, dag_run(LATER)) == LATER


def test_the_last_task_keeps_the_earliest_start_of_the_tasks():
    kept = [{one_run.STARTED_AT: LATER}, {one_run.STARTED_AT: FIRST}, {"status": "success"}]
    assert one_run.first_start(kept) == {one_run.STARTED_AT: FIRST}
    assert one_run.first_start([{}]) == {}


@pytest.mark.parametrize("status", ["success", "error"])
def test_a_task_keeps_the_start_beside_its_results(dbt, monkeypatch, status):
    """If it fails, too: the next try, or the run when it is cleared, finds it."""
    (dbt / "bin" / "dbt").write_text(
        (dbt / "bin" / "dbt").read_text().replace("#!/bin/sh\n", '#!/bin/sh\nenv > "$HERE/env"\n')
    )
    monkeypatch.setattr("include.engine.run.environment.WARM", dbt / "bin")
    leaves(dbt, results.missing_result(NOT_NULL, status))
    task = DbtOperator(
        task_id="test", argv=("test",), node=NOT_NULL, nodes=[NOT_NULL], connection="warehouse"
    )
    ti = Instance("test")
    context = {"ti": ti, "dag_run": dag_run(), "params": EMPTY}
    try:
        kept = task.execute(context)
    except Exception:
        kept = ti.xcoms["return_value"]
    assert (kept[one_run.STARTED_AT], kept["status"]) == (FIRST, status)
    lines = (dbt / "env").read_text().splitlines()
    assert dict(line.split("=", 1) for line in lines if line.startswith("DBT_RUN_")) == VARIABLES
