"""What a person finds after a run with a failed model, a failed test and a warning: the last lines
of a log, the results of tasks and of the run, the mail that was sent, and what dbt makes of them.

A dbt project of seven models, run by Airflow's scheduler with the real dbt on a real Postgres.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dev.tests.scheduled.installation import (
    dag_arguments,
    log_of,
    statuses,
    triggered,
    write_project,
    xcom,
)
from include.engine import settings
from include.engine.run import kept_xcoms
from scripts.local import postgres
from scripts.local.environment import load_secrets
from scripts.local.paths import Paths

YAML = """\
models:
  - name: top
    columns:
      - name: id
        data_tests:
          - not_null
          - accepted_values:
              arguments: {values: [2]}
              config: {severity: warn}
  - name: middle
    columns:
      - name: id
        data_tests:
          - unique
          - accepted_values:
              name: middle_is_three
              arguments: {values: [3]}
              config: {store_failures: true}
"""
FILES = {
    "models/models.yml": YAML,
    "models/top.sql": "select 1 as id",
    "models/middle.sql": "select id from {{ ref('top') }}",
    "models/below_middle.sql": "select id from {{ ref('middle') }}",
    "models/broken.sql": "select\n  id,\n  nope\nfrom {{ ref('top') }}\n",
    "models/slow.sql": "select id from {{ ref('top') }}, pg_sleep({{ var('nap', 20) }})",
    # Given up as soon as `broken` has failed, and a leaf: the end of the run is not in sight then.
    "models/below_both.sql": "select id from {{ ref('broken') }} join {{ ref('slow') }} using (id)",
    "models/talkative.sql": "select '{{ var('word', 1) }}'::int as id",
}
WARNING = "test.tiny.accepted_values_top_id__2.6aae2ef675"
STORED = "test.tiny.middle_is_three.f5c923e3a4"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "results", FILES)


@pytest.fixture(scope="module")
def environment(environment, smtp) -> dict[str, str]:
    return environment | {
        **smtp,
        **dag_arguments(retries=0, mail={"to": "team@example.com", "from_email": "a@example.com"}),
        "DBT_FAILING_ROWS": "3",
    }


@pytest.fixture(scope="module")
def failed(api, at: Paths) -> str:
    """The id of a run in which all goes wrong that can."""
    run_id = "run:1+x"
    password = load_secrets(at)["warehouse"]
    assert triggered(api, run_id, vars={"word": f"is {password}"}) == "failed"
    return run_id


def last_words(at: Paths, run_id: str, task_id: str) -> str:
    """What the exception says that ended the task."""
    details = [
        line["error_detail"] for line in log_of(at, run_id, task_id) if "error_detail" in line
    ]
    return details[-1][0]["exc_value"]


def test_a_failed_run_is_failed_though_its_last_task_has_run(api, failed):
    assert {task["task_id"]: task["state"] for task in api.tasks(failed)} == {
        "check_dbt": "success",
        "model.tiny.top": "success",
        "test.tiny.top": "success",
        "model.tiny.middle": "success",
        "test.tiny.middle": "failed",
        "model.tiny.below_middle": "upstream_failed",
        "model.tiny.broken": "failed",
        "model.tiny.slow": "success",
        "model.tiny.below_both": "upstream_failed",
        "model.tiny.talkative": "failed",
        "run_results": "failed",
    }


def test_a_failed_test_ends_with_its_rows_its_query_and_what_to_do(at, failed):
    assert last_words(at, failed, "test.tiny.middle").splitlines() == [
        f"{STORED}: fail",
        "  Got 1 result, configured to fail if != 0",
        "  File: models/models.yml:16",
        '  The failing rows are in "warehouse"."results_dbt_test__audit"."middle_is_three"',
        "  | value_field | n_records |",
        "  | ----------- | --------- |",
        "  |           1 |         1 |",
        "  The query:",
        "    with all_values as (",
        "        select",
        "            id as value_field,",
        "            count(*) as n_records",
        '        from "warehouse"."results"."middle"',
        "        group by id",
        "    )",
        "    select *",
        "    from all_values",
        "    where value_field not in (",
        "        '3'",
        "    )",
        "Held back by it: model.tiny.below_middle",
        "Run it again: make dbt ARGS='test --select middle_is_three unique_middle_id "
        """--indirect-selection empty '"'"'--vars={"word": "is ***"}'"'"''""",
    ]


