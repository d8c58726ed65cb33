"""An Airflow connection is read as Airflow reads it, without Airflow."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import Connection

from include.engine.run.environment import FIELDS
from include.engine.warehouse import connection

URIS = [
    "postgres://ada:p%40ss@db.example.com:5432/shop?sslmode=require",
    "postgresql://ada@%2Ftmp%2FSocket/shop",
    "google-cloud-platform://?project=shop&num_retries=5",
    "trino://https://ada:secret@trino.example.com:443/sales?catalog=lake",
    "duckdb:///data%2FShop.duckdb",
    "snowflake://ada:pw@/PUBLIC?account=ab12&warehouse=wh",
    "postgres://h/d?__extra__=%7B%22sslmode%22%3A+%22require%22%7D",
]


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_is_read_as_airflow_reads_it(uri):
    theirs = Connection(conn_id="warehouse", uri=uri)
    expected = connection.from_fields(
        {**{name: getattr(theirs, name) for name in FIELDS}, "extra": theirs.extra_dejson}
    )
    assert connection.from_environment("warehouse", {"AIRFLOW_CONN_WAREHOUSE": uri}) == expected


def test_json_is_read_with_its_extra_as_a_mapping_or_as_text():
    fields = {"conn_type": "trino", "host": "h", "port": "8080", "login": "ada"}
    extra = {"catalog": "lake"}
    expected = connection.Connection("trino", "h", 8080, "ada", extra=extra)
    for written in (extra, json.dumps(extra)):
        text = json.dumps({**fields, "extra": written})
        assert connection.from_environment("Shop", {"AIRFLOW_CONN_SHOP": text}) == expected


def test_without_the_variable_there_is_no_connection():
    assert connection.from_environment("warehouse", {}) is None


def test_fields_of_airflow_2s_forms_and_typed_texts_are_understood():
    extra = {"extra__snowflake__account": "ab12", "insecure_mode": "true", "connect_timeout": "9"}
    read = connection.from_fields({"conn_type": "snowflake", "extra": extra})
    assert read.extra == {"account": "ab12", "insecure_mode": True, "connect_timeout": 9}
