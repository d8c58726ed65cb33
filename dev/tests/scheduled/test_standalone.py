"""`make standalone`: the CLI's standalone Airflow, with warehouse, connection and plugin."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request

import pytest

from dev.tests import sample
from dev.tests.scheduled.installation import CLEAN, processes_of, triggered
from include.engine import settings
from scripts.local import postgres
from scripts.local.api import Api
from scripts.local.environment import load_secrets
from scripts.local.paths import Paths
from scripts.local.ports import free_port

PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
CLI = Path(__file__).with_name("astro")
LOG = "standalone.log"
VENVS = {".venv": ".airflow/venv", ".airflow/venv": ".airflow/venv", ".dbt/venv": ".dbt/venv"}


@pytest.fixture(scope="module")
def at(tmp_path_factory) -> Paths:
    """A clone of the project in which the CLI has made its .venv."""
    folder = tmp_path_factory.mktemp("clone") / "a project"
    for name in ("dags", "plugins", "include/engine", "scripts"):
        shutil.copytree(
            settings.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__*c*__")
        )
    for name in ("include/__init__.py", "requirements-dbt.txt"):
        shutil.copyfile(settings.ROOT / name, folder / name)
    sample.write_project(folder / "include" / "dbt")
    for name, made in VENVS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to((settings.ROOT / made).resolve())
    return Paths(folder, folder / ".airflow", folder / "dags")


def start(at: Paths, path: str, **environment: str) -> subprocess.Popen[bytes]:
    """What `make standalone` starts, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.local", "standalone"],
        cwd=at.project,
        env=CLEAN | {"PATH": path, "DBT_SELECT": "raw_customers"} | environment,
        stdout=(at.project / LOG).open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def printed(at: Paths) -> list[str]:
    return (at.project / LOG).read_text().splitlines()


@pytest.fixture(scope="module")
def api(at: Paths) -> Iterator[Api]:
    """The API of the CLI's Airflow, which Ctrl-C ends, with all that was started."""
    port = free_port(0)
    path = os.pathsep.join((str(CLI), os.environ["PATH"]))
    process = start(at, path, ASTRO_PORT=str(port))
    found, deadline = Api(port), time.monotonic() + 300
    try:
        while not found.healthy(PARTS):
            assert process.poll() is None, printed(at)
            assert time.monotonic() < deadline, printed(at)
            time.sleep(1)
        found.log_in()
        while not found.dags():
            assert time.monotonic() < deadline, found.import_errors()
            time.sleep(1)
        yield found
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert (process.returncode, printed(at)[-1]) == (130, "Interrupted.")
    assert processes_of(at) == []


def test_without_the_cli_it_says_what_starts_airflow(at):
    process = start(at, "/usr/bin:/bin")
    assert process.wait(timeout=60) == 1
    assert printed(at) == ["", "There is no Astro CLI here. Start an Airflow without it: make up"]


def test_a_run_builds_in_the_embedded_warehouse(api, at):
    api.unpause()
    assert triggered(api, "one") == "success"
    with postgres.cursor(at, load_secrets(at), "warehouse") as ask:
        ask.execute("select count(*) > 0 from analytics_raw.raw_customers")
        assert ask.fetchone() == (True,)


def test_the_docs_and_the_tabs_are_in_airflows_ui(api):
    (plugin,) = api.call("GET", "/api/v2/plugins")["plugins"]
    assert plugin["name"] == "dbt_docs"
    page = Request(f"{api.url}/dbt/docs/", headers={"Authorization": f"Bearer {api.token}"})
    assert api.open(page, timeout=60).status == 200
