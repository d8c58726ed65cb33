"""A Postgres, a small dbt project, and the warm launcher with folders of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from dev.tests.postgres import run_postgres

ROOT = Path(__file__).resolve().parents[3]
INSIDE = ROOT / "include" / "engine" / "inside"
LAUNCHER = ROOT / "include" / "engine" / "warm" / "bin" / "dbt"
DBT = Path(os.environ.get("DBT_EXECUTABLE") or ROOT / ".dbt" / "venv" / "bin" / "dbt")

PROJECT = {
    "dbt_project.yml": """
name: shop
profile: shop
flags: {send_anonymous_usage_stats: false}
models: {shop: {+materialized: table}}
on-run-start: "select pg_sleep({{ env_var('HOOK_SLEEP', '0') }})"
""",
    "profiles.yml": """
shop:
  target: dev
  outputs:
    dev: &postgres
      type: postgres
      host: "{{ env_var('PGHOST') }}"
      port: 5432
      user: postgres
      password: "{{ env_var('DBT_ENV_SECRET_PASSWORD', '') }}"
      dbname: postgres
      schema: "{{ env_var('SHOP_SCHEMA', 'shop') }}"
      threads: 1
    other: {<<: *postgres, schema: other_target}
""",
    "macros/schema.sql": """
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ target.schema }}{{ env_var('SCHEMA_SUFFIX', '') }}
{%- endmacro %}
{% macro answer() %}42{% endmacro %}
""",
    "models/one.sql": "select 1 as id",
    "models/two.sql": "select id, '{{ var('word', 'none') }}' as word from {{ ref('one') }}",
    "models/envy.sql": "select '{{ env_var('ENVY', 'unset') }}' as word, {{ answer() }} as answer",
    "models/sleep.sql": "select 1 as id from pg_sleep(60)",
    "models/nap.sql": "select 1 as id from pg_sleep(3)",
    "models/broken.sql": "select 1 / 0 as id",
    "models/models.yml": """
models:
  - name: one
    description: first
    columns: [{name: id, data_tests: [not_null, {accepted_values: {arguments: {values: [2]}}}]}]
""",
}


@pytest.fixture(scope="session", autouse=True)
def dbt():
    if not DBT.exists():
        pytest.skip(f"no dbt at {DBT}; install it with: make manifest")
    return DBT


@pytest.fixture(scope="session")
def postgres():
    with run_postgres() as folder:
        yield folder


@pytest.fixture(scope="session")
def query(postgres):
    connection = psycopg2.connect(host=str(postgres), user="postgres")
    connection.autocommit = True

    def rows(sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    yield rows
    connection.close()


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "shop")


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """A project that no test changes, so that it is parsed once."""
    return make_project(tmp_path_factory.mktemp("shared") / "shop")


def make_project(folder: Path) -> Path:
    for name, text in PROJECT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@dataclass
class Result:
    code: int
    text: str
    target: Path

    @property
    def cold(self) -> bool:
        return "dbt starts cold" in self.text

    @property
    def parsed(self) -> bool:
        """Did this command parse the project, instead of taking the manifest from memory?"""
        return (self.target / "partial_parse.msgpack").exists()

    def artifact(self, name: str) -> dict:
        """A file of the target folder; the folder's own name is TARGET in it."""
        return json.loads((self.target / name).read_text().replace(str(self.target), "TARGET"))


@dataclass
class Warm:
    """The launcher, with its own folder of sockets."""

    folder: Path
    scratch: Path
    env: dict

    def command(self, project, *arguments, target=None, **env):
        """argv, environment, and target folder of a command: a new one, if none is given."""
        target = target or Path(tempfile.mkdtemp(dir=self.scratch))
        arguments = [*arguments, "--target-path", target, "--log-path", target / "logs"]
        places = {"DBT_PROJECT_DIR": str(project), "DBT_PROFILES_DIR": str(project)}
        return [LAUNCHER, *arguments], self.env | places | env, target

    def run(self, project, *arguments, timeout=240, **env) -> Result:
        return self.wait(self.start(project, *arguments, **env), timeout)

    def start(self, project, *arguments, **env):
        argv, environment, target = self.command(project, *arguments, **env)
        process = subprocess.Popen(
            argv, env=environment, cwd=self.scratch, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        process.target = target
        return process

    def wait(self, process, timeout=240) -> Result:
        text, _ = process.communicate(timeout=timeout)
        return Result(process.returncode, text, process.target)

    def processes(self) -> dict[int, int]:
        """The server and its workers: {pid: its parent's pid}."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                if os.fsencode(self.folder) in b"\0".join(words) and words[1].endswith(
                    b"server.py"
                ):
                    fields = (path / "stat").read_text().rpartition(")")[2].split()
                    if fields[0] != "Z":
                        found[int(path.name)] = int(fields[1])
            except (OSError, IndexError):
                continue
        return found

    def servers(self) -> list[int]:
        found = self.processes()
        return [pid for pid, above in found.items() if above not in found]

    def stop(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):  # without its server a worker ends
                os.kill(pid, signal.SIGKILL)


def make_warm(postgres, scratch: Path) -> Warm:
    folder = Path(tempfile.mkdtemp(prefix="w-", dir="/tmp"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DBT_", "AIRFLOW", "PYTHON"))}
    env = kept | {
        "DBT_EXECUTABLE": str(DBT),
        "DBT_WARM_DIR": str(folder),
        "DBT_WARM_IDLE": "900",
        "DBT_USE_COLORS": "false",
        "PGHOST": str(postgres),
    }
    return Warm(folder, scratch, env)


@pytest.fixture(scope="session")
def warm(postgres, tmp_path_factory):
    """A server that lives as long as the tests; for tests that do it no harm."""
    yield from _warm(postgres, tmp_path_factory.mktemp("warm"))


@pytest.fixture
def own_warm(postgres, tmp_path):
    """A server for one test."""
    (tmp_path / "scratch").mkdir()
    yield from _warm(postgres, tmp_path / "scratch")


def _warm(postgres, scratch):
    warm = make_warm(postgres, scratch)
    yield warm
    warm.stop()
    shutil.rmtree(warm.folder, ignore_errors=True)


def eventually(condition, seconds=30.0):
    """The first true value of `condition()`, or its last value after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return value
