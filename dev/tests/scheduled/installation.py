"""A local Airflow and Postgres of the tests' own: how it is told what to do, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from dev.tests import sample
from include.engine import settings
from scripts.local.api import Api
from scripts.local.environment import load_secrets
from scripts.local.paths import PROJECT, Paths
from scripts.local.ports import free_port

# What a person's shell may hold; the tests say themselves what they want.
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("AIRFLOW", "DBT_", "WAREHOUSE_"))
} | {"AIRFLOW_CONN_WAREHOUSE": ""}  # that of an .env file is not for tests

TINY = {
    "dbt_project.yml": """
name: tiny
profile: tiny
models: {+materialized: table}
flags: {send_anonymous_usage_stats: false}
""",
    "profiles.yml": """
tiny:
  target: dev
  outputs:
    dev: &dev
      type: postgres
      host: "{{ env_var('WAREHOUSE_HOST', '') }}"
      port: 5432
      user: "{{ env_var('WAREHOUSE_USER', '') }}"
      password: "{{ env_var('DBT_ENV_SECRET_WAREHOUSE_PASSWORD', '') }}"
      dbname: "{{ env_var('WAREHOUSE_DATABASE', '') }}"
      schema: SCHEMA
      threads: 1
    ci: {<<: *dev, schema: ci}
""",
}


def write_project(folder: Path, schema: str, files: Mapping[str, str]) -> Path:
    """The dbt project `tiny` of these files in `folder`, which is built in `schema` or, for the
    target `ci`, in the schema of that name.
    """
    for name, text in {**TINY, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("SCHEMA", schema))
    return folder


def dag_arguments(schedule: str = "@daily", mail: object = None, **default_args: object) -> dict:
    """The variable that gives the DAG file of the tests (dev/tests/dags) these arguments."""
    arguments = {"schedule": schedule, "default_args": default_args}
    return {"DAG_ARGUMENTS": json.dumps(arguments | ({"mail": mail} if mail else {}))}


def start(
    *arguments: str, at: Paths, environment: Mapping[str, str] | None = None
) -> subprocess.Popen:
    """`python -m scripts.local` as make starts it, in a session of its own."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "scripts.local",
            "--state",
            str(at.state),
            "--dags",
            str(at.dags),
            *arguments,
        ],
        cwd=PROJECT,
        env=CLEAN
        | sample.environment()
        | {"DBT_RUNS": str(at.state / "runs")}
        | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, timeout: float = 300) -> tuple[int, str]:
    """The exit code and all that was printed. If it is not waited for, it is interrupted."""
    try:
        output = process.communicate(timeout=timeout)[0]
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        raise
    return process.returncode, output


def up(at: Paths, environment: Mapping[str, str], *options: str) -> tuple[Api, str]:
    """Airflow, as `make up` starts it with these options, and what that printed."""
    port = str(free_port(0))  # two test runs on one machine would both find 9200 free
    command = start("up", "--port", port, *options, at=at, environment=environment)
    code, output = finish(command)
    assert code == 0, output
    found = Api(int(output.split("http://localhost:", 1)[1].split()[0]))
    found.log_in()
    return found, output


def wait_for(sign_of_life: str, process: subprocess.Popen) -> None:
    """Read what the process prints until that is in it."""
    seen = ""
    while sign_of_life not in seen:
        seen += process.stdout.read(1)
        assert process.poll() is None, seen


def triggered(api: Api, run_id: str, **params: object) -> str:
    """The state of a run that is triggered with these params, once it has finished."""
    api.trigger(run_id, **params)
    return ended(api, run_id)


def clear(api: Api, run_id: str, *task_ids: str, **options: object) -> str:
    """The state of the run after these tasks were cleared: as in Airflow's dialog, with what is
    downstream of them, unless `options` say otherwise.
    """
    body = {"dag_run_id": run_id, "task_ids": task_ids, "dry_run": False, "only_failed": False}
    body["prevent_running_task"] = True
    path = f"/api/v2/dags/{api.dag_id}/clearTaskInstances"
    api.call("POST", path, body | {"include_downstream": True, **options})
    return ended(api, run_id)


def wait_until(
    condition: Callable[[], object], seconds: float = 120, found: Callable[[], object] = str
) -> None:
    """Wait until the condition holds; the message of the failure is what was `found` instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, found()
        time.sleep(0.2)


def ended(api: Api, run_id: str) -> str:
    """The state of the run, once it has finished."""
    deadline = time.monotonic() + 240
    while (state := api.run_state(run_id)) not in ("success", "failed"):
        assert time.monotonic() < deadline, api.tasks(run_id)
        time.sleep(0.5)
    return state


def xcom(api: Api, run_id: str, task_id: str, key: str = "return_value"):
    """What a task has left for others."""
    entry = f"taskInstances/{task_id}/xcomEntries/{key}?stringify=false"
    return api.call("GET", f"{api._run(run_id)}/{entry}")["value"]


def log_of(at: Paths, run_id: str, task_id: str) -> list[dict]:
    """The lines of the log of a task that was tried once."""
    (file,) = (at.logs / "dag_id=dbt_dag" / f"run_id={run_id}" / f"task_id={task_id}").glob("*.log")
    return [json.loads(line) for line in file.read_text().splitlines()]


def statuses(folder: Path) -> dict[str, str]:
    """The status of each node in the results that were left in this folder."""
    found = json.loads((folder / "run_results.json").read_bytes())["results"]
    return {result["unique_id"]: result["status"] for result in found}


def dbt_beside(at: Paths, project: Path, target: Path) -> Callable[..., tuple[str, dict[str, str]]]:
    """Runs dbt as a person would, beside Airflow, with that target folder; returns its output and
    the statuses of nodes.
    """
    environment = {
        "WAREHOUSE_HOST": str(at.postgres_socket),
        "WAREHOUSE_USER": "warehouse",
        "WAREHOUSE_DATABASE": "warehouse",
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": load_secrets(at)["warehouse"],
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
    }

    def run(*arguments: str) -> tuple[str, dict[str, str]]:
        command = [settings.load().dbt_executable, "--quiet", *arguments]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        return done.stdout, statuses(target) if (target / "run_results.json").exists() else {}

    return run


def processes_of(at: Paths) -> list[str]:
    """The command lines of all processes that have to do with this installation."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                words = [*process.cmdline(), *process.environ().values()]
                if any(str(at.state) in word or str(at.sockets) in word for word in words):
                    found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def table_of(output: str) -> dict[str, str]:
    """The state of each task, from the table that `run` prints."""
    lines = output.partition("seconds  task\n")[2].partition("\n\n")[0].splitlines()
    return {line.split()[-1]: " ".join(line.split()[:-1]).rstrip("0123456789. ") for line in lines}
