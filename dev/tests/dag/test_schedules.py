"""The DAGs that dbt's YAML asks for, as Airflow reads them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import (
    AssetAll,
    AssetAny,
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
)

from dev.tests.conftest import in_task_process

STAGING = ("stg_jaffle_shop__customers", "stg_jaffle_shop__orders", "stg_stripe__payments")


def marts(airflow: dict) -> dict[str, dict]:
    names = ("orders", "products", "customers.v1", "customers.v2", "daily_revenue")
    return {f"model.jaffle_shop.{name}": airflow for name in (*names, "customer_retention")}


def test_marts_by_assets_await_what_they_read_of_the_base_dag(read, dag):
    bag = read(marts({"schedule": "assets", "dag": "marts"}))
    assert bag.import_errors == {}
    assert sorted(bag.dags) == ["dbt_dag", "dbt_dag__marts"]
    found = bag.dags["dbt_dag__marts"]
    condition = found.timetable.asset_condition
    assert isinstance(condition, AssetAll)
    assert sorted(asset.name for asset in condition.objects) == [
        "model.jaffle_shop.int_order_items_priced",
        *(f"model.jaffle_shop.{name}" for name in STAGING[:2]),
        "model.jaffle_shop.stg_jaffle_shop__products",
        "model.jaffle_shop.stg_stripe__payments",
    ]
    assert "**Reads** what `dbt_dag` builds: `model.jaffle_shop.int_order_items_priced`, " in (
        found.doc_md
    )
    assert "exposure.jaffle_shop.revenue_dashboard" in found.task_ids
    ids = [*bag.dags["dbt_dag"].task_ids, *found.task_ids]
    # Each of them has a first and a last task of its own.
    assert sorted(ids) == sorted([*dag.task_ids, "check_dbt", "run_results"])
    inlets = found.get_task("model.jaffle_shop.products").inlets
    assert sorted(asset.name for asset in inlets) == [
        "model.jaffle_shop.int_order_items_priced",
        "model.jaffle_shop.stg_jaffle_shop__products",
    ]


def test_a_dag_that_only_other_dags_of_the_project_start_begins_unpaused(read):
    """It then runs as they do. What has a time of its own, or waits for a source, may run alone."""
    said = {
        "model.jaffle_shop.products": {"schedule": "assets", "dag": "follows"},
        "model.jaffle_shop.orders": {"schedule": "@hourly or assets", "dag": "either"},
        "model.jaffle_shop.daily_revenue": {"schedule": "@hourly"},
        "model.jaffle_shop.stg_jaffle_shop__orders": {"schedule": "any asset", "dag": "loaded"},
        "seed.jaffle_shop.raw_orders": {"schedule": "none", "dag": "by_hand"},
    }
    bag = read(said | {"source.jaffle_shop.jaffle_shop.orders": {"asset": "s3://raw/orders"}})
    assert bag.import_errors == {}
    assert {dag_id: dag.is_paused_upon_creation for dag_id, dag in bag.dags.items()} == {
        "dbt_dag": None,
        "dbt_dag__assets": False,
        "dbt_dag__by_hand": None,
        "dbt_dag__either": None,
        "dbt_dag__follows": False,
        "dbt_dag__hourly": None,
        "dbt_dag__loaded": None,
    }


@pytest.mark.parametrize(
    ("schedule", "dag_id", "expected"),
    [
        ("0 6 * * 1", "0_6_x_x_1", CronTriggerTimetable("0 6 * * 1", timezone="UTC")),
        ("@hourly", "hourly", CronTriggerTimetable("@hourly", timezone="UTC")),
        (
            "0 6 * * * Europe/Berlin",
            "0_6_x_x_x_Europe_Berlin",
            CronTriggerTimetable("0 6 * * *", timezone="Europe/Berlin"),
        ),
        ("PT6H", "PT6H", DeltaTriggerTimetable(timedelta(hours=6))),
    ],
)
def test_a_time_is_airflows_own_timetable(read, schedule, dag_id, expected):
    bag = read({"model.jaffle_shop.products": {"schedule": schedule}})
    assert bag.import_errors == {}
    assert bag.dags[f"dbt_dag__{dag_id}"].timetable == expected


@pytest.mark.parametrize(
    ("schedule", "dag_id", "expected"),
    [
        ("@hourly", "hourly", CronDataIntervalTimetable("@hourly", timezone="UTC")),
        ("PT6H", "PT6H", DeltaDataIntervalTimetable(timedelta(hours=6))),
    ],
)
def test_with_a_microbatch_model_it_is_one_with_data_intervals(read, schedule, dag_id, expected):
    microbatch = {"materialized": "incremental", "incremental_strategy": "microbatch"}
    bag = read({"model.jaffle_shop.products": {"schedule": schedule}}, microbatch)
    assert bag.import_errors == {}
    assert bag.dags[f"dbt_dag__{dag_id}"].timetable == expected
    assert bag.dags["dbt_dag"].timetable == CronTriggerTimetable("@daily", timezone="UTC")


def test_the_loaders_of_its_sources_may_trigger_the_base_dag_besides_its_time(read):
    raw = {f"source.jaffle_shop.jaffle_shop.{name}": {"asset": False} for name in ("products",)}
    loaded = {"source.jaffle_shop.stripe.payments": {"asset": "s3://raw/payments"}}
    bag = read(raw | loaded, schedule="@daily or any asset")
    assert bag.import_errors == {}
    found = bag.dags["dbt_dag"].timetable
    assert isinstance(found, AssetOrTimeSchedule)
    assert isinstance(found.asset_condition, AssetAny)
    assert found.timetable == CronTriggerTimetable("@daily", timezone="UTC")
    assert sorted((asset.name, asset.uri) for asset in found.asset_condition.objects) == [
        ("s3://raw/payments", "s3://raw/payments"),
        *(
            (f"source.jaffle_shop.jaffle_shop.{name}",) * 2
            for name in ("customers", "order_items", "orders")
        ),
    ]


def test_none_is_no_schedule(read):
    assert read({}, schedule="none").dags["dbt_dag"].timetable.can_be_scheduled is False


def test_a_task_process_builds_only_its_own_task_of_its_own_dag(read):
    said = marts({"schedule": "@weekly"})
    read(said)
    with in_task_process("model.jaffle_shop.orders", "dbt_dag__weekly"):
        bag = read(said)
    assert {dag_id: dag.task_ids for dag_id, dag in bag.dags.items()} == {
        "dbt_dag__weekly": ["model.jaffle_shop.orders"]
    }


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"model.jaffle_shop.orders": {"schedule": "0 99 * * *"}},
            "model.jaffle_shop.orders (models/marts/orders.sql): the schedule '0 99 * * *' is not",
        ),
        (
            {"model.jaffle_shop.orders": {"schedule": "soon"}},
            "model.jaffle_shop.orders (models/marts/orders.sql): meta.airflow.schedule is 'soon'",
        ),
        (
            {"seed.jaffle_shop.raw_orders": {"schedule": "assets"}},
            "dbt_dag__assets would never run: seed.jaffle_shop.raw_orders (seeds/",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_an_import_error_that_names_the_model(read, said, message):
    (error,) = read(said).import_errors.values()
    assert message in error
