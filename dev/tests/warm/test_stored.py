"""A cold command, and a new server, take a manifest that another process has parsed: never a stale
one, never another connection's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import DBT, INSIDE
from .test_same_as_cold import differences, plain_log

POD = {"AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}
READS = """{{ config(meta={
    'host': target.host, 'port': target.port, 'user': target['user'], 'schema': target.schema,
    'database': target.database, 'dbname': target.get('dbname'), 'threads': target.threads,
    'role': target.role, 'target': target.name, 'all': target | length, 'var': var('word', 'none'),
    'env_var': env_var('ENVY', 'unset'), 'yaml': env_var('ENVY', 'unset'),
    'static': flags.STATIC_PARSER}) }} select 1 as id"""
PROFILES = """
shop:
  target: dev
  outputs:
    dev: &postgres
      type: postgres
      host: "{{ env_var('PGHOST') }}"
      port: "{{ env_var('SHOP_PORT', '5432') | int }}"
      user: "{{ env_var('SHOP_USER', 'postgres') }}"
      password: "{{ env_var('DBT_ENV_SECRET_PASSWORD', '') }}"
      dbname: "{{ env_var('SHOP_DATABASE', 'postgres') }}"
      schema: "{{ env_var('SHOP_SCHEMA', 'shop') }}"
      role: "{{ env_var('SHOP_ROLE', 'none') }}"
      threads: "{{ env_var('SHOP_THREADS', '1') | int }}"
    other: {<<: *postgres}
"""


class Stored:
    """Commands that no server runs, with a folder for parsed manifests."""

    def __init__(self, warm, folder: Path) -> None:
        self.warm = warm
        self.folder = folder

    def run(self, project, *argv, **env):
        env = POD | {"DBT_MANIFEST_CACHE": str(self.folder)} | env
        return self.warm.run(project, *argv, **env)

    def parsed(self, project, *argv, **env) -> bool:
        result = self.run(project, *(argv or ("-q", "ls")), **env)
        assert (result.code, result.cold) == (0, True), result.text
        return result.parsed

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*")) if self.folder.exists() else []


@pytest.fixture
def stored(warm, tmp_path):
    return Stored(warm, tmp_path / "parsed")


@pytest.fixture(scope="module")
def stored_shop(warm, tmp_path_factory, shop):
    """The project that no test changes, parsed."""
    stored = Stored(warm, tmp_path_factory.mktemp("shop") / "parsed")
    assert stored.parsed(shop)
    return stored


def listed(result) -> dict:
    """The model's names and its `meta`, in what `dbt ls` says."""
    assert result.code == 0, result.text
    (line,) = (line for line in result.text.splitlines() if line.startswith("{"))
    node = json.loads(line)
    return {"database": node["database"], "schema": node["schema"], **node["config"]["meta"]}


LIST = ("-q", "ls", "--resource-type", "model", "--select", "reads", "--output", "json")
KEYS = ("--output-keys", "database", "schema", "config")


def test_another_connection_is_another_manifest(stored, project):
    """Each thing that Jinja can see of it, and each variable and flag, was read while parsing."""
    (project / "models" / "reads.sql").write_text(READS)
    (project / "profiles.yml").write_text(PROFILES)
    first = listed(stored.run(project, *LIST, *KEYS))
    host = stored.warm.env["PGHOST"]
    assert first == {
        "host": host, "port": 5432, "user": "postgres", "schema": "shop", "database": "postgres",
        "dbname": "postgres", "threads": 1, "role": "none", "target": "dev", "var": "none",
        "env_var": "unset", "yaml": "unset", "static": True, "all": first["all"],
    }  # fmt: skip
    changes = [
        ({"PGHOST": "/elsewhere"}, (), {"host": "/elsewhere"}),
        ({"SHOP_PORT": "5433"}, (), {"port": 5433}),
        ({"SHOP_USER": "else"}, (), {"user": "else"}),
        ({"SHOP_DATABASE": "else"}, (), dict.fromkeys(("database", "dbname"), "else")),
        ({"SHOP_SCHEMA": "else"}, (), {"schema": "else"}),
        ({"SHOP_ROLE": "else"}, (), {"role": "else"}),
        ({"SHOP_THREADS": "2"}, (), {"threads": 2}),
        ({"DBT_TARGET": "other"}, (), {"target": "other"}),
        ({"ENVY": "set"}, (), {"env_var": "set", "yaml": "set"}),
        ({"DBT_STATIC_PARSER": "false"}, (), {"static": False}),
        ({}, ("--vars", "{word: hot}"), {"var": "hot"}),
    ]
    for env, words, expected in changes:
        result = stored.run(project, *LIST, *KEYS, *words, **env)
        assert listed(result) == first | expected
        assert result.parsed, expected
    for env, words, expected in changes[-3:]:
        result = stored.run(project, *LIST, *KEYS, *words, **env)
        assert listed(result) == first | expected
        assert not result.parsed, expected
    password = {"DBT_ENV_SECRET_PASSWORD": "changed"}
    assert not stored.run(project, *LIST, *words, **password).parsed, "Jinja cannot see it"


def test_what_differs_in_each_command_is_never_stored(stored, project):
    for word in ("invocation_id[:4]", "run_started_at.strftime('%f')"):
        model = project / "models" / "decided.sql"
        model.write_text(f"{{{{ config(alias='at_' ~ {word}) }}}} select 1 as id")
        said = []
        for _ in range(2):
            result = stored.run(project, "-q", "ls", "--select", "one")
            assert result.parsed
            said.append(result.text.splitlines()[1])
        reads = f"model.shop.decided reads {word.partition('.')[0].partition('[')[0]}"
        assert said == [f"dbt parses in each command: {reads}"] * 2
    assert stored.files() == []


