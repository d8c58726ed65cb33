"""A small project is run whole: by a made profile on PostgreSQL and on DuckDB in one file, and by
Airflow where its own profile names a DuckDB file in its folder.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping

import pytest

from dev.tests import sample
from dev.tests.adapters.test_adapters import INHERITED
from dev.tests.postgres import run_postgres
from dev.tests.scheduled.installation import finish, start, table_of
from include.engine import settings
from include.engine.warehouse.connection import Connection
from include.engine.warehouse.profile import choose_profile, write_profile
from scripts.local.paths import installation_paths

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

# As people have it: the file is in the project's folder.
PROFILE = "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}"
ROWS = "import duckdb; print(duckdb.connect('shop.duckdb').sql('select * from orders').fetchall())"

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


def test_airflow_runs_a_project_whose_profile_names_a_file_in_its_folder(tmp_path, dbt_of):
    project, dbt = tmp_path / "shop", dbt_of("duckdb")
    for name, text in {**PROJECT, "profiles.yml": PROFILE}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    given = {
        "DBT_EXECUTABLE": str(dbt),
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_MANIFEST": str(tmp_path / "manifest" / "manifest.json"),
        "DBT_RUNS": str(tmp_path / "runs"),
        "DAG_ARGUMENTS": json.dumps({"max_active_tasks": 1, "default_args": {"retries": 0}}),
    }
    at = installation_paths(str(tmp_path / "state"), str(sample.DAGS))
    code, output = finish(start("run", at=at, environment=given))
    ran = ("seed.shop.raw", "model.shop.orders", "test.shop.orders", "model.shop.total")
    assert code == 0, output
    assert table_of(output) == dict.fromkeys(("check_dbt", *ran, "run_results"), "success")
    assert "In the warehouse now" not in output
    argv = [dbt.with_name("python"), "-c", ROWS]
    found = subprocess.run(argv, cwd=project, stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout == "[(1, 10), (2, 20)]\n"
