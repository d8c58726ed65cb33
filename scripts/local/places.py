"""Where the local Airflow keeps its things. Nothing else in this package makes up a path."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent


class LocalError(Exception):
    """What went wrong, where, and how to mend it, in words for a person; shown as it is."""


@dataclass(frozen=True)
class Places:
    """The project, and the folder that holds the state of one local Airflow (`.airflow`)."""

    project: Path
    state: Path

    @property
    def airflow_home(self) -> Path:
        return self.state / "home"

    @property
    def logs(self) -> Path:
        """Task logs, and one file per service."""
        return self.state / "logs"

    @property
    def records(self) -> Path:
        """One JSON file per process that this package has started."""
        return self.state / "run"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets.json"

    @property
    def migrated(self) -> Path:
        """Says which Airflow the metadata database was last migrated for."""
        return self.state / "migrated.json"

    @property
    def postgres_data(self) -> Path:
        return self.state / "postgres"

    @property
    def sockets(self) -> Path:
        """The folder of the Unix sockets, whose name is short wherever the project is.

        The path of a Unix socket has 107 bytes at most, 103 on macOS.
        """
        name = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:12]
        return Path("/tmp") / f"dbt-airflow-{os.getuid()}-{name}"

    @property
    def postgres_socket(self) -> Path:
        return self.sockets / "postgres"

    @property
    def warm(self) -> Path:
        """The folder of the warm dbt's socket (include/engine/warm)."""
        return self.sockets / "warm"

    def shown(self, path: Path) -> str:
        """`path` as a person in the project's folder would write it."""
        return str(path.relative_to(self.project) if path.is_relative_to(self.project) else path)


def places(state: str | None = None) -> Places:
    """The places below `state`, a path relative to the working directory, or below `.airflow`."""
    return Places(PROJECT, Path(state).resolve() if state else PROJECT / ".airflow")
