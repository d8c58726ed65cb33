"""What dbt's YAML may say of a DAG, and what it means."""

from __future__ import annotations

import pytest

from dev.tests.tiny import node
from include.engine.manifest.records import ManifestError
from include.engine.plan import schedules
from include.engine.plan.records import Asset, DagRequest, Schedule

DAILY = Schedule("@daily")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@daily", Schedule("@daily")),
        ("0 6 * * 1-5", Schedule("0 6 * * 1-5")),
        ("*/15 * * * *", Schedule("*/15 * * * *")),
        ("PT6H", Schedule("PT6H")),
        ("assets", Schedule(assets="all")),
        ("any asset", Schedule(assets="any")),
        ("@daily or assets", Schedule("@daily", "all")),
        ("0 6 * * * or any asset", Schedule("0 6 * * *", "any")),
        ("none", Schedule()),
        ("@once", Schedule("@once")),
        ("0 6 * * * Europe/Berlin", Schedule("0 6 * * *", timezone="Europe/Berlin")),
        ("0 6 * * * UTC", Schedule("0 6 * * *")),
        ("@daily America/New_York or assets", Schedule("@daily", "all", "America/New_York")),
        ("0 6 * * * Europe/Atlantis", None),
        ("0 6 * * * ../etc/passwd", None),
        ("PT6H Europe/Berlin", None),
        ("assets Europe/Berlin", None),
        (f"{','.join(map(str, range(60)))} {','.join(map(str, range(24)))} * * *", None),
        ("@once or assets", None),
        ("@fortnightly", None),
        ("0 6 * *", None),
        ("PT0S", None),
        ("P", None),
        ("assets or @daily", None),
        ("@daily or @weekly", None),
        ("", None),
        (6, None),
        (["@daily"], None),
    ],
)
def test_a_schedule_is_a_time_assets_or_both(text, expected):
    assert schedules.parse_schedule(text) == expected


@pytest.mark.parametrize(
    ("airflow", "dag_id", "asked"),
    [
        ({}, "dbt_dag", None),
        ({"schedule": "@daily"}, "dbt_dag", None),
        ({"schedule": "@weekly"}, "dbt_dag__weekly", Schedule("@weekly")),
        ({"schedule": "0 6 * * 1-5"}, "dbt_dag__0_6_x_x_1to5", Schedule("0 6 * * 1-5")),
        ({"schedule": "*/15 * * * *"}, "dbt_dag__xby15_x_x_x_x", Schedule("*/15 * * * *")),
        ({"schedule": "PT6H"}, "dbt_dag__PT6H", Schedule("PT6H")),
        (
            {"schedule": "0 6 * * * Europe/Berlin"},
            "dbt_dag__0_6_x_x_x_Europe_Berlin",
            Schedule("0 6 * * *", timezone="Europe/Berlin"),
        ),
        ({"schedule": "assets"}, "dbt_dag__assets", Schedule(assets="all")),
        ({"schedule": "any asset"}, "dbt_dag__any_asset", Schedule(assets="any")),
        ({"schedule": "@hourly", "dag": "fast"}, "dbt_dag__fast", Schedule("@hourly")),
        ({"schedule": "@daily", "dag": "other"}, "dbt_dag__other", DAILY),
        ({"dag": "fast"}, "dbt_dag__fast", None),
    ],
)
def test_a_dag_is_named_by_its_schedule_unless_it_is_given_a_name(airflow, dag_id, asked):
    found = schedules.dag_request(node("model.shop.a", airflow=airflow), DAILY)
    assert found == DagRequest(dag_id, asked, "model.shop.a (models/a.sql)")


@pytest.mark.parametrize(
    ("airflow", "message"),
    [
        ({"schedule": "now and then"}, "meta.airflow.schedule is 'now and then'; it takes a cron"),
        ({"schedule": 5}, "meta.airflow.schedule is 5; it takes a cron text,"),
        ({"dag": "a b"}, "meta.airflow.dag is 'a b'; it takes letters, digits, `_` and `-`."),
        ({"dag": 1}, "meta.airflow.dag is 1; it takes letters"),
        ({"asset": False}, "meta.airflow.asset is False; it takes a name of at most 1500"),
        ({"asset": {"name": "x"}}, "meta.airflow.asset is {'name': 'x'}; it takes a name"),
        ({"asset": "airflow://x"}, "meta.airflow.asset is 'airflow://x'; it takes a name"),
        ({"asset": "s3://[x"}, "meta.airflow.asset is 's3://[x'; it takes a name"),
        ({"asset": "self"}, "meta.airflow.asset is 'self'; it takes a name"),
        ({"asset": " "}, "meta.airflow.asset is ' '; it takes a name"),
    ],
)
def test_what_it_cannot_be_is_an_error_that_names_the_node_and_its_file(airflow, message):
    wrong = node("model.shop.a", airflow=airflow)
    with pytest.raises(ManifestError) as error:
        schedules.dag_request(wrong, DAILY)
        schedules.node_asset(wrong)
    assert str(error.value).startswith(f"model.shop.a (models/a.sql): {message}")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Asset("source.shop.raw.a", "source.shop.raw.a", "source.shop.raw.a")),
        ({"asset": "s3://b/a"}, Asset("source.shop.raw.a", "s3://b/a", "s3://b/a")),
        (
            {"asset": {"name": "a", "uri": "s3://b/a"}},
            Asset("source.shop.raw.a", "a", "s3://b/a"),
        ),
        ({"asset": False}, None),
    ],
)
def test_an_asset_has_dbts_name_unless_it_is_given_another(given, expected):
    assert schedules.node_asset(node("source.shop.raw.a", airflow=given)) == expected
