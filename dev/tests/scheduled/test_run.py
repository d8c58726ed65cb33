"""The whole DAG, run by `make run`'s command on the embedded Postgres with the real dbt."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from dev.tests.scheduled import jaffle_shop
from dev.tests.scheduled.installation import finish, processes_of, start, table_of
from include.engine import settings
from include.engine.manifest import records
from include.engine.plan.dags import plan_dags
from include.engine.plan.tasks import Options
from scripts.local import postgres, programs
from scripts.local.environment import load_secrets
from scripts.local.paths import Paths


@pytest.fixture(scope="module")
def first_run(at: Paths) -> tuple[int, str]:
    """Exit code and output of the first run in an empty installation."""
    result = finish(start("run", at=at), timeout=900)
    print(result[1])
    return result


@pytest.fixture(scope="module")
def ask(at: Paths, first_run) -> Iterator[Callable[[str], list[tuple]]]:
    """Put a query to the warehouse as the run has left it."""
    keys = load_secrets(at)
    postgres.start(at, keys, "test")
    with postgres.cursor(at, keys, "warehouse") as cursor:

        def rows(query: str) -> list[tuple]:
            cursor.execute(query)
            return cursor.fetchall()

        yield rows
    postgres.stop(at)


def planned() -> set[str]:
    (dag,) = plan_dags(records.load_manifest(settings.load().manifest), Options())
    return {*(task.id for task in dag.tasks), "run_results"}


def test_every_task_of_the_plan_succeeds(first_run: tuple[int, str]) -> None:
    code, output = first_run
    assert table_of(output) == dict.fromkeys(planned(), "success")
    assert code == 0


def test_nothing_is_left_running(first_run: tuple[int, str], at: Paths) -> None:
    assert processes_of(at) == []
    assert not at.sockets.exists()


def test_both_databases_are_of_the_postgresql_that_was_asked_for(ask, at: Paths) -> None:
    """`make test-postgres POSTGRES=…`; the one of the wheel otherwise."""
    number = "show server_version_num"
    with postgres.cursor(at, load_secrets(at), "airflow") as metadata:
        metadata.execute(number)
        found = [*ask(number), metadata.fetchone()]
    assert [int(text) // 10000 for (text,) in found] == [programs.version()] * 2


def test_every_relation_has_the_rows_of_the_seeds(ask) -> None:
    expected = jaffle_shop.rows()
    assert {name: ask(f"select count(*) from {name}")[0][0] for name in expected} == expected


def test_orders_hold_the_net_revenue_of_their_payments(ask) -> None:
    found = ask("select order_id::text, net_revenue from analytics.orders")
    assert dict(found) == jaffle_shop.net_revenue()


def test_customers_hold_what_they_paid(ask) -> None:
    found = ask("select customer_id, lifetime_revenue from analytics.customers")
    assert dict(found) == jaffle_shop.customer_revenue()


def test_products_hold_their_sales(ask) -> None:
    found = ask("select product_id, units_sold, sales_amount from analytics.products")
    assert {sku: (units, amount) for sku, units, amount in found} == jaffle_shop.product_sales()


def test_daily_revenue_holds_every_day_with_orders(ask) -> None:
    found = ask("select date_day::text, net_revenue from analytics.daily_revenue")
    assert dict(found) == jaffle_shop.daily_revenue()


def test_customer_retention_holds_cohorts_and_those_who_came_back(ask) -> None:
    found = ask(
        "select cohort_month::text, order_month::text, cohort_size, active_customers,"
        " retention_rate from analytics.customer_retention"
    )
    expected = jaffle_shop.retention()
    assert {(first, month): (size, active) for first, month, size, active, _ in found} == expected
    assert {rate - round(Decimal(active) / size, 4) for _, _, size, active, rate in found} == {0}


def test_the_unit_tests_of_the_models_pass(ask, at: Paths, tmp_path) -> None:
    """They are not in the DAG by default, as their inputs are fixed: this is where they run."""
    config = settings.load()
    warehouse = {
        "WAREHOUSE_HOST": str(at.postgres_socket),
        "WAREHOUSE_USER": "warehouse",
        "WAREHOUSE_DATABASE": "warehouse",
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": load_secrets(at)["warehouse"],
    }
    places = {
        "DBT_PROJECT_DIR": str(config.project_dir),
        "DBT_PROFILES_DIR": str(config.profiles_dir),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
        "DBT_LOG_PATH": str(tmp_path / "logs"),
    }
    subprocess.run(
        [config.dbt_executable, "test", "--select", "test_type:unit"],
        env=os.environ | warehouse | places,
        check=True,
    )
    results = json.loads((tmp_path / "target" / "run_results.json").read_bytes())["results"]
    assert {result["unique_id"].split(".")[2]: result["status"] for result in results} == {
        "daily_revenue": "pass",
        "int_payments_pivoted_to_orders": "pass",
    }
