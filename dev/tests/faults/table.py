"""The faults: what breaks, when, and how a run ends that meets it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from dev.tests.faults import clock, project
from dev.tests.faults.cluster import DOWN_SECONDS, WORKERS, Cluster
from dev.tests.scheduled.installation import wait_until
from include.engine.warm import client
from scripts.local import airflow, celery

GOOD, BAD = WORKERS
Action = Callable[[Cluster], None]


@dataclass(frozen=True)
class Fault:
    """`prepare` happens before the run, `inflict` while the bad worker builds a model, `mend` once
    a task is in trouble, and `heal` when the run has ended. `says` is in the log of a failed try.
    With `unheard`, a try may build its model and not be able to tell Airflow, which tries again.
    """

    name: str
    inflict: Action | None = None
    prepare: Action | None = None
    mend: Action | None = None
    heal: Action | None = None
    state: str = "success"
    says: str = ""
    unheard: bool = False

    @property
    def slug(self) -> str:
        return self.name.replace(",", "").replace(" ", "_")


# A worker, and the machine that it stands for


def kill_worker(cluster: Cluster) -> None:
    cluster.kill_worker(BAD)
    cluster.start_worker(BAD)


def kill_warm_dbt(cluster: Cluster) -> None:
    for process in cluster.warm_dbt(BAD):
        process.kill()


def freeze_for_a_moment(cluster: Cluster) -> None:
    cluster.signal_worker(BAD, signal.SIGSTOP)
    time.sleep(DOWN_SECONDS)
    cluster.signal_worker(BAD, signal.SIGCONT)


def freeze(cluster: Cluster) -> None:
    cluster.signal_worker(BAD, signal.SIGSTOP)


def thaw(cluster: Cluster) -> None:
    time.sleep(DOWN_SECONDS)  # the next try begins meanwhile
    cluster.signal_worker(BAD, signal.SIGCONT)


def lose_worker(cluster: Cluster) -> None:
    cluster.lose(BAD)


def start_worker(cluster: Cluster) -> None:
    cluster.start_worker(BAD)


def replace_worker(cluster: Cluster, **variables: str) -> None:
    """Put a worker with these variables in the place of the bad one."""
    cluster.kill_worker(BAD)
    cluster.start_worker(BAD, **variables)


# What the workers share


def restart_redis(number: int) -> Callable[[Cluster], None]:
    def restart(cluster: Cluster) -> None:
        cluster.end(celery.BROKER, number)
        time.sleep(DOWN_SECONDS)
        celery.spawn_broker(cluster.at, "up")

    return restart


def restart_service(name: str, number: int) -> Callable[[Cluster], None]:
    def restart(cluster: Cluster) -> None:
        cluster.end(name, number)
        time.sleep(DOWN_SECONDS)
        cluster.keep_up()
        wait_until(cluster.api.answers)

    return restart


def restart_warehouse(cluster: Cluster) -> None:
    cluster.restart_database(cluster.warehouse_at)


def restart_metadata_database(cluster: Cluster) -> None:
    cluster.restart_database(cluster.at)


# A worker that is not like the other


def remove_dbt(cluster: Cluster) -> None:
    replace_worker(cluster, DBT_EXECUTABLE="/no/dbt")


def set_clock(cluster: Cluster) -> None:
    replace_worker(cluster, **clock.ahead(seconds=600))


def fill_disk(cluster: Cluster) -> None:
    """The temporary files of the bad worker are on a disk of 1 MB, which is full."""
    cluster.kill_worker(BAD)
    disk = cluster.temporary(BAD)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    cluster.start_worker(BAD)
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}/full"], capture_output=True)


def free_disk(cluster: Cluster) -> None:
    (cluster.temporary(BAD) / "full").unlink()


def remove_disk(cluster: Cluster) -> None:
    cluster.kill_worker(BAD)
    subprocess.run(["umount", cluster.temporary(BAD)], check=True)
    cluster.start_worker(BAD)


def use_older_project(cluster: Cluster) -> None:
    """The only worker has yesterday's project, without the models that read others."""
    cluster.kill_worker(GOOD)
    replace_worker(cluster, **older_project(cluster))


def use_older_manifest(cluster: Cluster) -> None:
    """The same, and the worker's DAG file is of yesterday's manifest, too."""
    variables = older_project(cluster)
    variables["DBT_MANIFEST"] = str(cluster.at.state / "older manifest" / "manifest.json")
    cluster.build_manifest(variables)
    cluster.kill_worker(GOOD)
    replace_worker(cluster, **variables)


def older_project(cluster: Cluster) -> dict[str, str]:
    folder = str(project.write(cluster.at.state / "older", project.FIRST))
    return {"DBT_PROJECT_DIR": folder, "DBT_PROFILES_DIR": folder}


def roll_out(cluster: Cluster) -> None:
    """Workers with today's project come, and yesterday's goes."""
    cluster.start_worker(GOOD)
    replace_worker(cluster)


TABLE = (
    Fault("no fault"),
    Fault("a worker is killed, and starts again", kill_worker),
    Fault("a warm dbt is killed", kill_warm_dbt, says=client.LOST),
    Fault("a worker is frozen for a moment", freeze_for_a_moment),
    Fault("a worker is frozen until its tasks are retried", freeze, mend=thaw),
    Fault("a worker is lost for good", lose_worker, heal=start_worker),
    Fault("Redis is restarted", restart_redis(signal.SIGTERM)),
    Fault("Redis is killed", restart_redis(signal.SIGKILL)),
    Fault("the warehouse is restarted", restart_warehouse, says="connection"),
    Fault("the metadata database is restarted", restart_metadata_database, unheard=True),
    Fault(
        "the API server is restarted",
        restart_service(airflow.API_SERVER, signal.SIGTERM),
        unheard=True,
    ),
    Fault(
        "the API server is killed",
        restart_service(airflow.API_SERVER, signal.SIGKILL),
        unheard=True,
    ),
    Fault("the scheduler is restarted", restart_service(airflow.SCHEDULER, signal.SIGTERM)),
    Fault("the scheduler is killed", restart_service(airflow.SCHEDULER, signal.SIGKILL)),
    Fault(
        "the disk of a worker is full",
        prepare=fill_disk,
        mend=free_disk,
        heal=remove_disk,
        says="No space left on device",
    ),
    Fault(
        "a worker has an older project",
        prepare=use_older_project,
        mend=roll_out,
        says="does not have",
    ),
    Fault("a worker has an older manifest", prepare=use_older_manifest, mend=roll_out),
    Fault(
        "a worker has no dbt",
        prepare=remove_dbt,
        heal=replace_worker,
        state="failed",
        says="No dbt at /no/dbt",
    ),
    Fault("the clock of a worker is ten minutes ahead", prepare=set_clock, heal=replace_worker),
)
