"""One `run_started_at` and one `invocation_id` for all dbt commands of a DAG run.

In one `dbt build` all nodes have the same, and packages compare them with what an earlier node has
stored. The warm dbt hands them to Jinja (inside/one_run.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from include.engine.run import results

STARTED_AT = "run_started_at"
"""The key in XComs of the time at which the run started, ISO 8601."""


def environment(context: Mapping[str, Any]) -> dict[str, str]:
    """The variables for the commands of a task; {} outside of a DAG run."""
    ti = context["ti"]
    if not (moment := started_at(ti, context.get("dag_run"))):
        return {}
    return {
        "DBT_RUN_STARTED_AT": moment,
        "DBT_RUN_INVOCATION_ID": results.invocation_id(ti.dag_id, ti.run_id),
    }


def started_at(ti: Any, dag_run: Any) -> str:
    """When the run started first, ISO 8601; "" if nothing is known of it.

    Airflow gives a run that has ended and is cleared a new start. The last task of the run has kept
    the first one, until it runs again.
    """
    start: datetime | None = getattr(dag_run, "start_date", None)
    if start and getattr(dag_run, "clear_number", 0):
        from include.engine.run import summary  # most task processes go without

        last = ti.xcom_pull(task_ids=[summary.TASK_ID], map_indexes=-1)[0] or {}
        if STARTED_AT in last:
            return last[STARTED_AT]
    return start.isoformat() if start else ""


def first_start(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The key of the start with the earliest that the XComs of tasks have; {} without any."""
    moments = [record[STARTED_AT] for record in records if record.get(STARTED_AT)]
    return {STARTED_AT: min(moments)} if moments else {}


def add_start(record: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """A task's XCom with the time at which its run started, if its commands had one."""
    moment = environment.get("DBT_RUN_STARTED_AT")
    return record | {STARTED_AT: moment} if moment else record
