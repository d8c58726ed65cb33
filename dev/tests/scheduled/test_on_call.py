"""What a person on call meets and does: errors that heal and errors that do not, selections that
this DAG does not run, tasks cleared and marked, a run given up.

A dbt project in two DAGs, run by Airflow's scheduler with the real dbt on a real Postgres.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.tests import sample
from dev.tests.scheduled.aftermath import last_words, messages, published, results, states, tries
from dev.tests.scheduled.installation import (
    CLEAN,
    clear,
    dag_arguments,
    ended,
    log_of,
    triggered,
    write_project,
    xcom,
)
from include.engine import settings
from include.engine.run.summary import FINISHED
from scripts.local import follow
from scripts.local.api import Api

COLUMNS = ",\n".join(f"  {number} as column_{number}" for number in range(1, 100))
FILES = {
    "models/fine.sql": "select 1 as id",
    "models/data.sql": "select 1 / 0 as id",
    "models/below.sql": "select id from {{ ref('data') }}",
    "models/slow.sql": "select 1 as id from pg_sleep(60)",
    "models/bad/syntax.sql": "select 1 form nothing where",
    "models/bad/column.sql": f"select\n{COLUMNS},\n  nope\n",
    "models/bad/rights.sql": "select count(*) as id from pg_authid",
    "models/bad/template.sql": """
{{ exceptions.raise_compiler_error('no') if flags.WHICH == 'run' }} select 1 as id
""",
    "models/bad/lost.sql": "select pg_terminate_backend(pg_backend_pid()) as id",
    "models/elsewhere.sql": """
{{ config(meta={'airflow': {'dag': 'other', 'schedule': 'none'}}) }} select 1 as id
""",
}
BAD = ("syntax", "column", "rights", "template", "lost")
BAD_MODELS = tuple(f"model.tiny.{name}" for name in BAD)
MODELS = (*BAD_MODELS, *(f"model.tiny.{name}" for name in ("fine", "data", "below", "slow")))
NOTHING_BEGAN = {
    "ran": {
        "check_dbt": "failed",
        **dict.fromkeys(MODELS, "upstream_failed"),
        "run_results": "failed",
    },
    "published": set(),
    "mailed": ["dbt_dag: check_dbt"],
    "results": dict.fromkeys(MODELS, "skipped"),
}
"""What a run leaves that was triggered for something that this DAG cannot do."""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "on_call", FILES)


@pytest.fixture(scope="module")
def environment(environment, smtp) -> dict[str, str]:
    mail = {"to": "team@example.com", "from_email": "a@example.com"}
    return environment | smtp | dag_arguments("none", mail, retries=1, retry_delay=1)


def ran(api: Api, run_id: str) -> dict[str, str]:
    """The states of the tasks of the run that were not skipped."""
    return {task: state for task, state in states(api, run_id).items() if state != "skipped"}


@pytest.fixture
def left(api, runs, mails) -> Callable[[str], dict[str, Any]]:
    """All that a run leaves: states, assets, the subjects of the test's mails, and results."""
    mails[1].clear()

    def look(run_id: str) -> dict[str, Any]:
        return {
            "ran": ran(api, run_id),
            "published": published(api, run_id),
            "mailed": sorted(mail["subject"] for mail in mails[1]),
            "results": results(runs, run_id),
        }

    return look


def test_only_what_may_heal_is_tried_again_and_each_failure_is_mailed_once(api, left):
    assert triggered(api, "bad", select="models/bad") == "failed"
    assert left("bad") == {
        "ran": {
            "check_dbt": "success",
            **dict.fromkeys(BAD_MODELS, "failed"),
            "run_results": "failed",
        },
        "published": set(),
        "mailed": sorted(f"dbt_dag: {model}" for model in BAD_MODELS),
        "results": dict.fromkeys(BAD_MODELS, "error"),
    }
    assert tries(api, "bad", *BAD_MODELS) == [1, 1, 1, 1, 2]


def test_a_long_query_is_shown_around_the_error(at):
    lines = last_words(at, "bad", "model.tiny.column")
    assert lines[:2] == [
        "model.tiny.column: error",
        "  Database Error in model column (models/bad/column.sql)",
    ]
    assert (
        lines[-42:]
        == [
            *("  The query:", "    … 61 lines"),
            *(f"      {number} as column_{number}," for number in range(61, 100)),
            "      nope",
            "Run it again: make dbt ARGS='run --select column'",
        ][-42:]
    )


