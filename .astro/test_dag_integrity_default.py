"""What `astro dev parse` runs: every DAG file imports, in a container without a database.

`.astro/dag_integrity_exceptions.txt` names files, one a line and relative to the project, whose
import errors are known and let through.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

PROJECT = Path(__file__).resolve().parent.parent
EXCEPTIONS = PROJECT / ".astro/dag_integrity_exceptions.txt"


def import_errors() -> list[tuple[str, str]]:
    """(file relative to the project, error) of every DAG file that fails to import."""
    excepted = set(EXCEPTIONS.read_text().splitlines()) if EXCEPTIONS.exists() else set()
    found = DagBag(str(PROJECT / "dags")).import_errors.items()
    named = [(str(Path(PROJECT, file).relative_to(PROJECT)), error) for file, error in found]
    return [(file, error) for file, error in named if file not in excepted]


@pytest.mark.parametrize(("file", "error"), import_errors() or [("dags", None)])
def test_the_dag_file_imports(file, error):
    assert error is None, f"{file} failed to import:\n{error}"
