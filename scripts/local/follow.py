"""One run of a DAG: trigger it, print its progress, then its tasks and what is in the warehouse."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone

import psycopg2
from psycopg2 import sql

from include.engine import settings
from scripts.local import airflow, logs, postgres, processes, report
from scripts.local.api import Api
from scripts.local.environment import load_secrets
from scripts.local.paths import LocalError, Paths

POLL_SECONDS = 1.0
END_TRIES = 10
SETTLED_POLLS = 2
TABLES_SHOWN = 3
EXAMPLE = "customers"  # the relation in the printed example, if the project has it


def run(paths: Paths, api: Api, verb: str, timeout: float, params: Mapping[str, object]) -> int:
    """Trigger a run with `params`, and print its progress and its result.

    Returns 0 if every task succeeded, else 1. An interrupt ends the run, and so does `timeout`, in
    seconds.
    """
    run_id = f"make_run__{datetime.now(timezone.utc):%Y-%m-%dT%H-%M-%S.%f}"
    began = time.monotonic()
    try:
        api.trigger(run_id, **params)
        state = _until_finished(paths, api, run_id, verb, began + timeout)
    except BaseException:
        # The Airflow of make up would go on with this run.
        with processes.uninterrupted():
            end(api, run_id)
        raise
    tasks = api.tasks(run_id)
    print("", *report.table(tasks), "", report.summary(tasks, time.monotonic() - began), sep="\n")
    if not os.environ.get("AIRFLOW_CONN_WAREHOUSE"):
        print(*_warehouse(paths, tasks), sep="\n", flush=True)
    return 0 if state == "success" and not any(task["state"] in report.BAD for task in tasks) else 1


def _until_finished(paths: Paths, api: Api, run_id: str, verb: str, deadline: float) -> str:
    """Print each task as it ends. Returns the run's state; raises LocalError at the deadline."""
    print(f"==> Running {api.dag_id}", flush=True)
    before: dict[str, str] = {}
    while True:
        tasks = api.tasks(run_id)
        for line in _news(paths, api.dag_id, run_id, before, tasks):
            print(line, flush=True)
        before = {task["task_id"]: task["state"] for task in tasks}
        # Each answer costs the API server time that the tasks could use: no question too many.
        if not report.ACTIVE & set(before.values()):
            state = api.run_state(run_id)
            if state in ("success", "failed"):
                return state
        if time.monotonic() > deadline:
            late = ", ".join(name for name, state in before.items() if state == "running")
            raise LocalError(
                "The run is not finished in its time. Give it more: make run TIMEOUT=7200. "
                f"Still running: {late or 'no task'}"
            )
        airflow.require_services(paths, airflow.SERVICES[verb])
        time.sleep(POLL_SECONDS)


def end(api: Api, run_id: str) -> None:
    """Mark the run as failed, until it stays so.

    The scheduler may be about to write this run's state. Then there can be a deadlock in the
    database, and Airflow answers 500; or the scheduler finds that all tasks are skipped, which the
    mark has done, and makes the run a success.
    """
    for _ in range(END_TRIES):
        with suppress(LocalError):
            api.end_run(run_id)
            if all(_is_failed_after_a_poll(api, run_id) for _ in range(SETTLED_POLLS)):
                return
        time.sleep(POLL_SECONDS)


def _is_failed_after_a_poll(api: Api, run_id: str) -> bool:
    time.sleep(POLL_SECONDS)
    return api.run_state(run_id) == "failed"


def _news(
    paths: Paths, dag_id: str, run_id: str, before: dict[str, str], tasks: list[dict]
) -> Iterator[str]:
    finished = sum(state in report.FINISHED for state in before.values())
    for task in report.changes(before, tasks):
        finished += task["state"] in report.FINISHED
        yield report.progress(task, finished, len(tasks))
        if task["state"] in ("failed", "up_for_retry"):
            log = airflow.task_log(paths, dag_id, run_id, task)
            yield f"    log: {paths.display(log)}"
            text = log.read_text(errors="replace").splitlines() if log.exists() else []
            yield from (f"    | {line}" for line in logs.readable_end(text))


def _warehouse(paths: Paths, tasks: list[dict]) -> Iterator[str]:
    """The relations of the models that ran last, with their rows, and how to look into one."""
    manifest = json.loads(settings.load().manifest.read_bytes())
    nodes = manifest["nodes"] if manifest["metadata"]["adapter_type"] == "postgres" else {}
    relations = [
        (nodes[task["task_id"]]["schema"], nodes[task["task_id"]]["alias"])
        for task in report.in_order(tasks)
        if task["state"] == "success"
        and task["task_id"].startswith("model.")
        and task["task_id"] in nodes
    ]
    if not relations:
        return
    relations.sort(key=lambda relation: relation[1] == EXAMPLE)
    yield "In the warehouse now:"
    with postgres.cursor(paths, load_secrets(paths), "warehouse") as ask:
        for relation in relations[-TABLES_SHOWN:]:
            name = ".".join(relation)
            try:
                ask.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*relation)))
                yield f"  {name:<40}{ask.fetchone()[0]:>8,} rows"
            except psycopg2.Error as error:
                yield f"  {name}: {str(error).splitlines()[0]}"
    yield f"Look inside: make psql SQL='select * from {'.'.join(relations[-1])} limit 5'"
