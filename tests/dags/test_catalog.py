"""The optional last task, which asks the warehouse what dbt's documentation shows of it."""

from __future__ import annotations

import pytest

from include import catalog, run_results, settings
from tests.dags.conftest import in_task_process, parsed


@pytest.fixture
def wanted(monkeypatch, tmp_path):
    place = tmp_path / "catalog.json"
    monkeypatch.setenv("DBT_DOCS_CATALOG", str(place))
    return place


def test_without_a_place_for_it_there_is_no_such_task(dag):
    assert catalog.TASK_ID not in dag.task_ids


def test_it_comes_after_all_others_and_hides_no_failure(dag, wanted):
    with_it = parsed()
    task = with_it.get_task(catalog.TASK_ID)
    assert task.upstream_task_ids == dag.get_task(run_results.TASK_ID).upstream_task_ids
    assert task.downstream_task_ids == {run_results.TASK_ID}
    assert (task.trigger_rule, task.bash_command) == (
        "none_failed",
        "dbt docs generate --no-compile < /dev/null",
    )


def test_its_process_has_that_task_alone(wanted):
    with in_task_process(catalog.TASK_ID):
        assert parsed().task_ids == [catalog.TASK_ID]


def test_what_was_never_asked_is_empty(wanted):
    assert catalog.read(settings.load()) == {}
    wanted.write_text('{"nodes": {"model.a.b": {}}}')
    assert catalog.read(settings.load()) == {"nodes": {"model.a.b": {}}}


def test_it_puts_what_dbt_found_where_it_is_wanted(wanted, dbt):
    (dbt / "bin" / "dbt").write_text(
        """#!/bin/sh
        mkdir -p "$DBT_TARGET_PATH"
        cd "$DBT_TARGET_PATH"
        printf '{"nodes": {"%s": "%s"}}' "$WAREHOUSE_HOST" "$*" > catalog.json
        """
    )
    catalog.Catalog(task_id=catalog.TASK_ID, connection="warehouse").execute({})
    assert catalog.read(settings.load()) == {"nodes": {"h": "docs generate --no-compile"}}
