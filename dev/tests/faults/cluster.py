"""Two Celery workers, Redis, a warehouse and a metadata database, each of which can be broken."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

import psutil

from dev.tests import sample
from dev.tests.faults import project
from dev.tests.scheduled.installation import CLEAN, dag_arguments, wait_until
from scripts.local import airflow, celery, ports, postgres, processes
from scripts.local.api import Api
from scripts.local.environment import airflow_environment, load_secrets, metadata_url, warehouse
from scripts.local.paths import PROJECT, Paths

WORKERS = celery.worker_names(2)
VERB = "up"
DOWN_SECONDS = 4

# Shorter than Airflow's defaults, which are in docs/scaling.md with what they cost.
QUICK = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "60",
    "AIRFLOW__WORKERS__MISSING_DAG_RETRY_DELAY": "5",
}
IDLE = "20s"  # shorter than the heartbeat timeout, as in docs/warehouses.md
RETRIES = dag_arguments(schedule="none", retries=4, retry_delay=2)


class Cluster:
    """All parts run after `start`. The warehouse is a Postgres of its own."""

    def __init__(self, at: Paths) -> None:
        self.at = at
        self.warehouse_at = Paths(PROJECT, at.state / "warehouse")
        self.project = project.write(at.state / "project")
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        """Start every part, and have the DAG ready."""
        keys = load_secrets(self.at)
        self.start_database(self.at)
        self.start_database(self.warehouse_at)
        self.ask(f"alter role warehouse set idle_in_transaction_session_timeout = '{IDLE}'")
        self.api = Api(ports.free_port(0))
        common = airflow_environment(
            {**CLEAN, **self.variables()}, self.at, keys, self.api.port, VERB, len(WORKERS)
        )
        url = metadata_url(self.at, keys)
        self.environment = celery.environment(common, self.at, url, len(WORKERS)) | QUICK
        self.build_manifest()
        celery.start_broker(self.at, VERB)
        airflow.migrate(self.at, keys, self.environment)
        since = datetime.now(timezone.utc)
        airflow.start(self.at, self.api, self.environment, VERB, len(WORKERS))
        airflow.wait_until_parsed(self.at, self.api, since, VERB)
        self.api.unpause()

    def variables(self) -> dict[str, str]:
        """What the project and its warehouse are."""
        return {
            "DBT_PROJECT_DIR": str(self.project),
            "DBT_PROFILES_DIR": str(self.project),
            "DBT_MANIFEST": str(self.at.state / "manifest" / "manifest.json"),
            "DBT_RUNS": str(self.at.state / "runs"),
            "AIRFLOW_CONN_WAREHOUSE": warehouse(self.warehouse_at, load_secrets(self.warehouse_at)),
            **RETRIES,
        }

    def build_manifest(self, variables: Mapping[str, str] = MappingProxyType({})) -> None:
        sample.build_manifest({**self.variables(), **variables})

    def stop(self) -> None:
        """End every part, and all that is left of one."""
        for name in WORKERS:
            self.signal_worker(name, signal.SIGCONT)
        airflow.stop(self.at)
        processes.stop_all_with(f"{self.at.warm}{os.sep}")
        for server in (self.at, self.warehouse_at):
            postgres.stop(server)

    # Parts

    def start_database(self, server: Paths) -> None:
        postgres.start(server, load_secrets(server), VERB)

    def restart_database(self, server: Paths) -> None:
        """Restart it as a person does: its sessions end, and for some seconds there is none."""
        records = [r for r in processes.recorded(server) if r.name == postgres.NAME]
        processes.stop(server, records, signal.SIGINT)
        time.sleep(DOWN_SECONDS)
        self.start_database(server)

    def ask(self, statement: str) -> list[tuple]:
        """The rows of a statement in the warehouse."""
        server = self.warehouse_at
        with postgres.cursor(server, load_secrets(server), "warehouse") as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def end(self, name: str, number: int) -> None:
        """End a part, and what it has started, with this signal."""
        records = [record for record in processes.recorded(self.at) if record.name == name]
        processes.stop(self.at, records, number)

    def keep_up(self) -> None:
        """Start the services that have ended, as Kubernetes and Docker do."""
        running = {record.name for record in processes.recorded(self.at)}
        for name in airflow.SERVICES[VERB].keys() - running:
            self.start_service(name)

    def start_service(self, name: str) -> None:
        port = self.api.port if name == airflow.API_SERVER else None
        words = airflow.command(*airflow.SERVICES[VERB][name])
        processes.spawn(self.at, name, words, self.environment, VERB, port)

    # Workers

    def start_worker(self, name: str, **variables: str) -> None:
        """Start a worker with these variables of its own, and wait for it."""
        celery.spawn_worker(self.at, self.environment, VERB, name, variables)
        wait_until(lambda: celery.ready(self.at, [name]))

    def kill_worker(self, name: str) -> None:
        """End all that runs on its machine at once, the warm dbt too."""
        self.signal_worker(name, signal.SIGSTOP)  # none of them sees another one end
        killed = self.signal_worker(name, signal.SIGKILL)
        _, alive = psutil.wait_procs(killed, timeout=20)
        assert not alive, alive

    def lose(self, name: str) -> None:
        """The machine of a worker is gone, with its disk."""
        self.kill_worker(name)
        shutil.rmtree(self.at.worker(name))
        shutil.rmtree(self.at.warm / name, ignore_errors=True)

    def signal_worker(self, name: str, number: int) -> list[psutil.Process]:
        """Send the signal to all processes of the worker; returns them."""
        found = self.of_worker(name)
        for process in found:
            with suppress(psutil.Error):
                process.send_signal(number)
        return found

    def of_worker(self, name: str) -> list[psutil.Process]:
        """Every process of the machine that this worker stands for.

        Celery writes its title where the system has the environment of a process: the worker is
        known by its record, and a warm dbt, which is no child of it, by its socket.
        """
        records = [record for record in processes.recorded(self.at) if record.name == name]
        workers = [psutil.Process(record.pid) for record in records]
        children = [child for worker in workers for child in worker.children(recursive=True)]
        return [*workers, *children, *self.warm_dbt(name)]

    def warm_dbt(self, name: str) -> list[psutil.Process]:
        """The warm dbt of this worker, and the processes that run its commands."""
        return [one for one in psutil.process_iter() if _names(one, self.at.warm / name)]

    def temporary(self, name: str) -> Path:
        return self.at.worker(name) / "tmp"


def _names(process: psutil.Process, folder: Path) -> bool:
    """Whether an argument of the process is a path in this folder."""
    try:
        return any(word.startswith(f"{folder}{os.sep}") for word in process.cmdline())
    except psutil.Error:
        return False
