"""Airflow's services and its metadata database: prepare, start, wait for and stop them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from scripts.local import celery, logs, postgres, processes, report
from scripts.local.api import Api
from scripts.local.paths import LocalError, Paths

API_SERVER = "api-server"
SCHEDULER = "scheduler"
DAG_PROCESSOR = "dag-processor"
DAG_FILE = "dbt_dag.py"  # of a DAG that Airflow has never saved
RUN_SERVICES = {
    # Task logs are read from the disk: a log server would only take a port.
    SCHEDULER: ["scheduler", "--skip-serve-logs"],
    DAG_PROCESSOR: ["dag-processor"],
    API_SERVER: ["api-server"],
}
SERVICES = {
    "run": RUN_SERVICES,
    # The DAG waits for nothing by a triggerer; the UI would show its absence as a fault.
    "up": RUN_SERVICES | {"triggerer": ["triggerer", "--skip-serve-logs"]},
}
START_SECONDS = 300
PARSE_SECONDS = 300


def command(*arguments: str) -> list[str]:
    """An Airflow command; by `-m`, as a console script's first line may not hold a long path."""
    return [sys.executable, "-m", "airflow", *arguments]


def is_migrated(paths: Paths, keys: Mapping[str, str]) -> bool:
    """Whether the metadata database is as `migrate` left it for this version of Airflow.

    Airflow itself takes five seconds to answer that.
    """
    if not paths.migrated.exists():
        return False
    return json.loads(paths.migrated.read_text()) == _versions(paths, keys)


