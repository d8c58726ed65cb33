"""What is wrong for all tasks alike fails once, before the others start, and alerts once.

A dbt project with three roots and an end hook, run by Airflow's scheduler with the real dbt on a
real Postgres. The warehouse is a connection in Airflow's database, so that it can be taken away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dev.tests.scheduled.aftermath import last_words, published, results, states, tries
from dev.tests.scheduled.installation import (
    TINY,
    clear,
    dag_arguments,
    triggered,
    write_project,
    xcom,
)
from scripts.local.api import Api
from scripts.local.environment import load_secrets
from scripts.local.paths import Paths

OUTPUTS = """
    nowhere: {<<: *dev, dbname: nowhere}
    mistyped: {<<: *dev, password: mistyped}
    closed: {<<: *dev, host: 127.0.0.1, port: 1}
"""
FILES = {
    "dbt_project.yml": TINY["dbt_project.yml"]
    + 'on-run-end: ["create table if not exists ended (id int)"]\n',
    "profiles.yml": TINY["profiles.yml"].rstrip() + OUTPUTS,
    "seeds/raw.csv": "id\n1\n",
    "models/one.sql": "select 1 as id",
    "models/two.sql": "select 2 as id",
    "models/below.sql": "select id from {{ ref('one') }} union select id from {{ ref('raw') }}",
    "models/models.yml": """
models:
  - name: below
    columns: [{name: id, data_tests: [{accepted_values: {name: odd, arguments: {values: [1]}}}]}]
""",
}
CONNECTION = "dwh"
HOOK = "operation.tiny.tiny-on-run-end-0"
NODES = ("seed.tiny.raw", "model.tiny.one", "model.tiny.two", "model.tiny.below")
TESTED = "test.tiny.below"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "alike", FILES)


@pytest.fixture(scope="module")
def environment(environment, smtp) -> dict[str, str]:
    mail = {"to": "team@example.com", "from_email": "a@example.com"}
    arguments = dag_arguments("none", mail, retries=1, retry_delay=1)
    own = {"DBT_CONNECTION": CONNECTION, "DBT_PROFILE_FROM": "project"}
    return environment | smtp | arguments | own


@pytest.fixture(scope="module")
def connect(api: Api, at: Paths) -> Callable[[], None]:
    def create() -> None:
        fields = {
            "connection_id": CONNECTION,
            "conn_type": "postgres",
            "host": str(at.postgres_socket),
            "login": "warehouse",
            "password": load_secrets(at)["warehouse"],
            "schema": "warehouse",
        }
        api.call("POST", "/api/v2/connections", fields)

    create()
    return create


@contextmanager
def without_connection(project: Path, api: Api, connect: Callable[[], None]) -> Iterator[dict]:
    api.call("DELETE", f"/api/v2/connections/{CONNECTION}")
    try:
        yield {}
    finally:
        connect()


@contextmanager
def without_packages(project: Path, *_: Any) -> Iterator[dict]:
    file = project / "packages.yml"
    file.write_text("packages: [{package: dbt-labs/dbt_utils, version: 1.3.0}]\n")
    try:
        yield {}
    finally:
        file.unlink()


@contextmanager
def without_the_target(project: Path, *_: Any) -> Iterator[dict]:
    file = project / "profiles.yml"
    text = file.read_text()
    file.write_text(text.replace("target: dev", "target: gone"))
    try:
        yield {}
    finally:
        file.write_text(text)


@contextmanager
def with_a_broken_model(project: Path, *_: Any) -> Iterator[dict]:
    file = project / "models" / "new.sql"
    file.write_text("select {{ ref('one' }} as id")
    try:
        yield {}
    finally:
        file.unlink()


def with_params(**entered: str) -> Callable[..., Any]:
    @contextmanager
    def enter(*_: Any) -> Iterator[dict]:
        yield entered

    return enter


CAUSES = {
    "connection": (without_connection, "No Airflow connection 'dwh'. ", 1),
    "packages": (without_packages, 'Run "dbt deps" to install package dependencies.', 1),
    "target": (without_the_target, "it has no output 'gone'", 1),
    "project": (with_a_broken_model, "Compilation Error in model new (models/new.sql)", 1),
    "password": (
        with_params(target="mistyped"),
        'password authentication failed for user "warehouse"',
        1,
    ),
    "database": (with_params(target="nowhere"), 'database "nowhere" does not exist', 1),
    "server": (with_params(target="closed"), "Connection refused", 2),
    "selection": (with_params(select="none_such"), "selects nothing", 1),
    "list": (with_a_broken_model, "dbt could not list the selection", 1),
    "state": (
        with_params(select="state:modified"),
        "`state:` compares with the artifacts of an earlier run, and a run in Airflow",
        1,
    ),
    "param": (with_params(selct="one"), "Did you mean 'select'?", 1),
}
"""By the id of a run, its cause of failure, what the log says of it, and the number of tries."""


@pytest.mark.parametrize("run_id", CAUSES)
def test_what_is_wrong_for_all_tasks_fails_once_and_alerts_once(
    api, at, mails, runs, project, connect, run_id
):
    cause, said, tried = CAUSES[run_id]
    mails[1].clear()
    with cause(project, api, connect) as entered:
        entered |= {"select": "one"} if run_id == "list" else {}
        assert triggered(api, run_id, **entered) == "failed"
    assert states(api, run_id) == {
        "check_dbt": "failed",
        **dict.fromkeys(NODES, "upstream_failed"),
        TESTED: "upstream_failed",
        "on_run_end": "skipped",
        "run_results": "failed",
    }
    assert tries(api, run_id, "check_dbt") == [tried]
    assert [line for line in last_words(at, run_id, "check_dbt") if said in line] != []
    assert [mail["subject"] for mail in mails[1]] == ["dbt_dag: check_dbt"]
    assert published(api, run_id) == set()
    left = results(runs, run_id)
    assert set(left.values()) == {"skipped"}
    assert {node for node in left if not node.startswith("test.")} == set(NODES)
    assert len(left) == len(NODES) + 1
    told = xcom(api, run_id, "run_results")
    assert (told["status"], told["failed"]) == ("error", {"check_dbt": "Its log says why."})


def test_when_it_is_fixed_and_that_task_is_cleared_all_others_run(
    api, runs, project, connect, mails
):
    with without_connection(project, api, connect):
        assert triggered(api, "fixed") == "failed"
    assert clear(api, "fixed", "check_dbt") == "success"
    assert set(states(api, "fixed").values()) == {"success"}
    assert published(api, "fixed") == set(NODES)
    left = results(runs, "fixed")
    assert {left.pop(node) for node in (*NODES, HOOK)} == {"success"}
    assert list(left.values()) == ["pass"]


def test_a_run_of_a_part_asks_first_too_and_reads_the_project_once(api, at):
    assert triggered(api, "part", select="one") == "success"
    ran = {task: state for task, state in states(api, "part").items() if state != "skipped"}
    assert ran == dict.fromkeys(
        ("check_dbt", "model.tiny.one", "on_run_end", "run_results"), "success"
    )
    folder = at.logs / "dag_id=dbt_dag" / "run_id=part"
    said = [json.loads(line) for log in folder.rglob("*.log") for line in log.open()]
    assert [line for line in said if "dbt starts cold" in line.get("event", "")] == []
