"""What `make run`, `up`, `down`, `standalone`, `dbt` and `psql` do: a function for each."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from types import MappingProxyType

from include.engine import settings
from scripts.local import airflow, celery, follow, manifest, ports, postgres, processes
from scripts.local.api import DAG_ID, Api
from scripts.local.environment import (
    airflow_environment,
    load_secrets,
    metadata_url,
    standalone_environment,
)
from scripts.local.paths import LocalError, Paths


def run(
    paths: Paths,
    timeout: float,
    dag_id: str = DAG_ID,
    params: Mapping[str, object] = MappingProxyType({}),
) -> int:
    """Run a DAG once, with the services of `up` if they run, else with services for this run only.

    Returns 0 if every task succeeded, else 1.
    """
    with processes.only_one(paths, "run"):
        port = airflow.running(paths, "up")
        if port is None:
            try:
                api, since = _start(paths, "run", 0, dag_id)
                return _run_once(paths, api, since, "run", timeout, params)
            finally:
                with processes.uninterrupted():
                    _stop(paths)
    say(f"==> Using the Airflow of make up: http://localhost:{port}")
    manifest.ensure(paths, settings.load())
    api, since = Api(port, dag_id), datetime.now(timezone.utc)
    airflow.wait_until_healthy(paths, api, "up")
    api.parse_again()
    return _run_once(paths, api, since, "up", timeout, params)


def up(paths: Paths, first_port: int, workers: int = 0) -> int:
    """Start Airflow, switch its DAGs on, and leave it running. Returns 0.

    With `workers`, that many Celery workers run the tasks, else Airflow's LocalExecutor.
    """
    with processes.only_one(paths, "up"):
        port = airflow.running(paths, "up")
        if port is not None:
            celery.require_running(paths, workers)
            say(f"Airflow is running already: http://localhost:{port}")
            return 0
        try:
            api, since = _start(paths, "up", first_port, workers=workers)
            dag_ids = _parsed_dags(paths, api, since, "up")
            api.unpause(*dag_ids)
        except BaseException:
            with processes.uninterrupted():
                _stop(paths)
            raise
    if api.port != first_port:
        say(f"Port {first_port} is in use, so it is {api.port}.")
    say(f"Airflow: http://localhost:{api.port} (no login). Switched on: {', '.join(dag_ids)}.")
    if workers:
        say(f"Celery:  {', '.join(celery.worker_names(workers))}")
    say(f"Logs:    {paths.display(paths.logs)}")
    say("Stop it: make down")
    return 0


def down(paths: Paths) -> int:
    """Stop what `up` started, and what a killed command has left. Returns 0."""
    with processes.only_one(paths, "down"), processes.uninterrupted():
        names = [record.name for record in processes.recorded(paths)]
        _stop(paths)
    say(f"Stopped: {', '.join(names)}." if names else "Nothing is running.")
    return 0


def standalone(paths: Paths) -> int:
    """The Airflow of `astro dev start --standalone` on the embedded Postgres, until Ctrl-C.

    Returns the exit code of the Astro CLI.
    """
    if shutil.which("astro") is None:
        raise LocalError("There is no Astro CLI here. Start an Airflow without it: make up")
    manifest.ensure(paths, settings.load())
    keys = load_secrets(paths)
    environment = standalone_environment(os.environ, paths, keys)
    command = ["astro", "dev", "start", "--standalone", "--foreground"]
    with _postgres(paths, keys, "standalone"):
        try:
            return processes.foreground(command, environment, paths.project)
        finally:
            with processes.uninterrupted():
                processes.stop_all_with(f"{paths.warm}{os.sep}")


def psql(paths: Paths, statement: str | None) -> int:
    """psql on the embedded warehouse, whose server is started for that time if it does not run.

    Returns psql's exit code.
    """
    if not paths.postgres_data.exists():
        raise LocalError("There is no warehouse yet. Make one with: make run")
    keys = load_secrets(paths)
    with _postgres(paths, keys, "psql"):
        return postgres.psql(paths, keys, statement)


def dbt(paths: Paths, text: str) -> int:
    """dbt with these arguments, on the project, the profile and the warehouse of the tasks.

    The embedded Postgres is started for that time if it does not run. With the Airflow of `make up`
    the command is a warm one. Returns dbt's exit code.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise LocalError(f"ARGS is not quoted as for a shell ({error}): {text}") from None
    if not argv:
        raise LocalError("What is dbt to do? For example: make dbt ARGS='run --select orders'")
    keys = load_secrets(paths)
    port = airflow.running(paths, "up")
    environment = airflow_environment(os.environ, paths, keys, port or 0, "up", 1)
    if port is None:
        environment["DBT_WARM"] = "false"  # to start a warm dbt takes longer than one command
    command = [sys.executable, "-m", "include.engine.run.dbt", *argv]
    with _postgres(paths, keys, "dbt"), processes.uninterrupted():  # Ctrl-C is for dbt
        return subprocess.run(command, env=environment, cwd=paths.project).returncode


