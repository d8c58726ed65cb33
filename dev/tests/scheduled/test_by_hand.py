"""dbt by hand: `make dbt`, with and without the Airflow of `make up`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dev.tests.scheduled.aftermath import last_words
from dev.tests.scheduled.installation import (
    CLEAN,
    dag_arguments,
    processes_of,
    table_of,
    triggered,
    up,
    write_project,
)
from include.engine.settings import ROOT
from scripts.local.api import Api

FILES = {
    "models/noted.sql": "select '{{ var('note', '') }}' as note",
    "models/broken.sql": "select 1 / 0 as nothing",
}
NOTE = 'a "b" $$c$$ ${HOME} \\ # %'


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("a project"), "by_hand", FILES)


@pytest.fixture
def shell(at, environment):
    """Pastes a text into a shell whose `make` is about the installation of the test."""
    folders = ("--state", str(at.state), "--dags", str(at.dags))
    local = shlex.join([sys.executable, "-m", "scripts.local", *folders])
    make = 'make() { command make -s "LOCAL=$LOCAL_VERBS" "$@"; }\n'

    def paste(text: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", make + text],
            cwd=ROOT,
            env=CLEAN | environment | {"LOCAL_VERBS": local},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    return paste


def build(note: str) -> str:
    """The command that builds `noted`, quoted twice: for dbt's arguments and for the shell."""
    argv = ["run", "--select", "noted", "--vars", f'{{"note": {quoted(note)}}}']
    return f"make dbt ARGS={shlex.quote(shlex.join(argv))}"


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_postgres_runs_while_dbt_does(at, shell):
    code, output = shell(build(NOTE))
    assert (code, "Completed successfully" in output) == (0, True), output
    assert processes_of(at) == []
    code, output = shell("make psql SQL='select $$$x$$ || note from by_hand.noted'")
    assert (code, output.splitlines()[2]) == (0, f" $x{NOTE}")
    assert processes_of(at) == []


def test_what_dbt_makes_of_a_failure_is_the_exit_code_of_the_verb(at, shell):
    code, output = shell("make dbt ARGS='run --select broken'")
    assert (code, "division by zero" in output) == (2, True), output  # make's own for a failure
    assert processes_of(at) == []


@pytest.fixture(scope="module")
def api(at, environment) -> Api:
    return up(at, environment | dag_arguments(retries=0))[0]


def test_what_a_failed_task_prints_runs_it_again_when_it_is_pasted(at, api, shell):
    assert triggered(api, "pasted", vars={"note": NOTE}) == "failed"
    again = last_words(at, "pasted", "model.tiny.broken")[-1].removeprefix("Run it again: ")
    assert again.startswith("make dbt ARGS=")
    code, output = shell(again)
    assert (code, "division by zero" in output) == (2, True), output
    code, output = shell(again.replace("--select broken", "--select noted"))
    assert (code, "Completed successfully" in output) == (0, True), output
    assert shell("make psql SQL='select note from by_hand.noted'")[1].splitlines()[2] == f" {NOTE}"


def test_a_selection_runs_through_the_dag_with_its_variables(api, shell):
    variables = shlex.quote(f'{{"note": {quoted(NOTE + " by run")}}}')
    code, output = shell(f"make run SELECT=noted VARS={variables}")
    assert code == 0, output
    assert table_of(output) == {
        "check_dbt": "success",
        "model.tiny.noted": "success",
        "model.tiny.broken": "skipped",
        "run_results": "success",
    }
    shown = shell("make psql SQL='select note from by_hand.noted'")[1].splitlines()[2]
    assert shown == f" {NOTE} by run"


def test_beside_airflow_the_command_is_a_warm_one(at, api, shell):
    code, output = shell(build("warm"))
    assert (code, "Completed successfully" in output) == (0, True), output
    assert [line for line in processes_of(at) if "warm/server.py" in line] != []
    assert shell("make psql SQL='select note from by_hand.noted'")[1].splitlines()[2] == " warm"
    assert shell("make down")[0] == 0
    assert processes_of(at) == []