def test_a_selection_of_another_dag_fails_and_names_that_dag(api, at, left):
    assert triggered(api, "elsewhere", select="elsewhere") == "failed"
    assert last_words(at, "elsewhere", "check_dbt") == [
        "dbt_dag runs nothing of this selection: --select=elsewhere",
        "  dbt_dag__other runs model.tiny.elsewhere: trigger that DAG.",
    ]
    assert tries(api, "elsewhere", "check_dbt") == [1]
    assert left("elsewhere") == NOTHING_BEGAN


def test_a_selection_that_is_newer_than_the_manifest_fails_and_says_so(
    api, at, project, environment, left
):
    (project / "models/new.sql").write_text("select 1 as id")
    assert triggered(api, "new", select="new") == "failed"
    (project / "models/new.sql").unlink()
    assert last_words(at, "new", "check_dbt") == [
        "dbt_dag runs nothing of this selection: --select=new",
        "  No DAG runs model.tiny.new. If a task should, the manifest is older: "
        f"{environment['DBT_MANIFEST']}. Build it with: make manifest",
    ]
    assert left("new") == NOTHING_BEGAN


def test_a_misspelled_param_fails_the_run_and_builds_nothing(api, at, left):
    assert triggered(api, "misspelled", selct="fine") == "failed"
    assert last_words(at, "misspelled", "check_dbt")[0].endswith(
        "which is no param of the DAG. Did you mean 'select'? It takes: event_time_end, "
        "event_time_start, exclude, full_refresh, select, target, vars"
    )
    assert left("misspelled") == NOTHING_BEGAN


def test_a_task_that_was_fixed_and_cleared_turns_its_run_green(api, project, left):
    """With `Downstream`, which Airflow's dialog has ticked: the results are downstream, too."""
    assert triggered(api, "fixed", select="fine data+") == "failed"
    mailed = ["dbt_dag: model.tiny.data"]
    assert left("fixed") == {
        "ran": {
            "check_dbt": "success",
            "model.tiny.fine": "success",
            "model.tiny.data": "failed",
            "model.tiny.below": "upstream_failed",
            "run_results": "failed",
        },
        "published": {"model.tiny.fine"},
        "mailed": mailed,
        "results": {
            "model.tiny.fine": "success",
            "model.tiny.data": "error",
            "model.tiny.below": "skipped",
        },
    }
    (project / "models/data.sql").write_text("select 1 as id")
    assert clear(api, "fixed", "model.tiny.data") == "success"
    built = {"model.tiny.fine", "model.tiny.data", "model.tiny.below"}
    assert left("fixed") == {
        "ran": dict.fromkeys(("check_dbt", *built, "run_results"), "success"),
        "published": built,
        "mailed": mailed,
        "results": dict.fromkeys(built, "success"),
    }
    assert tries(api, "fixed", "model.tiny.fine", "model.tiny.data") == [1, 2]


def test_a_model_that_is_marked_as_success_is_no_error_in_the_results(api, project, runs, left):
    (project / "models/data.sql").write_text("select 1 / 0 as id")
    assert triggered(api, "marked", select="data+") == "failed"
    mailed = ["dbt_dag: model.tiny.data"]
    assert left("marked") == {
        "ran": {
            "check_dbt": "success",
            "model.tiny.data": "failed",
            "model.tiny.below": "upstream_failed",
            "run_results": "failed",
        },
        "published": set(),
        "mailed": mailed,
        "results": {"model.tiny.data": "error", "model.tiny.below": "skipped"},
    }
    path = f"/api/v2/dags/{api.dag_id}/dagRuns/marked/taskInstances/model.tiny.data"
    api.call("PATCH", path, {"new_state": "success"})
    # Airflow clears what the failure had held back, run_results too.
    assert ended(api, "marked") == "success"
    models = ("model.tiny.data", "model.tiny.below")
    assert left("marked") == {
        "ran": dict.fromkeys(("check_dbt", *models, "run_results"), "success"),
        "published": {"model.tiny.below"},
        "mailed": mailed,
        "results": dict.fromkeys(models, "success"),
    }
    assert messages(runs, "marked")["model.tiny.data"] == "Marked as success in Airflow."