def migrate(paths: Paths, keys: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Bring the metadata database to the schema of this Airflow.

    Raises LocalError with the end of the log.
    """
    log = processes.log_of(paths, "migrate")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        code = processes.foreground(command("db", "migrate"), environment, paths.state, file)
    if code:
        raise LocalError(
            "Airflow could not prepare its metadata database. Start with an empty one: make clean. "
            f"End of {processes.log_end(paths, 'migrate')}"
        )
    paths.migrated.write_text(json.dumps(_versions(paths, keys)))


def _versions(paths: Paths, keys: Mapping[str, str]) -> dict[str, str | None]:
    """The version of Airflow, and of the metadata database's schema (None: none yet)."""
    with postgres.cursor(paths, keys, "airflow") as ask:
        ask.execute("select to_regclass('alembic_version') is not null")
        schema = None
        if ask.fetchone()[0]:
            ask.execute(
                "select string_agg(version_num, ',' order by version_num) from alembic_version"
            )
            schema = ask.fetchone()[0]
    return {"airflow": version("apache-airflow"), "schema": schema}


def end_unfinished_runs(paths: Paths, keys: Mapping[str, str]) -> int:
    """Mark the runs that a stopped Airflow left running as failed. Returns how many they were.

    Otherwise a DAG with max_active_runs=1 would finish the old run before it starts another. Call
    it while no scheduler runs. Airflow's own commands for this need a running API server.
    """
    with postgres.cursor(paths, keys, "airflow") as ask:
        ask.execute(
            "update task_instance set state = 'failed', end_date = now()"
            " where state in ('scheduled', 'queued', 'running', 'restarting', 'deferred',"
            " 'up_for_retry', 'up_for_reschedule')"
        )
        ask.execute(
            "update dag_run set state = 'failed', end_date = now()"
            " where state in ('queued', 'running')"
        )
        return ask.rowcount


def start(
    paths: Paths, api: Api, environment: Mapping[str, str], verb: str, workers: int = 0
) -> None:
    """Start the services and that many Celery workers, and wait until they are healthy.

    Raises LocalError, with the end of its log, if one of them stops.
    """
    names = list(SERVICES[verb])
    if verb == "up":
        # A run may be due at once, and a task fails that cannot reach the API server.
        names.remove(SCHEDULER)
        _spawn(paths, names, environment, verb, api.port)
        _wait(paths, names, api.answers)
        _start_workers(paths, environment, verb, celery.worker_names(workers))
        names = [SCHEDULER]
    _spawn(paths, names, environment, verb, api.port)
    wait_until_healthy(paths, api, verb)


def _start_workers(
    paths: Paths, environment: Mapping[str, str], verb: str, names: list[str]
) -> None:
    for name in names:
        celery.spawn_worker(paths, environment, verb, name)
    _wait(paths, names, lambda: celery.ready(paths, names))


def _spawn(
    paths: Paths, names: Iterable[str], environment: Mapping[str, str], verb: str, port: int
) -> None:
    for name in names:
        own_port = port if name == API_SERVER else None
        processes.spawn(paths, name, command(*SERVICES[verb][name]), environment, verb, own_port)


def stop(paths: Paths) -> None:
    """Stop the services that are running, and last the two that the others report to."""
    records = [record for record in processes.recorded(paths) if record.name != postgres.NAME]
    last = (API_SERVER, celery.BROKER)
    processes.stop(paths, [record for record in records if record.name not in last])
    processes.stop(paths, records)


def running(paths: Paths, verb: str) -> int | None:
    """The port of the API server, if all services that `verb` starts are running."""
    by_name = {record.name: record for record in processes.recorded(paths) if record.verb == verb}
    return by_name[API_SERVER].port if SERVICES[verb].keys() <= by_name.keys() else None


def require_services(paths: Paths, names: Collection[str]) -> None:
    """Raises LocalError, with the end of its log, if one of these services has stopped."""
    for name in {*names} - {record.name for record in processes.recorded(paths)}:
        raise LocalError(f"Airflow's {name} has stopped. End of {processes.log_end(paths, name)}")


def wait_until_healthy(paths: Paths, api: Api, verb: str) -> None:
    """Wait for the services. Raises LocalError, with the end of its log, if one of them stops."""
    parts = ("metadatabase", "scheduler", "dag_processor") + (
        ("triggerer",) if verb == "up" else ()
    )
    _wait(paths, SERVICES[verb], lambda: api.healthy(parts))
    api.log_in()


def _wait(paths: Paths, names: Collection[str], is_ready: Callable[[], bool]) -> None:
    """Wait until `is_ready`, while the services `names` run. Raises LocalError."""
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        require_services(paths, names)
        if time.monotonic() > deadline:
            logs = paths.display(paths.logs)
            raise LocalError(
                f"Airflow is not ready after {START_SECONDS} seconds. Its logs: {logs}"
            )
        time.sleep(0.1)


def wait_until_parsed(paths: Paths, api: Api, since: datetime, verb: str) -> list[str]:
    """Wait until the DAGs' file was read after `since`, so that what runs is what is there.

    Returns the ids of its DAGs. Raises LocalError, with Airflow's reason, if it cannot read the
    file, cannot save what is in it, or ends.
    """
    deadline = time.monotonic() + PARSE_SECONDS
    while True:
        dags = api.dags()
        # Airflow writes its errors before it says that it has read the file: none is missed.
        for error in api.import_errors():
            if report.instant(error["timestamp"]) >= since:
                raise LocalError(
                    f"Airflow cannot read {error['filename']}:\n{error['stack_trace']}"
                )
        require_saved(paths, since, {dag["relative_fileloc"] for dag in dags} or {DAG_FILE})
        require_services(paths, SERVICES[verb])
        if parsed := [dag["dag_id"] for dag in dags if _parsed(dag, since)]:
            return sorted(parsed)
        if time.monotonic() > deadline:
            raise LocalError(
                f"Airflow has found no DAG in {PARSE_SECONDS} seconds. "
                f"End of {processes.log_end(paths, DAG_PROCESSOR)}"
            )
        time.sleep(0.2)


def require_saved(paths: Paths, since: datetime, files: Collection[str]) -> None:
    """Raises LocalError if Airflow could not save one of these DAG files since then: its database
    refused what is in it. Airflow goes on with the DAGs as they were, and only its log says why.
    """
    log = processes.log_of(paths, DAG_PROCESSOR)
    for unsaved in logs.unsaved_files(log.read_text(errors="replace") if log.exists() else ""):
        if unsaved.file in files and report.instant(unsaved.time) >= since:
            raise LocalError(
                f"Airflow has read {unsaved.file}, but could not save its DAGs, which stay as they "
                f"were: {unsaved.reason}\nLog: {paths.display(log)}"
            )


def _parsed(dag: Mapping, since: datetime) -> bool:
    return bool(dag["last_parsed_time"]) and report.instant(dag["last_parsed_time"]) >= since


def task_log(paths: Paths, dag_id: str, run_id: str, task: Mapping) -> Path:
    """Where Airflow keeps the log of a task's last try."""
    folders = f"dag_id={dag_id}", f"run_id={run_id}", f"task_id={task['task_id']}"
    return paths.logs.joinpath(*folders) / f"attempt={task['try_number']}.log"
