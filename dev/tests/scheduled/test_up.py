"""`make up` on a port that is taken, runs with its Airflow, and `make down`; dbt is a stand-in."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import urllib.request
from pathlib import Path

import psutil
import pytest

from dev.tests.scheduled.installation import (
    dag_arguments,
    finish,
    processes_of,
    start,
    table_of,
)
from dev.tests.shapes.projects import write_project
from include.engine import settings
from scripts.local import postgres, processes
from scripts.local.environment import load_secrets


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    """A manifest that a test may break."""
    return Path(shutil.copy(settings.load().manifest, tmp_path_factory.mktemp("manifest")))


@pytest.fixture(scope="module")
def environment(stub_dbt, manifest, tmp_path_factory) -> dict[str, str]:
    """A shell with a proxy and another Airflow's settings; tasks sleep on a file's word."""
    return {
        **stub_dbt,
        **dag_arguments(retries=0, pool="ours"),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor",
        "AIRFLOW_HOME": "/nowhere",
        "DBT_MANIFEST": str(manifest),
        "DBT_PROJECT_DIR": str(tmp_path_factory.mktemp("no project")),
        "STUB_FAILS": "seed --select raw_orders",
    }


@pytest.fixture(scope="module")
def url(at, environment) -> str:
    """Where the Airflow of `up` is, which was asked for a port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        code, output = finish(start("up", "--port", str(port), at=at, environment=environment))
    assert code == 0, output
    assert f"Port {port} is in use" in output
    assert f"==> Made the pool ours with {os.cpu_count()} slots." in output
    return output.split("Airflow: ", 1)[1].split(" ", 1)[0]


def test_the_ui_is_there(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert b"<title>Airflow</title>" in opener.open(url).read()


def test_the_scheduler_starts_last_when_the_api_server_answers_tasks(at, url):
    started = {r.name: psutil.Process(r.pid).create_time() for r in processes.recorded(at)}
    assert max(started, key=started.get) == "scheduler"
    assert len(started) == 5


def test_dags_are_saved_compressed(at, url):
    """Or a click on the graph of a large DAG fills the API server's memory."""
    with postgres.cursor(at, load_secrets(at), "airflow") as cursor:
        cursor.execute("select data::text, data_compressed is null from serialized_dag")
        assert set(cursor.fetchall()) == {("null", False)}


def test_a_second_up_says_where_the_first_is(local, url):
    assert local("up") == (0, f"Airflow is running already: {url}\n")


def test_a_failed_task_is_shown_with_its_log_and_fails_the_run(local, url, environment):
    code, output = local("run", environment=environment)
    states = table_of(output)
    assert f"Using the Airflow of make up: {url}" in output
    assert "Made the pool" not in output
    assert code == 1
    assert states["seed.jaffle_shop.raw_orders"] == "failed"
    assert states["seed.jaffle_shop.raw_products"] == "success"
    assert states["model.jaffle_shop.orders"] == "upstream_failed"
    log = Path(output.split("log: ", 1)[1].split("\n", 1)[0])
    assert "dbt seed --select raw_orders" in log.read_text()
    project = environment["DBT_PROJECT_DIR"]
    assert f"    | in {project}\n    | dbt seed --select raw_orders\n" in output


def test_an_interrupt_ends_the_run_and_leaves_airflow_as_it_was(at, url, environment):
    process = start("run", at=at, environment=environment)
    while "==> Running" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, output = finish(process, timeout=60)
    assert (code, output.splitlines()[-1]) == (130, "Interrupted.")
    with postgres.cursor(at, load_secrets(at), "airflow") as ask:
        ask.execute("select state from dag_run where run_type = 'manual' order by id desc limit 1")
        assert ask.fetchone() == ("failed",)
    assert start("up", at=at).communicate()[0] == f"Airflow is running already: {url}\n"


def test_a_run_has_the_manifest_built_anew_if_the_project_has_changed(
    local, url, environment, manifest
):
    good = manifest.read_bytes()
    project = write_project(
        Path(environment["DBT_PROJECT_DIR"]), {"models/a.sql": "select 1 as id"}
    )
    profiles = {"DBT_PROFILES_DIR": environment["DBT_PROJECT_DIR"]}
    code, output = local("run", environment=environment | profiles)
    shutil.rmtree(project)
    manifest.write_bytes(good)
    assert code == 0, output
    assert f"==> The manifest of {project}" in output
    ran = ("check_dbt", "model.shapes.a", "run_results")
    assert table_of(output) == dict.fromkeys(ran, "success")


def test_a_broken_manifest_is_reported_in_the_words_of_the_import_error(
    local, url, environment, manifest
):
    good = manifest.read_bytes()
    manifest.write_text('{"metadata": ')
    code, output = local("run", environment=environment)
    manifest.write_bytes(good)
    assert code == 1
    assert f"The manifest at {manifest} is not JSON" in output
    assert "Build it with: make manifest" in output


def test_down_stops_what_up_started(at, local, url):
    names = "api-server, dag-processor, postgres, scheduler, triggerer"
    assert local("down") == (0, f"Stopped: {names}.\n")
    assert processes_of(at) == []
    assert local("down") == (0, "Nothing is running.\n")
