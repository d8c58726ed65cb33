"""The image with what users of other executors add to it, and what a LocalExecutor leaves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from dev.tests.celery import swapping
from dev.tests.executors import runs
from dev.tests.image.astro import HOME, Project, clone
from dev.tests.image.conftest import pytest_terminal_summary  # noqa: F401
from include.engine.settings import ROOT

ADDED = ("requirements-celery.txt", "requirements-pods.txt")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A clone whose DAG has no schedule, with its image built."""
    if (
        not shutil.which("docker")
        or subprocess.run(("docker", "info"), capture_output=True).returncode
    ):
        pytest.fail("No Docker engine answers; see: docker info")
    made = clone(tmp_path_factory.mktemp("clone") / "project")
    with (made.folder / "requirements.txt").open("a") as requirements:
        for name in ADDED:
            requirements.write((ROOT / "dev" / name).read_text())
    dag_file = made.folder / "dags" / "dbt_dag.py"
    dag_file.write_text(dag_file.read_text().replace('"@daily"', '"none"'))
    made.build()
    yield made
    made.docker("image", "rm", "--force", made.name, check=False)


@pytest.fixture(scope="session")
def projects(project: Project, tmp_path_factory: pytest.TempPathFactory) -> list[swapping.Project]:
    """The sample, and generated projects with planted failures and a manifest."""
    folder = tmp_path_factory.mktemp("projects")
    kept = shutil.copytree(project.folder / "include" / "dbt", folder / "sample" / "dbt")
    generated = [
        swapping.generated(seed, folder / f"oracle_{seed}" / "dbt") for seed in swapping.SEEDS
    ]
    for one in generated:
        runs.build_manifest(one)
    return [swapping.Project("sample", kept), *generated]


@pytest.fixture(scope="session")
def by_local_executor(project: Project, projects: list[swapping.Project]) -> dict[str, runs.Ran]:
    runs_folder = f"{HOME}/.dbt/runs"
    read = lambda name: project.execute("scheduler", "cat", f"{runs_folder}/{name}").stdout  # noqa: E731
    try:
        runs.start(project)
        return runs.everything(project, projects, "local", read)
    finally:
        runs.end(project)
