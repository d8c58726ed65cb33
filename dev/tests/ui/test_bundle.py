"""The whole repository as a DAG bundle: Airflow reads DAG files in dags/ alone."""

from __future__ import annotations

from airflow.utils.file import list_py_file_paths

from include.engine import settings


def test_only_files_in_dags_are_read_as_dag_files():
    files = list_py_file_paths(str(settings.ROOT), safe_mode=True)
    assert files == [str(settings.ROOT / "dags" / "dbt_dag.py")]
