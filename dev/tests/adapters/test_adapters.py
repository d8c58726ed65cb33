"""What is made of an Airflow connection is what the real adapter's credentials take."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from dev.tests.adapters.cases import CASES
from include.engine import settings
from include.engine.warehouse.adapters import ADAPTERS
from include.engine.warehouse.connection import from_fields
from include.engine.warehouse.profile import choose_profile, write_profile

# What dbt needs of this process' environment; a person's own credentials are none of it.
INHERITED = {
    name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
}


def test_every_adapter_has_a_case():
    assert {case.adapter for case in CASES.values()} == set(ADAPTERS)


@pytest.mark.parametrize("name", CASES)
def test_a_connection_gives_the_adapters_credentials(name, tmp_path, dbt_of):
    case = CASES[name]
    dbt = dbt_of(case.adapter)
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    config = settings.load({"DBT_PROJECT_DIR": str(tmp_path), "DBT_EXECUTABLE": str(dbt)})
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