def test_a_failed_model_ends_with_the_line_of_its_file(at, failed):
    assert last_words(at, failed, "model.tiny.broken").splitlines()[:6] == [
        "model.tiny.broken: error",
        "  Database Error in model broken (models/broken.sql)",
        '    column "nope" does not exist',
        "    LINE 14:   nope",
        "               ^",
        "  File: models/broken.sql:3",
    ]


def test_results_are_xcoms_of_tasks_that_succeed_and_of_those_that_fail(api, failed):
    kept = {}
    for task in ("model.tiny.top", "test.tiny.top", "test.tiny.middle", "model.tiny.broken"):
        found = xcom(api, failed, task)
        kept[task] = found["status"], {r["unique_id"]: r["status"] for r in found["results"]}
    assert kept == {
        "model.tiny.top": ("success", {"model.tiny.top": "success"}),
        "test.tiny.top": (
            "warn",
            {WARNING: "warn", "test.tiny.not_null_top_id.3ee01839e9": "pass"},
        ),
        "test.tiny.middle": (
            "fail",
            {STORED: "fail", "test.tiny.unique_middle_id.4a47cbc621": "pass"},
        ),
        "model.tiny.broken": ("error", {"model.tiny.broken": "error"}),
    }
    (top,) = xcom(api, failed, "model.tiny.top")["results"]
    assert (top["adapter_response"]["rows_affected"], top["relation_name"]) == (
        1,
        '"warehouse"."results"."top"',
    )


def test_what_the_last_task_reads_from_files_is_what_airflow_has(api, failed, runs):
    kept = kept_xcoms.run_folder(settings.load({"DBT_RUNS": str(runs)}), "dbt_dag", failed)
    ran = {
        *("model.tiny.top", "test.tiny.top", "model.tiny.middle", "test.tiny.middle"),
        *("model.tiny.broken", "model.tiny.slow", "model.tiny.talkative"),
    }
    # Of the task that checks dbt only its try is kept.
    tried = ran | {"check_dbt"}
    assert {file.name for file in kept.iterdir()} == {kept_xcoms.file_name(task) for task in tried}
    assert {task: kept_xcoms.read(kept, task) for task in tried} == {
        "check_dbt": None,
        **{task: xcom(api, failed, task) for task in ran},
    }


def test_a_warning_is_on_its_task_and_in_the_summary_of_the_run(api, failed, runs):
    said = "Got 1 result, configured to warn if != 0"
    assert xcom(api, failed, "test.tiny.top", "warnings") == f"{WARNING}: {said}"
    told = xcom(api, failed, "run_results")
    assert (told["status"], told["warnings"]) == ("error", {WARNING: said})
    assert told["failed"].keys() == {"model.tiny.broken", "model.tiny.talkative", STORED}
    assert told["nodes"] == {
        "success": 3,
        "pass": 2,
        "error": 2,
        "skipped": 2,
        "warn": 1,
        "fail": 1,
    }
    assert told["folder"] == str(runs / "dag_id=dbt_dag" / f"run_id={failed}")


def test_the_last_task_has_waited_for_what_was_still_at_work(at, failed):
    said = [line["event"] for line in log_of(at, failed, "run_results")]
    assert "Still at work: model.tiny.slow" in said


