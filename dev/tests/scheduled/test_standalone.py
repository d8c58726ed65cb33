"""The CLI's standalone mode: `make standalone` brings warehouse, connection and plugin, and the
tests run in the environment that the CLI makes. That is made here as the CLI makes it, with uv.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from urllib.request import Request

import pytest

from dev.tests import sample
from dev.tests.scheduled.installation import CLEAN, processes_of, triggered
from include.engine import settings
from scripts.local import postgres
from scripts.local.api import Api
from scripts.local.environment import load_secrets, warehouse
from scripts.local.paths import Paths
from scripts.local.ports import free_port

UV = os.environ.get("UV") or shutil.which("uv")
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
CLI = Path(__file__).with_name("astro.sh")
LOG = "standalone.log"
RUNTIME = {
    "ASTRO_PYTHON": sys.executable,
    "ASTRO_AIRFLOW": version("apache-airflow"),
    "ASTRO_TASK_SDK": version("apache-airflow-task-sdk"),
    "ASTRO_FREEZE": str(settings.ROOT / "dev" / "requirements-dev.txt"),
}
FOLDERS = ("dags", "plugins", "include/engine", "scripts", "tests", ".astro")
FILES = ("include/__init__.py", "requirements-dbt.txt", "requirements.txt", "pyproject.toml")


@pytest.fixture(scope="module")
def at(tmp_path_factory) -> Paths:
    """A clone of the project, with the environments of `make`. The CLI makes its own."""
    folder = tmp_path_factory.mktemp("clone") / "a project"
    for name in FOLDERS:
        shutil.copytree(
            settings.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__*c*__")
        )
    for name in FILES:
        shutil.copyfile(settings.ROOT / name, folder / name)
    sample.write_project(folder / "include" / "dbt")
    for name in (".airflow/venv", ".dbt/venv"):
        (folder / name).parent.mkdir()
        (folder / name).symlink_to((settings.ROOT / name).resolve())
    return Paths(folder, folder / ".airflow", folder / "dags")


@pytest.fixture(scope="module")
def cli(tmp_path_factory) -> dict[str, str]:
    """The environment of a shell that has the CLI, uv, and a pytest of another Python."""
    assert UV, "No uv here, which the CLI needs, too. Run: make test-scheduled"
    folder = tmp_path_factory.mktemp("bin")
    (folder / "astro").write_text(CLI.read_text())
    (folder / "pytest").write_text("#!/bin/sh\necho No module named airflow\nexit 4\n")
    for program in folder.iterdir():
        program.chmod(0o755)
    path = (str(folder), str(Path(UV).resolve().parent), os.environ["PATH"])
    return RUNTIME | {"PATH": os.pathsep.join(path), "ASTRO_PORT": str(free_port(0))}


def astro(at: Paths, cli: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the CLI in another shell than the one of `make standalone`."""
    return subprocess.run(
        ["astro", "dev", *arguments],
        cwd=at.project,
        env=CLEAN | {"DBT_SELECT": "raw_customers"} | cli,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start(at: Paths, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """What `make standalone` starts, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.local", "standalone"],
        cwd=at.project,
        env=CLEAN | {"DBT_SELECT": "raw_customers"} | environment,
        stdout=(at.project / LOG).open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def printed(at: Paths) -> list[str]:
    return (at.project / LOG).read_text().splitlines()


@pytest.fixture(scope="module")
def api(at: Paths, cli: dict[str, str]) -> Iterator[Api]:
    """The API of the CLI's Airflow, which Ctrl-C ends, with all that was started."""
    process = start(at, cli)
    found, deadline = Api(int(cli["ASTRO_PORT"])), time.monotonic() + 300
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
    process = start(at, {"PATH": "/usr/bin:/bin"})
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


@pytest.mark.parametrize("command", ["parse", "pytest"])
def test_the_tests_run_by_the_pytest_of_the_environment_that_the_cli_made(api, at, cli, command):
    """Though another is on PATH. The tests know nothing of `make standalone`'s environment."""
    done = astro(at, cli, command, "--standalone")
    assert (done.returncode, " passed" in done.stdout) == (0, True), done.stdout


def test_the_env_file_names_the_warehouse_of_the_clis_commands(api, at, cli):
    """`astro dev run` has what .env says, and nothing of `make standalone`'s environment."""
    keys = load_secrets(at)
    with postgres.cursor(at, keys, "postgres") as ask:
        ask.execute("create database theirs owner warehouse")
    theirs = json.loads(warehouse(at, keys)) | {"schema": "theirs"}
    env_file = at.project / ".env"
    env_file.write_text(f"AIRFLOW_CONN_WAREHOUSE='{json.dumps(theirs)}'\n")
    try:
        done = astro(at, cli, "run", "tasks", "test", "dbt_dag", "seed.jaffle_shop.raw_customers")
    finally:
        env_file.unlink()
    assert "new_state=success" in done.stdout, done.stdout
    with postgres.cursor(at, keys, "theirs") as ask:
        ask.execute("select count(*) > 0 from analytics_raw.raw_customers")
        assert ask.fetchone() == (True,)
