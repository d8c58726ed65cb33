"""The whole repository as a DAG bundle: Airflow reads DAG files in dags/ alone."""

from __future__ import annotations

from pathlib import Path

from airflow.utils.file import list_py_file_paths

from include.engine import settings


def test_only_files_in_dags_are_read_as_dag_files():
    files = list_py_file_paths(str(settings.ROOT), safe_mode=True)
    # A user may have more DAG files.
    dags = settings.ROOT / "dags"
    assert str(dags / "dbt_dag.py") in files
    assert [file for file in files if dags not in Path(file).parents] == []
