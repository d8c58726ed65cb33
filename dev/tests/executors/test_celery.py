"""docs/celery/docker-compose.override.yml: Redis and two Celery workers under `astro dev start`.

In the place of Redis it is Valkey from a wheel, which dev/requirements-celery.txt puts into the
image.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dev.tests.celery import swapping
from dev.tests.executors import runs
from dev.tests.image.astro import HOME, Project
from include.engine.settings import ROOT

OVERRIDE = ROOT / "docs" / "celery" / "docker-compose.override.yml"
COMPOSE = Path(__file__).with_name("celery.yml")
WORDS = "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'"  # of the commands of all processes


@pytest.fixture(scope="module")
def started(project: Project, by_local_executor: object) -> Iterator[Project]:
    """As after the command in the header of the override."""
    own = project.folder / OVERRIDE.name
    kept = own.read_bytes()
    shutil.copy(OVERRIDE, own)
    made = replace(project, more=(COMPOSE,))
    try:
        runs.start(made)
        yield made
    finally:
        runs.end(made)
        own.write_bytes(kept)


@pytest.fixture(scope="module")
def by_celery(started: Project, projects: list[swapping.Project]) -> dict[str, runs.Ran]:
    folder = f"{HOME}/.dbt/shared/runs"
    read = lambda name: started.execute("scheduler", "cat", f"{folder}/{name}").stdout  # noqa: E731
    return runs.everything(started, projects, "celery", read)


def containers(project: Project, service: str) -> list[str]:
    """The ids of the containers of a service: their host names, too."""
    return [found[:12] for found in project.compose("ps", "--quiet", service).stdout.split()]


def test_two_workers_leave_what_the_local_executor_leaves(by_local_executor, by_celery):
    assert runs.left(by_celery) == runs.left(by_local_executor)


def test_both_workers_ran_tasks_with_a_warm_dbt_of_their_own(started, by_celery):
    workers = containers(started, "triggerer")
    assert len(workers) == 2
    assert {task["hostname"] for task in by_celery["sample"].tasks.values()} == set(workers)
    for worker in workers:
        words = started.docker("exec", worker, "sh", "-c", WORDS).stdout.splitlines()
        assert f"{HOME}/include/engine/warm/server.py" in words


def test_nothing_is_left_when_it_is_stopped(started, by_celery):
    """The last test of the file."""
    runs.end(started)
    label = f"label=com.docker.compose.project={started.name}"
    asked = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
    left = [started.docker(*words, "--quiet", "--filter", label).stdout for words in asked]
    assert left == ["", "", ""]
