"""No task is green that did not build: the project and its manifest differ, or params disable.

A dbt project with hooks, run by Airflow's scheduler with the real dbt on a real Postgres.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dev.tests.scheduled.aftermath import last_words, published, results, said, states, tries
from dev.tests.scheduled.installation import dag_arguments, triggered, write_project

PROJECT = """
name: tiny
profile: tiny
models: {+materialized: table}
flags: {send_anonymous_usage_stats: false}
on-run-start: ["create table if not exists unbuilt_hooks (selected text)"]
on-run-end:
  - "insert into unbuilt_hooks values ('{{ selected_resources | sort | join(' ') }}')"
"""
FILES = {
    "dbt_project.yml": PROJECT,
    "models/models.yml": """
models:
  - name: extra
    columns: [{name: id, data_tests: [not_null]}]
""",
    "models/gone.sql": "select 1 as id",
    "models/child.sql": "select id from {{ ref('gone') }}",
    "models/steady.sql": "select 1 as id",
    "models/extra.sql": "{{ config(enabled=var('extra', true)) }} select 1 as id",
}
NOT_NULL = "test.tiny.not_null_extra_id.b40508ab7d"
HOOKS = ["operation.tiny.tiny-on-run-end-0", "operation.tiny.tiny-on-run-start-0"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("tiny project"), "unbuilt", FILES)


@pytest.fixture(scope="module")
def environment(environment, smtp) -> dict[str, str]:
    mail = {"to": "team@example.com", "from_email": "a@example.com"}
    return environment | smtp | dag_arguments("none", mail, retries=1, retry_delay=1)


def test_what_the_params_of_a_run_disable_is_skipped_as_in_dbt_build(api, at, runs):
    assert triggered(api, "without", vars={"extra": False}) == "success"
    assert states(api, "without") == {
        "on_run_start": "success",
        "model.tiny.gone": "success",
        "model.tiny.child": "success",
        "model.tiny.steady": "success",
        "model.tiny.extra": "skipped",
        "test.tiny.extra": "skipped",
        "on_run_end": "success",
        "run_results": "success",
    }
    assert published(api, "without") == {
        "model.tiny.gone",
        "model.tiny.child",
        "model.tiny.steady",
    }
    assert "The params of this run disable it." in said(at, "without", "model.tiny.extra")
    built = {"model.tiny.gone", "model.tiny.child", "model.tiny.steady", *HOOKS}
    assert results(runs, "without") == dict.fromkeys(built, "success")


def test_a_model_that_the_project_has_no_more_fails_and_publishes_nothing(
    api, at, runs, project, environment, mails
):
    (project / "models/gone.sql").rename(project / "models/renamed.sql")
    (project / "models/child.sql").write_text("select id from {{ ref('renamed') }}")
    assert triggered(api, "renamed") == "failed"
    assert states(api, "renamed") == {
        "on_run_start": "success",
        "model.tiny.gone": "failed",
        "model.tiny.child": "upstream_failed",
        "model.tiny.steady": "success",
        "model.tiny.extra": "success",
        "test.tiny.extra": "success",
        "on_run_end": "success",
        "run_results": "failed",
    }
    assert tries(api, "renamed", "model.tiny.gone", "on_run_start", "on_run_end") == [2, 1, 1]
    assert published(api, "renamed") == {"model.tiny.steady", "model.tiny.extra"}
    assert [mail["subject"] for mail in mails[1]] == ["dbt_dag: model.tiny.gone"]
    assert results(runs, "renamed") == {
        **dict.fromkeys(HOOKS, "success"),
        "model.tiny.gone": "error",
        "model.tiny.child": "skipped",
        "model.tiny.steady": "success",
        "model.tiny.extra": "success",
        NOT_NULL: "pass",
    }
    assert last_words(at, "renamed", "model.tiny.gone") == [
        "dbt exited with 0 but did not run model.tiny.gone.",
        f"  The dbt project at {project} on {socket.gethostname()} does not have model.tiny.gone, "
        f"or disables it there. The manifest has it: {environment['DBT_MANIFEST']}",
        "  The dbt project changed since its manifest was built: models/child.sql, "
        "models/gone.sql, models/renamed.sql",
        "  Build it with: make manifest (in an Astro project: rebuild the image)",
        "Held back by it: model.tiny.child",
        "Run it again: make dbt ARGS='run --select gone'",
    ]


def test_any_failure_names_a_stale_manifest(api, at, project):
    """Here the child alone is run: of its parent's new name the database knows nothing."""
    assert triggered(api, "child", select="child", vars={"extra": False}) == "failed"
    assert last_words(at, "child", "model.tiny.child")[-3:] == [
        "The dbt project changed since its manifest was built: models/child.sql, "
        "models/gone.sql, models/renamed.sql",
        "Build it with: make manifest (in an Astro project: rebuild the image)",
        """Run it again: make dbt ARGS='run --select child '"'"'--vars={"extra": false}'"'"''""",
    ]
