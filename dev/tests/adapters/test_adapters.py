"""What is made of an Airflow connection is what the real adapter takes, and dbt reads a project by
it; also without any connection.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.tests.adapters.cases import CASES
from dev.tests.adapters.test_build import NOWHERE
from include.engine import settings
from include.engine.warehouse.adapters import ADAPTERS
from include.engine.warehouse.connection import from_fields
from include.engine.warehouse.profile import choose_profile, write_profile

PROJECT = {
    "dbt_project.yml": "name: shop\nprofile: shop\nflags: {send_anonymous_usage_stats: false}\n",
    "models/orders.sql": "select 1 as id",
    "models/grows.sql": "{{ config(materialized='incremental') }} "
    "select * from {{ ref('orders') }}",
    "models/models.yml": "models: [{name: orders, columns: [{name: id, data_tests: [not_null]}]}]",
}
NODES = ["model.shop.grows", "model.shop.orders", "test.shop.not_null_orders_id.84ef11d8fe"]
# What dbt needs of this process' environment; a person's own credentials are none of it.
INHERITED = {
    name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
}


@pytest.fixture
def project(tmp_path) -> Path:
    for name, text in PROJECT.items():
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_text(text)
    return tmp_path / "shop"


def test_every_adapter_has_a_case():
    assert {case.adapter for case in CASES.values()} == set(ADAPTERS)


@pytest.mark.parametrize("name", CASES)
def test_a_connection_gives_the_adapters_credentials(name, project, tmp_path, dbt_of):
    case = CASES[name]
    dbt = dbt_of(case.adapter)
    config = settings.load({"DBT_PROJECT_DIR": str(project), "DBT_EXECUTABLE": str(dbt)})
    profile = choose_profile(config, from_fields(case.connection), INHERITED)
    folder = write_profile(profile, tmp_path / "profile")
    assert not [text for text in ("hunter2", "t0ken", "MIIE") if text in profile.text]
    done = subprocess.run(
        [dbt.with_name("python"), Path(__file__).with_name("credentials.py"), folder, "shop"],
        env={**INHERITED, **profile.environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    credentials = json.loads(done.stdout.splitlines()[-1])
    assert {key: credentials.get(key) for key in case.credentials} == case.credentials


@pytest.mark.parametrize("with_connection", [True, False])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_manifest_is_built_without_the_warehouse(
    adapter, with_connection, project, tmp_path, dbt_of
):
    connection = next(case.connection for case in CASES.values() if case.adapter == adapter)
    variables = {
        "DBT_PROJECT_DIR": str(project),
        "DBT_EXECUTABLE": str(dbt_of(adapter)),
        "DBT_MANIFEST": str(tmp_path / "manifest" / "manifest.json"),
        **({"AIRFLOW_CONN_WAREHOUSE": json.dumps(connection)} if with_connection else {}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "include.engine.manifest.build"],
        cwd=settings.ROOT,
        env={**INHERITED, **NOWHERE, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "ERROR" not in done.stdout
    print(done.stdout)
    manifest = json.loads(Path(variables["DBT_MANIFEST"]).read_bytes())
    assert sorted(manifest["nodes"]) == NODES
    assert manifest["metadata"]["adapter_type"] == adapter
