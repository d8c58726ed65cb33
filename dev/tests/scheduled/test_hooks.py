"""The project's hooks run once per DAG run, first and last, and leave what one `dbt build` does.

Each run of the DAG is compared with the real `dbt build` of the same project into another schema:
by what hooks have written into audit tables, and by what they have granted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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
from scripts.local import postgres
from scripts.local.api import Api
from scripts.local.environment import load_secrets
from scripts.local.paths import Paths

PROJECT = """
name: tiny
profile: tiny
models: {+materialized: table}
flags: {send_anonymous_usage_stats: false}
on-run-start:
  - "{{ audit() }}"
  - "insert into {{ target.schema }}_audit.started values (clock_timestamp(),
    '{{ invocation_args_dict.which }}', '{{ selected_resources | sort | join(' ') }}')"
  - "select 1 / {{ var('start', 1) }}"
on-run-end:
  - "{{ tell(results) }}"
  - "insert into {{ target.schema }}_audit.ended values (clock_timestamp(), {{ results | length }},
    '{{ schemas | sort | join(' ') }}', $x${{ database_schemas | sort | join(' ') }}$x$)"
  - "{{ grant(schemas) }}"
  - "select 1 / {{ var('end', 1) }}"
"""
MACROS = """
{% macro audit() %}
  create schema if not exists {{ target.schema }}_audit;
  create table if not exists {{ target.schema }}_audit.started
    (moment timestamptz, command text, selected text);
  create table if not exists {{ target.schema }}_audit.ended
    (moment timestamptz, results int, schemas text, database_schemas text);
  create table if not exists {{ target.schema }}_audit.results
    (node text, status text, failures int, message text, rows text, kind text, relation text,
     thread boolean, steps text, seconds numeric);
{% endmacro %}
{% macro tell(results) %}
  {% for result in results %}
    insert into {{ target.schema }}_audit.results values (
      '{{ result.node.unique_id }}', '{{ result.status }}', {{ result.failures or 'null' }},
      $x${{ (result.message or '').splitlines() | first }}$x$,
      '{{ (result.adapter_response or {}).get('rows_affected', '') }}',
      '{{ result.node.resource_type }} {{ result.node.config.materialized }}',
      $x${{ result.node.schema }}.{{ result.node.alias }} {{ result.node.relation_name }}$x$,
      {{ result.thread_id != 'main' }},
      '{{ result.timing | selectattr('completed_at') | map(attribute='name') | join(' ') }}',
      {{ result.execution_time }});
  {% endfor %}
{% endmacro %}
{% macro grant(schemas) %}
  {% for schema in schemas %}
    grant usage on schema {{ schema }} to public;
    grant select on all tables in schema {{ schema }} to public;
  {% endfor %}
{% endmacro %}
"""
FILES = {
    "dbt_project.yml": PROJECT,
    "macros/hooks.sql": MACROS,
    "seeds/raw.csv": "id\n1\n2\n",
    "models/models.yml": """
models:
  - name: middle
    columns: [{name: id, data_tests: [unique, {accepted_values: {arguments: {values: [3]}}}]}]
  - name: top
    columns:
      - name: id
        data_tests:
          - accepted_values: {arguments: {values: [2]}, config: {severity: warn}}
""",
    "models/top.sql": "select id, clock_timestamp() as built_at from {{ ref('raw') }}",
    "models/middle.sql": "{{ config(schema='more') }} select id from {{ ref('top') }}",
    "models/below_middle.sql": "select id from {{ ref('middle') }}",
    "models/broken.sql": "{{ config(schema='never') }} select nope from {{ ref('top') }}",
    "models/slow.sql": """
