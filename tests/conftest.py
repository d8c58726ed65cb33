"""Fixtures of the tests that `astro dev pytest` runs. These tests are yours; they need no database.

They hold for any dbt project: what they compare the DAGs with is dbt's manifest.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.engine import settings
from include.engine.manifest.find import find_manifest
from include.engine.manifest.records import read_manifest

tested: list[str] = []
"""What the tests were about, for the last lines of their output."""


@pytest.fixture(scope="session")
def dagbag() -> DagBag:
    """The DAG folder, read as Airflow reads it."""
    return DagBag(str(settings.ROOT / "dags"))


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    """dbt's manifest that the DAGs are made from, as decoded JSON."""
    return read_manifest(find_manifest(settings.load()))


@pytest.fixture(scope="session", autouse=True)
def say_what_is_tested(dagbag: DagBag, manifest: dict[str, Any]) -> None:
    nodes = Counter(node["resource_type"] for node in manifest["nodes"].values())
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(nodes.items())) or "no nodes"
    tasks = sum(len(dag.tasks) for dag in dagbag.dags.values())
    tested.append(
        f"Tested: the dbt project {manifest['metadata']['project_name']} ({counts}), "
        f"{tasks} tasks in {', '.join(sorted(dagbag.dags))}"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in tested:
        terminalreporter.write_line(line)
