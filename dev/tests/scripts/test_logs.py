"""What a person reads of Airflow's logs."""

from __future__ import annotations

import json

from scripts.local.logs import UnsavedFile, readable_end, unsaved_files

PROCESSOR = """\
2026-11-28T03:44:09.1Z [info     ] Serving [airflow.dag_processing.manager] loc=manager.py:1
2026-11-28T03:44:10.478177Z [error    ] Failed to persist parsing result for dbt_dag.py in bundle \
dags-folder; keeping previous persisted stats while throttling retries. [airflow] loc=manager.py:2
Traceback (most recent call last):
  File "/airflow/models/asset.py", line 356, in __init__
    uri.encode("ascii")
UnicodeEncodeError: 'ascii' codec can't encode character

During handling of the above exception, another exception occurred:
ValueError: URI must be ascii
2026-11-28T03:44:20.5Z [error    ] Failed to persist parsing result for other.py in bundle dags
sqlalchemy.exc.DataError: (psycopg2.errors.StringDataRightTruncation) value too long
"""


def test_a_dag_file_that_airflow_could_not_save_is_found_with_its_reason():
    assert unsaved_files(PROCESSOR) == [
        UnsavedFile("2026-11-28T03:44:10.478177Z", "dbt_dag.py", "ValueError: URI must be ascii"),
        UnsavedFile(
            "2026-11-28T03:44:20.5Z",
            "other.py",
            "sqlalchemy.exc.DataError: (psycopg2.errors.StringDataRightTruncation) value too long",
        ),
    ]
    assert unsaved_files("all is well") == []


def test_the_end_of_a_tasks_log_is_shown_without_the_json_around_it():
    error = {
        "exc_type": "AirflowException",
        "exc_value": "column b does not exist\nLINE 2",
        "x": [],
    }
    log = [
        json.dumps(
            {"timestamp": "2026-11-28T03:44:10Z", "event": "Running command", "level": "info"}
        ),
        json.dumps({"event": "Database Error in model b\n\n  column b"}),
        "a line that is no JSON",
        "17",
        json.dumps({"event": "Task failed with exception", "error_detail": [error]}),
    ]
    assert readable_end(log) == [
        "Running command",
        "Database Error in model b",
        "  column b",
        "a line that is no JSON",
        "17",
        "Task failed with exception",
        "AirflowException: column b does not exist",
        "LINE 2",
    ]
    assert readable_end(log, 1) == ["LINE 2"]