select id, clock_timestamp() as built_at from {{ ref('top') }}, pg_sleep({{ var('nap', 12) }})
""",
    # Given up as soon as `broken` has failed, while `slow` is still at work.
    "models/below_both.sql": "select id from {{ ref('broken') }} join {{ ref('slow') }} using (id)",
}
STARTS = [f"operation.tiny.tiny-on-run-start-{n}" for n in range(3)]
ENDS = [f"operation.tiny.tiny-on-run-end-{n}" for n in range(4)]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "hooked", FILES)


@pytest.fixture(scope="module")
def environment(environment) -> dict[str, str]:
    """Tasks are tried twice, one right after the other, and runs are triggered by tests alone."""
    return environment | dag_arguments(schedule="none", retries=1, retry_delay=1)


@pytest.fixture(scope="module")
def ask(at, api) -> Callable[[str], list[tuple]]:
    def rows(query: str) -> list[tuple]:
        with postgres.cursor(at, load_secrets(at), "warehouse") as cursor:
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else []

    return rows


@pytest.fixture(scope="module")
def build(dbt) -> Callable[..., dict[str, str]]:
    """Runs the real `dbt build` into the schema `ci`; returns the statuses of nodes."""
    return lambda *arguments: dbt("build", "--target", "ci", *arguments)[1]


@pytest.fixture
def empty(ask) -> None:
    """Nothing of an earlier run is there."""
    for schema in ("hooked", "ci"):
        for more in ("", "_more", "_never", "_audit"):
            ask(f"drop schema if exists {schema}{more} cascade")


def left_by(ask: Callable[[str], list[tuple]], schema: str) -> dict[str, list[list]]:
    """What hooks left, but for what is another each time; as if it were in the schema `ci`."""
    audit = f"{schema}_audit"
    told = "node, status, failures, message, rows, kind, relation, thread, steps, seconds > 0"
    granted = f"""
        select table_schema, table_name from information_schema.role_table_grants
        where grantee = 'PUBLIC' and table_schema like '{schema}%'
        union select nspname, '' from pg_namespace where nspname like '{schema}%'
        and has_schema_privilege('public', oid, 'usage')"""
    left = {
        "started": ask(f"select command, selected from {audit}.started"),
        "ended": ask(f"select results, schemas, database_schemas from {audit}.ended"),
        "results": ask(f"select {told} from {audit}.results order by node"),
        "granted": ask(f"{granted} order by 1, 2"),
    }
    return json.loads(json.dumps(left).replace(schema, "ci"))


def states(api: Api, run_id: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in api.tasks(run_id)}


def results_of(runs: Path, run_id: str) -> dict[str, str]:
    return statuses(runs / "dag_id=dbt_dag" / f"run_id={run_id}")


def logs(at: Paths, run_id: str) -> list[str]:
    folder = at.logs / "dag_id=dbt_dag" / f"run_id={run_id}"
    return [file.read_text() for file in folder.glob("task_id=*/*.log")]


def test_hooks_of_a_run_that_fails_leave_what_one_dbt_build_does(
    empty, api, ask, at, build, project, runs
):
    """Also the schemas that grants are for, and the results of nodes that were never come to."""
    assert triggered(api, "failing") == "failed"
    found = states(api, "failing")
    assert {task for task, state in found.items() if state == "failed"} == {
        "model.tiny.broken",
        "test.tiny.middle",
        "run_results",
    }
    assert (found["on_run_start"], found["on_run_end"]) == ("success", "success")
    built = build("--vars", "{nap: 0}")
    assert results_of(runs, "failing") == built
    assert [built[key] for key in (*STARTS, *ENDS)] == ["success"] * 7
    left = left_by(ask, "ci")
    assert left_by(ask, "hooked") == left
    assert (len(left["started"]), len(left["ended"]), len(left["results"])) == (1, 1, 10)
    statuses = {status for _, status, *_ in left["results"]}
    assert statuses == {"success", "pass", "warn", "fail", "error", "skipped"}
    assert {schema for schema, _ in left["granted"]} == {"ci", "ci_more"}


def test_start_hooks_come_before_the_first_model_and_end_hooks_after_the_last(api, ask, at):
    """Though a leaf was given up long before, and without a second parse of the project."""
    moments = ask(
        "select (select moment from hooked_audit.started) < (select min(built_at) from hooked.top),"
        " (select moment from hooked_audit.ended) > (select max(built_at) from hooked.slow)"
    )
    assert moments == [(True, True)]
    said = logs(at, "failing")
    assert [text.count("Starting full parse") for text in said if "full parse" in text] == [1]
    assert [text for text in said if "dbt starts cold" in text] == []
    (waited,) = (text for text in said if "Still at work: model.tiny.slow" in text)
    assert "4 of 4 OK hook: tiny.on-run-end.3" in waited


def test_where_a_start_hook_fails_no_model_runs_and_end_hooks_do(empty, api, ask, build, runs):
    """It is not tried again, though tasks have a retry: the hooks before it have run."""
    assert triggered(api, "no_start", vars={"start": 0}) == "failed"
    found = states(api, "no_start")
    assert {state for task, state in found.items() if "." in task} == {"upstream_failed"}
    assert (found["on_run_start"], found["on_run_end"]) == ("failed", "success")
    tries = {task["task_id"]: task["try_number"] for task in api.tasks("no_start")}
    assert tries["on_run_start"] == 1
    assert results_of(runs, "no_start") == build("--vars", "{start: 0}")
    left = left_by(ask, "ci")
    assert left_by(ask, "hooked") == left
    assert (len(left["started"]), left["results"], left["ended"]) == (1, [], [[0, "", ""]])


def test_hooks_of_a_triggered_run_are_about_what_it_selects(empty, api, ask, build, runs):
    """And an end hook that fails is the failure of a run in which all else went well."""
    some = {"select": "+middle", "exclude": "resource_type:test"}
    assert triggered(api, "some", **some, vars={"end": 0}) == "failed"
    found = states(api, "some")
    assert {task: state for task, state in found.items() if state != "skipped"} == {
        "on_run_start": "success",
        "seed.tiny.raw": "success",
        "model.tiny.top": "success",
        "model.tiny.middle": "success",
        "on_run_end": "failed",
        "run_results": "failed",
    }
    arguments = (f"--{name}={value}" for name, value in some.items())
    assert results_of(runs, "some") == build(*arguments, "--vars", "{end: 0}")
    left = left_by(ask, "ci")
    assert left_by(ask, "hooked") == left
    assert left["started"] == [["build", "model.tiny.middle model.tiny.top seed.tiny.raw"]]


def test_a_hook_that_failed_is_named_where_a_person_looks(api, at):
    assert xcom(api, "some", "run_results")["failed"].keys() == {ENDS[-1]}
    lines = log_of(at, "some", "on_run_end")
    (said,) = (line["error_detail"][0]["exc_value"] for line in lines if "error_detail" in line)
    assert said.splitlines() == [
        f"{ENDS[-1]}: error",
        "  tiny.on-run-end.3 failed, error:",
        "   division by zero",
        "  File: ./dbt_project.yml",
        "  The query:",
        "    select 1 / 0",
        "Run it again: clear on_run_end in Airflow (no dbt command runs hooks alone)",
    ]