@contextmanager
def _postgres(paths: Paths, keys: Mapping[str, str], verb: str) -> Iterator[None]:
    """Run the embedded Postgres during the block. Stop it at the end if it did not run before."""
    if postgres.running(paths):
        yield
        return
    with processes.only_one(paths, verb):
        try:
            postgres.start(paths, keys, verb)
            yield
        finally:
            with processes.uninterrupted():
                postgres.stop(paths)


def _start(
    paths: Paths, verb: str, first_port: int, dag_id: str = DAG_ID, workers: int = 0
) -> tuple[Api, datetime]:
    """Start Postgres and Airflow's services, and wait until they are healthy.

    Returns Airflow's API, and a time before this Airflow read a DAG file.
    """
    if left := processes.recorded(paths):
        names = ", ".join(record.name for record in left)
        say(f"==> Stopping what an earlier command left: {names}")
        _stop(paths)
    manifest.ensure(paths, settings.load())
    keys = load_secrets(paths)
    _step("Postgres", lambda: postgres.start(paths, keys, verb))
    port = ports.free_port(first_port)
    environment = airflow_environment(os.environ, paths, keys, port, verb, os.cpu_count() or 2)
    if workers:
        environment = celery.environment(environment, paths, metadata_url(paths, keys), workers)
        _step("Redis", lambda: celery.start_broker(paths, verb))
    if os.environ.get("AIRFLOW_CONN_WAREHOUSE"):
        say("==> The warehouse is the one in AIRFLOW_CONN_WAREHOUSE")
    if not airflow.is_migrated(paths, keys):
        _step("Airflow's metadata database", lambda: airflow.migrate(paths, keys, environment))
    airflow.end_unfinished_runs(paths, keys)
    api, since = Api(port, dag_id), datetime.now(timezone.utc)
    _step("Airflow", lambda: airflow.start(paths, api, environment, verb, workers))
    return api, since


def _parsed_dags(paths: Paths, api: Api, since: datetime, verb: str) -> list[str]:
    """The ids of the DAGs, parsed after `since`, whose tasks have the pools that they name."""
    dag_ids: list[str] = []
    _step("The DAG", lambda: dag_ids.extend(airflow.wait_until_parsed(paths, api, since, verb)))
    slots = os.cpu_count() or 2
    for pool in api.make_pools(dag_ids, slots):
        say(f"==> Made the pool {pool} with {slots} slots. To change it: Admin, Pools in the UI")
    return dag_ids


def _stop(paths: Paths) -> None:
    airflow.stop(paths)
    # A warm dbt is no child of a service. Its socket is in the folder of this installation.
    processes.stop_all_with(f"{paths.warm}{os.sep}")
    postgres.stop(paths)


def _run_once(
    paths: Paths,
    api: Api,
    since: datetime,
    verb: str,
    timeout: float,
    params: Mapping[str, object],
) -> int:
    dag_ids = _parsed_dags(paths, api, since, verb)
    if api.dag_id not in dag_ids:
        raise LocalError(f"There is no DAG {api.dag_id}. There are: {', '.join(dag_ids)}")
    api.unpause()
    return follow.run(paths, api, verb, timeout, params)


def _step(name: str, action: Callable[[], object]) -> None:
    """Do `action`, and print its name and how long it took."""
    print(f"==> {name} ... ", end="", flush=True)
    began = time.monotonic()
    try:
        action()
    except BaseException:
        print(flush=True)
        raise
    say(f"{time.monotonic() - began:.1f} s")


def say(line: str) -> None:
    print(line, flush=True)