def test_contents_decide_and_not_times_or_places_on_a_disk(stored, project, tmp_path):
    assert stored.parsed(project)
    shutil.copytree(project, tmp_path / "copy")
    shutil.rmtree(project)
    (tmp_path / "copy").rename(project)
    for path in project.rglob("*"):
        os.utime(path, (1, 1))
    assert not stored.parsed(project), "the same files, written again"
    for name in ("models/one.sql", "models/models.yml", "macros/schema.sql", "dbt_project.yml"):
        path = project / name
        text = path.read_text()
        path.write_text(text + "\n")
        os.utime(path, (1, 1))
        assert stored.parsed(project), name
        path.write_text(text)
        assert not stored.parsed(project), name
    (project / "models" / "more.sql").write_text("select 1 as id")
    assert stored.parsed(project)
    (project / "models" / "more.sql").rename(project / "models" / "renamed.sql")
    assert stored.parsed(project)
    (project / "packages.yml").write_text("packages: []\n")
    assert stored.parsed(project)


def test_another_place_is_another_manifest(stored, project, tmp_path):
    """dbt keeps the absolute path of a seed."""
    assert stored.parsed(project)
    shutil.copytree(project, tmp_path / "copy")
    assert stored.parsed(tmp_path / "copy")


def test_without_a_server_a_manifest_is_taken_too(stored, project):
    assert [stored.parsed(project, DBT_WARM="false") for _ in range(2)] == [True, False]


def test_without_partial_parsing_nothing_is_taken(stored, project):
    for _ in range(2):
        assert stored.parsed(project, "-q", "--no-partial-parse", "ls")


def test_files_that_change_while_dbt_parses_are_noticed(tmp_path):
    code = """
import os, sys
sys.path.insert(0, sys.argv[1])
import manifest_cache
model = sys.argv[2] + "/model.sql"
open(model, "w").write("a")
before = object.__new__(manifest_cache.Before)
before.paths = {sys.argv[2]}
before.files = manifest_cache.settled_states(before.paths)
print(before.is_unchanged())
for text in "ba":
    open(model, "w").write(text)
print(before.is_unchanged())"""
    argv = [DBT.resolve().parent / "python", "-c", code, INSIDE, tmp_path]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "True\nFalse\n"


def test_commands_that_write_files_leave_a_manifest_and_take_none(stored, project):
    for _ in range(2):
        result = stored.run(project, "compile", "--select", "one")
        assert (result.code, result.parsed) == (0, True)
        assert (result.target / "manifest.json").exists()
    assert not stored.parsed(project)
    assert len(stored.files()) == 1


def test_damaged_file_is_replaced(stored, project):
    assert stored.parsed(project)
    (path,) = stored.files()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    result = stored.run(project, "-q", "ls", "--select", "one")
    assert (result.code, result.parsed) == (0, True)
    assert f"Ignores the cached manifest {path.name}: it is damaged\n" in result.text
    assert not stored.parsed(project)


def test_folder_that_cannot_be_used_is_no_failure(stored, project):
    stored.folder.mkdir(mode=0o755)
    result = stored.run(project, "-q", "ls", "--select", "one")
    assert (result.code, result.parsed) == (0, True)
    assert f"{stored.folder} is not a folder that only you can enter\n" in result.text
    assert stored.files() == []


def test_new_server_takes_it(own_warm, stored_shop, shop):
    """The first run of a day does not parse; and what a server has parsed, a pod takes."""
    env = {"DBT_MANIFEST_CACHE": str(stored_shop.folder)}
    for _ in range(2):
        result = own_warm.run(shop, "run", "--select", "one", **env)
        assert (result.code, result.cold, result.parsed) == (0, False, False), result.text
    result = own_warm.run(shop, "run", "--select", "one", SHOP_SCHEMA="by_server", **env)
    assert (result.code, result.cold, result.parsed) == (0, False, True), result.text
    assert not stored_shop.parsed(shop, SHOP_SCHEMA="by_server")


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--select", "one"),
        ("run", "--select", "broken"),
        ("build", "--select", "one+", "--exclude", "nap", "sleep"),
        ("test", "--select", "one"),
        ("ls", "--select", "one+", "--output", "json"),
        ("show", "--inline", "select 42 as answer"),
        ("run-operation", "answer"),
        ("source", "freshness"),
        ("--warn-error", "run", "--select", "nothing_of_this_name"),
    ],
    ids=" ".join,
)
def test_same_as_dbt_itself(stored_shop, shop, command):
    """Exit code, log and results of a command that has not parsed."""
    stored_shop.run(shop, *(word for word in command if word == "--warn-error"), "ls")
    own = stored_shop.run(shop, *command, DBT_WARM="false", DBT_MANIFEST_CACHE="")
    result = stored_shop.run(shop, *command)
    assert (result.cold, result.parsed, own.parsed) == (True, False, True)
    assert result.code == own.code
    assert plain_log(result.text, result.target) == plain_log(own.text, own.target)
    for name in ("run_results.json", "sources.json"):
        assert (result.target / name).exists() == (own.target / name).exists()
        if (own.target / name).exists():
            assert differences(result.artifact(name), own.artifact(name)) == []
