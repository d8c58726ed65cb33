"""The paths of a local Airflow. Every path that this package uses is defined here."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent


class LocalError(Exception):
    """What went wrong, where, and the command that fixes it. Its text is shown as it is."""


@dataclass(frozen=True)
class Paths:
    """The project, the folder of one local Airflow's state (`.airflow`), and its DAG folder."""

    project: Path
    state: Path
    dags: Path = PROJECT / "dags"

    @property
    def airflow_home(self) -> Path:
        return self.state / "home"

    @property
    def logs(self) -> Path:
        """The folder of task logs and of one log file per service."""
        return self.state / "logs"

    @property
    def records(self) -> Path:
        """The folder with one JSON file per process that this package has started."""
        return self.state / "run"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets.json"

    @property
    def migrated(self) -> Path:
        """The file that says which Airflow the metadata database was last migrated for."""
        return self.state / "migrated.json"

    @property
    def postgres_data(self) -> Path:
        return self.state / "postgres"

    @property
    def sockets(self) -> Path:
        """The folder of the Unix sockets. Its name is short, wherever the project is.

        The path of a Unix socket may have 107 bytes, on macOS 103.
        """
        name = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return Path("/tmp") / f"dbt-airflow-{os.getuid()}-{name}"

    @property
    def postgres_socket(self) -> Path:
        return self.sockets / "postgres"

    @property
    def broker_socket(self) -> Path:
        return self.sockets / "redis.sock"

    @property
    def broker_data(self) -> Path:
        return self.state / "redis"

    def worker(self, name: str) -> Path:
        """The folder of a Celery worker."""
        return self.state / "workers" / name

    @property
    def warm(self) -> Path:
        """The folder of the socket of the warm dbt (include/engine/warm)."""
        return self.sockets / "warm"

    def display(self, path: Path) -> str:
        """`path` relative to the project, if it is inside."""
        return str(path.relative_to(self.project) if path.is_relative_to(self.project) else path)


def installation_paths(state: str | None = None, dags: str | None = None) -> Paths:
    """The paths of the local Airflow whose state is in the folder `state` (default: `.airflow`) and
    whose DAG files are in the folder `dags` (default: `dags`).
    """
    return Paths(
        PROJECT,
        Path(state).resolve() if state else PROJECT / ".airflow",
        Path(dags).resolve() if dags else PROJECT / "dags",
    )
