"""A small project is run whole by a made profile: on PostgreSQL, and on DuckDB in one file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping

import pytest

from dev.tests.adapters.test_adapters import INHERITED
from dev.tests.postgres import run_postgres
from include.engine import settings
from include.engine.warehouse.connection import Connection
from include.engine.warehouse.profile import choose_profile, write_profile

PROJECT = {
    "dbt_project.yml": "name: shop\nprofile: shop\nflags: {send_anonymous_usage_stats: false}\n"
    "models: {+materialized: table}\n",
    "seeds/raw.csv": "id,price\n1,10\n2,20\n",
    "models/orders.sql": "select id, price from {{ ref('raw') }}",
    "models/total.sql": "{{ config(schema='marts') }} select sum(price) as total "
    "from {{ ref('orders') }}",
    "models/models.yml": "models: [{name: orders, columns: [{name: id, data_tests: [unique]}]}]",
}
TOTAL = "{% macro total() %}{{ print(run_query('select total from ' ~ target.schema ~ "
TOTAL += "'_marts.total').rows[0][0] | int) }}{% endmacro %}"

RunDbt = Callable[..., subprocess.Popen]


@pytest.fixture
def run_dbt(tmp_path, dbt_of) -> Callable[[str, Connection], RunDbt]:
    """Starts dbt on the project, with the profile that is made of a connection."""
    for name, text in {**PROJECT, "macros/total.sql": TOTAL}.items():
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_text(text)

    def of(adapter: str, connection: Connection) -> RunDbt:
        dbt = dbt_of(adapter)
        given = {"DBT_PROJECT_DIR": str(tmp_path / "shop"), "DBT_EXECUTABLE": str(dbt)}
        profile = choose_profile(settings.load(given), connection, INHERITED)
        profiles = write_profile(profile, tmp_path / "profile")

        def start(*argv: str, target: str = "target") -> subprocess.Popen:
            folders = ("--profiles-dir", profiles, "--target-path", tmp_path / target)
            return subprocess.Popen(
                [dbt, *argv, *folders],
                cwd=tmp_path / "shop",
                env=environment(profile.environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

        return start

    return of


def environment(made: Mapping[str, str]) -> dict[str, str]:
    return {**INHERITED, "DBT_USE_COLORS": "false", **made}


def output(process: subprocess.Popen) -> str:
    """What the command printed; it has to go well."""
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def test_on_postgres(run_dbt):
    with run_postgres() as socket:
        connection = Connection("postgres", str(socket), None, "postgres", "none", "postgres")
        start = run_dbt("postgres", connection)
        assert "PASS=4 WARN=0 ERROR=0 SKIP=0" in output(start("build"))
        assert output(start("--quiet", "run-operation", "total")).splitlines() == ["30"]


def test_on_duckdb_with_commands_that_wait_for_each_other(run_dbt, tmp_path):
    """Each task is a process of its own, and DuckDB lets one at a time write to its file."""
    file = tmp_path / "data" / "shop.duckdb"
    file.parent.mkdir()
    start = run_dbt("duckdb", Connection("duckdb", str(file)))
    assert "PASS=4 WARN=0 ERROR=0 SKIP=0" in output(start("build"))
    for process in [start("run", "--select", "orders", target=f"target{i}") for i in range(3)]:
        output(process)
    assert output(start("--quiet", "run-operation", "total")).splitlines() == ["30"]
