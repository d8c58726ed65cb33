"""The image of the project, built once, and Airflow started from it once."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tests.image.astro import DAG, Project, clone, eventually

FIGURES: list[str] = []
"""What the tests measured, shown when they have ended."""


def pytest_terminal_summary(terminalreporter) -> None:
    for figure in FIGURES:
        terminalreporter.write_line(figure)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A clone with its image built. Tests that change files take `another` instead."""
    for asked in (["docker", "info"], ["docker", "compose", "version"]):
        if not shutil.which("docker") or subprocess.run(asked, capture_output=True).returncode:
            pytest.fail(f"No Docker engine answers; see: {' '.join(asked)}")
    made = clone(tmp_path_factory.mktemp("clone") / "project")
    began = time.monotonic()
    made.build()
    FIGURES.append(f"image built: {time.monotonic() - began:.1f} s")
    yield made
    made.docker("image", "rm", "--force", made.name, check=False)


@pytest.fixture
def another(project: Project, tmp_path: Path) -> Iterator[Project]:
    """A clone of its own, whose build finds the layers of the first one."""
    made = clone(tmp_path / "project")
    yield made
    made.docker("image", "rm", "--force", made.name, check=False)


@pytest.fixture(scope="session")
def started(project: Project) -> Iterator[Project]:
    """The project with Airflow and the warehouse running, and the DAG read."""
    began = time.monotonic()
    try:
        project.compose("up", "--detach")
        look = lambda: project.compose("logs", "--tail", "20").stdout  # noqa: E731
        eventually(project.healthy, 300, look)
        eventually(lambda: project.dag()["dag_id"] == DAG, 120, look)
        FIGURES.append(f"started, DAG read: {time.monotonic() - began:.1f} s")
        FIGURES.append(f"Airflow's database: {project.database_version()}")
        yield project
    finally:
        began = time.monotonic()
        project.compose("down", "--volumes", "--timeout", "5", check=False)
        FIGURES.append(f"stopped: {time.monotonic() - began:.1f} s")
