"""A DAG bundle with versions: a git repository on this disk, as Airflow's provider git has them.

The latest version is in one folder, which follows the repository; each version that a run is
pinned to gets a folder of its own.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion


def git(folder: Path, *arguments: str) -> str:
    """What git prints in that folder. Raises CalledProcessError."""
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.com")
    command = ("git", *identity, "-C", str(folder), *arguments)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class GitFolders(BaseDagBundle):
    """The commits of `repository`."""

    supports_versioning = True

    def __init__(self, *, repository: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.repository = Path(repository)

    @property
    def path(self) -> Path:
        return self.versions_dir / self.version if self.version else self.base_dir / "latest"

    def initialize(self) -> None:
        with self.lock():
            if not self.path.exists():
                git(self.repository, "clone", "--quiet", ".", str(self.path))
            if self.version:
                git(self.path, "checkout", "--quiet", self.version)
        super().initialize()

    def refresh(self) -> None:
        with self.lock():
            git(self.path, "pull", "--quiet")

    def get_current_version(self) -> BundleVersion:
        return BundleVersion(self.version or git(self.path, "rev-parse", "HEAD"), None)
