"""The optional last task, which asks the warehouse what dbt's documentation shows of it."""

from __future__ import annotations

import pytest

from dev.tests.conftest import in_task_process, parsed
from include.engine import settings
from include.engine.run import docs_catalog, summary


@pytest.fixture
def wanted(monkeypatch, tmp_path):
    place = tmp_path / "catalog.json"
    monkeypatch.setenv("DBT_DOCS_CATALOG", str(place))
    return place


def test_without_a_place_for_it_there_is_no_such_task(dag):
    assert docs_catalog.TASK_ID not in dag.task_ids


def test_it_comes_after_all_others_and_hides_no_failure(dag, wanted):
    with_it = parsed()
    task = with_it.get_task(docs_catalog.TASK_ID)
    assert task.upstream_task_ids == dag.get_task(summary.TASK_ID).upstream_task_ids
    assert task.downstream_task_ids == {summary.TASK_ID}
    assert (task.trigger_rule, task.bash_command) == (
        "none_failed",
        "dbt docs generate --no-compile < /dev/null",
    )


def test_its_process_has_that_task_alone(wanted):
    with in_task_process(docs_catalog.TASK_ID):
        assert parsed().task_ids == [docs_catalog.TASK_ID]


def test_what_was_never_asked_is_empty(wanted):
    assert docs_catalog.read_catalog(settings.load()) == {}
    wanted.write_text('{"nodes": {"model.a.b": {}}}')
    assert docs_catalog.read_catalog(settings.load()) == {"nodes": {"model.a.b": {}}}


def test_it_puts_what_dbt_found_where_it_is_wanted(wanted, dbt):
    (dbt / "bin" / "dbt").write_text(
        """#!/bin/sh
        mkdir -p "$DBT_TARGET_PATH"
        cd "$DBT_TARGET_PATH"
        printf '{"nodes": {"%s": "%s"}}' "$WAREHOUSE_HOST" "$*" > catalog.json
        """
    )
    docs_catalog.Catalog(connection="warehouse").execute({})
    assert docs_catalog.read_catalog(settings.load()) == {
        "nodes": {"h": "docs generate --no-compile"}
    }
