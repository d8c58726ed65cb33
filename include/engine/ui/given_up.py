"""The results of a run that a person marked as failed.

Airflow then skips all tasks that have not started, the last one too, which would have written them.
So the API server writes them, where it can write into DBT_RUNS.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from include.engine import settings
from include.engine.plan import cache
from include.engine.run import summary

log = logging.getLogger(__name__)

SECONDS = 30
"""How long the end of the request that marks the run is waited for."""


class GivenUp(NamedTuple):
    """The last task of the run, as far as it takes part in writing the results."""

    dag_id: str
    run_id: str
    states: Mapping[str, str]
    xcoms: Mapping[str, Any]
    task_id: str = summary.TASK_ID

    def get_task_states(self, dag_id: str, run_ids: Sequence[str]) -> dict[str, Mapping[str, str]]:
        return {self.run_id: self.states}

    def xcom_pull(self, task_ids: Sequence[str], map_indexes: int) -> list[Any]:
        return [self.xcoms.get(task_id) for task_id in task_ids]


def write_results(dag_id: str, run_id: str) -> None:
    """Writes the results of the run once Airflow has marked it; none if the DAG is not dbt's."""
    if not cache.dag_tasks(settings.load(), dag_id):
        return
    conf = marked_conf(dag_id, run_id)
    if conf is None:
        log.warning("%s of %s is not marked as failed: its results are not written", run_id, dag_id)
        return
    with create_session() as session:
        own = TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id
        rows = session.execute(select(TaskInstance.task_id, TaskInstance.state).where(*own))
        states = dict(rows.all())
        left = session.scalars(
            select(XComModel).where(
                XComModel.dag_id == dag_id,
                XComModel.run_id == run_id,
                XComModel.key == "return_value",
            )
        )
        xcoms = {xcom.task_id: XComModel.deserialize_value(xcom) for xcom in left}
    run = summary.write_results(GivenUp(dag_id, run_id, states, xcoms), states, conf)
    log.info("The results of %s of %s: %s", run_id, dag_id, run["folder"])


def marked_conf(dag_id: str, run_id: str) -> dict[str, Any] | None:
    """What the run was triggered with, once its state is failed; None if that does not come."""
    wanted = select(DagRun).where(
        DagRun.dag_id == dag_id, DagRun.run_id == run_id, DagRun.state == "failed"
    )
    for _ in range(SECONDS):
        with create_session() as session:
            if run := session.scalar(wanted):
                return dict(run.conf or {})
        time.sleep(1)
    return None
