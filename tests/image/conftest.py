"""The image of the project, built once, and Airflow started from it once."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from astro import DAG, Project, clone, eventually

FIGURES: list[str] = []
"""What the tests measured, shown when they have ended."""


def engine() -> bool:
    """Whether a Docker engine answers, and `docker compose` is there."""
    asked = (["docker", "info"], ["docker", "compose", "version"])
    return bool(shutil.which("docker")) and all(
        subprocess.run(command, capture_output=True, check=False).returncode == 0
        for command in asked
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if here and not engine():
        for item in here:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers (docker info)"))


def pytest_terminal_summary(terminalreporter) -> None:
    for figure in FIGURES:
        terminalreporter.write_line(figure)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A clone with its image built. Tests that change files take `another` instead."""
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
        yield project
    finally:
        began = time.monotonic()
        project.compose("down", "--volumes", "--timeout", "5", check=False)
        FIGURES.append(f"stopped: {time.monotonic() - began:.1f} s")