def test_a_run_that_is_marked_as_failed_leaves_its_results(api, runs, left):
    """The API server writes them, or the last task, when a person clears it."""
    path = f"/api/v2/dags/{api.dag_id}/dagRuns"
    conf = {"select": "fine slow"}
    api.call("POST", path, {"dag_run_id": "given_up", "logical_date": None, "conf": conf})
    deadline = time.monotonic() + 120
    while {task for task, state in states(api, "given_up").items() if state not in FINISHED} != {
        "model.tiny.slow",
        "run_results",
    }:
        assert time.monotonic() < deadline, api.tasks("given_up")
        time.sleep(0.5)
    follow.end(api, "given_up")
    assert ended(api, "given_up") == "failed"
    found = {"model.tiny.fine": "success", "model.tiny.slow": "error"}
    folder = runs / "dag_id=dbt_dag" / "run_id=given_up"
    deadline = time.monotonic() + 60
    while not (folder / "manifest.json").exists():  # the last file that is written
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert results(runs, "given_up") == found
    lost = "The task model.tiny.slow ended without a result of dbt; its log says why."
    assert messages(runs, "given_up")["model.tiny.slow"] == lost
    shutil.rmtree(folder)
    assert clear(api, "given_up", "run_results") == "failed"
    assert left("given_up") == {
        "ran": {
            "check_dbt": "success",
            "model.tiny.fine": "success",
            "model.tiny.slow": "failed",
            "run_results": "failed",
        },
        "published": {"model.tiny.fine"},
        "mailed": [],  # Airflow calls nothing for a task that a person has ended
        "results": found,
    }


def rebuild(api: Api, environment: dict[str, str]) -> None:
    """Builds the manifest again, as `make manifest` does, and has Airflow read the DAG file."""
    subprocess.run(
        [sys.executable, "-m", "include.engine.manifest.build"],
        cwd=settings.ROOT,
        env=CLEAN | sample.environment() | environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    api.parse_again()


def text_of_page(api: Api) -> str:
    """The page of `dbt_dag` in the tab `dbt`."""
    token = {"Authorization": f"Bearer {api.token}"}
    request = urllib.request.Request(f"{api.url}/dbt/dags/{api.dag_id}", headers=token)
    with api.open(request, timeout=60) as answer:
        return answer.read().decode()


def test_a_new_dag_that_airflow_has_paused_is_named_by_the_dag_that_lost_its_models(
    api, at, project, environment, left
):
    """One that only this DAG starts, by its assets, is not paused."""
    (project / "models/follower.sql").write_text(
        "{{ config(meta={'airflow': {'dag': 'follows', 'schedule': 'assets'}}) }} "
        "select id from {{ ref('fine') }}"
    )
    (project / "models/slow.sql").write_text(
        "{{ config(meta={'airflow': {'dag': 'fresh', 'schedule': '@daily'}}) }} select 1 as id"
    )
    rebuild(api, environment)
    deadline = time.monotonic() + 120
    while len(api.dags()) < 4:
        assert time.monotonic() < deadline, api.import_errors()
        time.sleep(0.5)
    assert {dag["dag_id"] for dag in api.dags() if dag["is_paused"]} == {"dbt_dag__fresh"}
    assert triggered(api, "beside", select="fine") == "success"
    assert left("beside") == {
        "ran": dict.fromkeys(("check_dbt", "model.tiny.fine", "run_results"), "success"),
        "published": {"model.tiny.fine"},
        "mailed": [],
        "results": {"model.tiny.fine": "success"},
    }
    assert xcom(api, "beside", "run_results")["paused"] == {"dbt_dag__fresh": 2}
    said = [line["event"] for line in log_of(at, "beside", "run_results")]
    assert any("dbt_dag__fresh is paused: 2 tasks do not run" in line for line in said)
    assert "<code>dbt_dag__fresh</code> is paused: its 2 tasks do not run." in text_of_page(api)
    (asset,) = api.call("GET", "/api/v2/assets?name_pattern=model.tiny.slow")["assets"]
    assert [task["dag_id"] for task in asset["producing_tasks"]] == ["dbt_dag__fresh"]
    follower = Api(api.port, "dbt_dag__follows")
    follower.token = api.token
    while not (started := api.call("GET", "/api/v2/dags/dbt_dag__follows/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert ended(follower, started[0]["dag_run_id"]) == "success"
    api.unpause("dbt_dag__fresh")
    assert triggered(api, "after", select="fine") == "success"
    assert xcom(api, "after", "run_results")["paused"] == {}