def test_failures_and_warnings_are_mailed_and_no_secret_is(api, failed, mails, at):
    sent = {
        mail["subject"]: mail.get_body().get_content()
        for mail in mails[1]
        if "/runs/run%3A1%2Bx/" in mail.get_body().get_content()
    }
    assert sent.keys() == {
        "dbt_dag: test.tiny.top",
        "dbt_dag: test.tiny.middle",
        "dbt_dag: model.tiny.broken",
        "dbt_dag: model.tiny.talkative",
    }
    assert sent["dbt_dag: model.tiny.talkative"].splitlines() == [
        "<pre>model.tiny.talkative: error",
        "  Database Error in model talkative (models/talkative.sql)",
        "    invalid input syntax for type integer: &#34;is *****&#34;",
        "  File: models/talkative.sql",
        "  The query:",
        "    select &#39;is ***&#39;::int as id",
        "Run it again: make dbt ARGS=&#39;run --select talkative "
        "&#39;&#34;&#39;&#34;&#39;--vars={&#34;word&#34;: &#34;is ***&#34;}"
        "&#39;&#34;&#39;&#34;&#39;&#39;</pre>"
        f"<a href='{api.url}/dags/dbt_dag/runs/run%3A1%2Bx/tasks/"
        "model.tiny.talkative?try_number=1'>The task</a>",
    ]
    password = load_secrets(at)["warehouse"]
    assert [text for text in sent.values() if password[:8] in text] == []


@pytest.fixture(scope="module")
def state(runs, failed) -> Path:
    """The folder of the failed run."""
    return runs / "dag_id=dbt_dag" / f"run_id={failed}"


READ = """
import sys
from dbt.artifacts.schemas.manifest import WritableManifest
from dbt.artifacts.schemas.run import RunResultsArtifact
results = RunResultsArtifact.read_and_check_versions(sys.argv[1] + "/run_results.json")
manifest = WritableManifest.read_and_check_versions(sys.argv[1] + "/manifest.json")
print(sorted(r.unique_id for r in results.results) == sorted(u for u in manifest.nodes))
"""


def test_dbt_itself_accepts_the_results_and_the_manifest(state):
    python = settings.load().dbt_executable.parent / "python"
    done = subprocess.run([python, "-c", READ, state], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_results_are_those_of_one_dbt_build(state, dbt):
    built = dbt("build", "--vars", '{"word": "is", "nap": 0}', "--target", "ci")[1]
    assert statuses(state) == built


def test_dbt_lists_what_failed_and_what_is_behind_it(state, dbt):
    listed = dbt("ls", "--select", "result:error+", "result:fail+", "--state", str(state))[0]
    assert set(listed.split()) == {
        "tiny.broken",
        "tiny.below_both",
        "tiny.talkative",
        "tiny.middle_is_three",
    }


def test_dbt_retries_what_failed_and_what_was_held_back(state, dbt, project):
    (project / "models/broken.sql").write_text("select id from {{ ref('top') }}")
    assert dbt("retry", "--state", str(state))[1] == {
        "model.tiny.broken": "success",
        "model.tiny.below_both": "success",
        "model.tiny.talkative": "error",
        STORED: "fail",
        "model.tiny.below_middle": "skipped",
    }


def test_a_change_is_built_alone_and_reads_the_rest_where_the_run_has_left_it(state, dbt, at):
    changed = ("--select", "state:modified+", "--state", str(state))
    assert set(dbt("ls", *changed)[0].split()) == {"tiny.broken", "tiny.below_both"}
    with postgres.cursor(at, load_secrets(at), "warehouse") as ask:
        ask.execute("drop schema if exists ci cascade")
    assert dbt("build", *changed, "--defer", "--target", "ci")[1] == {
        "model.tiny.broken": "success",
        "model.tiny.below_both": "success",
    }
    with postgres.cursor(at, load_secrets(at), "warehouse") as ask:
        ask.execute("select table_name from information_schema.tables where table_schema = 'ci'")
        assert {name for (name,) in ask.fetchall()} == {"broken", "below_both"}
