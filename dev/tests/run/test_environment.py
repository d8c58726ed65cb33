"""What the environment of dbt's commands asks of a person."""

from __future__ import annotations

import pytest

from include.engine.run.environment import no_connection


@pytest.mark.parametrize(
    ("connection_id", "expected"),
    [
        (
            "warehouse",
            "the environment variable AIRFLOW_CONN_WAREHOUSE (see .env.example) or with: ",
        ),
        ("my-wh", ""),
        ("büro", ""),
    ],
)
def test_no_variable_is_advised_that_a_shell_cannot_export(connection_id, expected):
    assert no_connection(connection_id) == (
        f"No Airflow connection {connection_id!r}. Define it with {expected}"
        f"airflow connections add {connection_id} --conn-type postgres --conn-host …"
    )
