"""What the verbs do when something is not as it should be, with a stand-in for dbt."""

from __future__ import annotations

import shutil
import signal
import time

import pytest

from dev.tests.scheduled.installation import finish, processes_of, start, wait_for
from include.engine import settings


@pytest.fixture(autouse=True)
def nothing_is_left_running(at):
    yield
    assert processes_of(at) == []


@pytest.mark.parametrize("sign_of_life", ["==> Postgres", "==> Airflow ..."])
def test_an_interrupt_leaves_nothing_running(at, stub_dbt, sign_of_life):
    process = start("run", at=at, environment=stub_dbt | {"STUB_SLEEPS": "60"})
    wait_for(sign_of_life, process)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    code, output = finish(process, timeout=60)
    assert (code, output.splitlines()[-1]) == (130, "Interrupted.")
    assert processes_of(at) == []


def test_what_a_killed_run_leaves_is_stopped_by_down(at, local, stub_dbt):
    process = start("run", at=at, environment=stub_dbt)
    wait_for("==> Airflow ...", process)
    time.sleep(1)
    process.kill()
    process.wait()
    assert processes_of(at) != []
    code, output = local("down")
    assert (code, output) == (0, "Stopped: api-server, dag-processor, postgres, scheduler.\n")


def test_without_a_project_and_a_manifest_nothing_is_started(local, stub_dbt, tmp_path):
    variables = {"DBT_MANIFEST": str(tmp_path / "m"), "DBT_PROJECT_DIR": str(tmp_path / "none")}
    code, output = local("run", environment=stub_dbt | variables)
    expected = f"No dbt project in {tmp_path / 'none'}, and no manifest at {tmp_path / 'm'}."
    assert (code, output.strip()) == (1, expected)


def test_a_project_that_dbt_refuses_keeps_the_last_good_manifest(local, tmp_path):
    project, manifest = tmp_path / "dbt", tmp_path / "manifest.json"
    shutil.copytree(settings.load().project_dir, project)
    shutil.copy(settings.load().manifest, manifest)
    (project / "models" / "marts" / "orders.sql").write_text("select {{ unclosed")
    good = manifest.read_bytes()
    variables = {"DBT_PROJECT_DIR": project, "DBT_PROFILES_DIR": project, "DBT_MANIFEST": manifest}
    code, output = local("run", environment={name: str(path) for name, path in variables.items()})
    assert code == 1
    assert "Compilation Error in model orders (models/marts/orders.sql)" in output
    assert "could not be built" in output.splitlines()[-1]
    assert manifest.read_bytes() == good


def test_data_of_another_postgres_is_left_alone(local, at, stub_dbt):
    version = at.postgres_data / "PG_VERSION"
    version.parent.mkdir(parents=True, exist_ok=True)
    before = version.read_text() if version.exists() else None
    version.write_text("16\n")
    code, output = local("run", environment=stub_dbt)
    if before:
        version.write_text(before)
    else:
        shutil.rmtree(version.parent)
    assert code == 1
    assert "was made by PostgreSQL 16 and the server is 18" in output
