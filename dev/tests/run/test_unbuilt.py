"""A command that succeeds without running its nodes: dbt's exit code 0 is not believed."""

from __future__ import annotations

import json
import socket

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from dev.tests.conftest import EMPTY, Instance
from include.engine import settings
from include.engine.manifest import staleness
from include.engine.run import results, unbuilt
from include.engine.run.operator import DbtOperator

ORDERS, CUSTOMERS = "model.jaffle_shop.orders", "model.jaffle_shop.customers.v2"
RERUN = "Run it again: python -m include.engine.run.dbt run --select orders"
BROKEN_OFF = (
    "Held back by it: test.jaffle_shop.orders, model.jaffle_shop.customers.v1, "
    "model.jaffle_shop.customers.v2, model.jaffle_shop.daily_revenue, "
    "test.jaffle_shop.customers.v1 and 5 more"
)


@pytest.fixture
def execute(dbt):
    """Executes a task of a dbt that lists `listed`, with `--vars` only `listed_with_vars`."""
    program = dbt / "bin" / "dbt"
    text = program.read_text()
    only = 'case "$*" in ls*--vars*) cat listed_with_vars; exit 0;; esac\n'
    program.write_text(text.replace('case "$1" in ls)', f'{only}case "$1" in ls)'))

    def once(ran=(), listed=(), with_vars=(), nodes=(ORDERS,), **entered):
        found = [results.missing_result(node, "success") for node in ran]
        (dbt / "run_results.json").write_text(json.dumps({"metadata": {}, "results": found}))
        for name, ids in (("listed", listed), ("listed_with_vars", with_vars)):
            (dbt / name).write_text("".join(f'{{"unique_id": "{node}"}}\n' for node in ids))
        task = DbtOperator(
            task_id=ORDERS,
            argv=("run", "--select", "orders"),
            node=ORDERS,
            nodes=nodes,
            connection="warehouse",
            outlets=[Asset(ORDERS)],
        )
        ti = Instance(ORDERS)
        try:
            task.execute({"params": EMPTY | entered, "ti": ti})
        except AirflowException as error:
            return type(error), str(error).splitlines(), ti.xcoms, task.outlets
        return None, [], ti.xcoms, [asset.name for asset in task.outlets]

    return once


def test_a_node_with_a_result_is_built(execute):
    assert execute(ran=[ORDERS]) == (None, [], {}, [ORDERS])


def test_a_node_that_dbt_does_not_have_fails_the_task_which_is_retried(execute):
    """Another machine may have the project of the manifest. Here another package has the name."""
    kind, lines, xcoms, outlets = execute(ran=["model.other.orders"], listed=["model.other.orders"])
    config = settings.load()
    said = [
        f"dbt exited with 0 but did not run {ORDERS}.",
        "  It ran model.other.orders.",
        f"  The dbt project at {config.project_dir} on {socket.gethostname()} does not have "
        f"{ORDERS}, or disables it there. The manifest has it: {config.manifest}",
        "  No file changed since the manifest was built. So the manifest is of another version of "
        "the project, or a variable or target of this machine disables the node.",
        "  Deploy the project and its manifest together, then clear this task.",
    ]
    assert (kind, lines, outlets) == (AirflowException, [*said, BROKEN_OFF, RERUN], [])
    assert xcoms["return_value"]["status"] == "error"
    assert xcoms["return_value"]["results"][-1]["message"] == "\n".join(said)


def test_a_node_that_dbt_has_and_did_not_run_fails_the_task_too(execute):
    kind, lines, _, outlets = execute(listed=[ORDERS])
    assert (kind, outlets) == (AirflowException, [])
    assert lines == [
        f"dbt exited with 0 but did not run {ORDERS}.",
        "  dbt has this node. Its own output in this log says what it did.",
        BROKEN_OFF,
        RERUN,
    ]


def test_a_node_that_dbt_has_and_did_not_run_names_the_changed_files_too(monkeypatch, tmp_path):
    """As a source does whose rule of freshness was removed."""
    project, manifest = tmp_path / "project", tmp_path / "manifest.json"
    project.mkdir()
    manifest.write_text("{}")
    staleness.write_list(manifest, staleness.project_files(project))
    (project / "sources.yml").write_text("sources: []")
    monkeypatch.setenv("DBT_PROJECT_DIR", str(project))
    monkeypatch.setenv("DBT_MANIFEST", str(manifest))
    assert unbuilt.explain({"source.tiny.raw"}, {"source.tiny.raw"}, ()) == [
        "dbt exited with 0 but did not run source.tiny.raw.",
        "  dbt has this node. Its own output in this log says what it did.",
        "  The dbt project changed since its manifest was built: sources.yml",
        "  Build it with: make manifest (in an Astro project: rebuild the image)",
    ]


def test_a_node_that_the_params_of_the_run_disable_is_skipped(execute):
    kind, lines, xcoms, _ = execute(listed=[ORDERS], vars={"a": 1})
    assert (kind, lines) == (AirflowSkipException, ["The params of this run disable it."])
    assert xcoms == {}


def test_of_several_nodes_those_that_the_params_disable_are_left_out(execute):
    every = {"nodes": (ORDERS, CUSTOMERS), "listed": (ORDERS, CUSTOMERS)}
    assert execute(ran=[CUSTOMERS], with_vars=[CUSTOMERS], vars={"a": 1}, **every) == (
        *(None, []),
        *({}, []),
    )


def test_what_the_params_disable_excuses_nothing_else(execute):
    kind, lines, _, _ = execute(nodes=(ORDERS, CUSTOMERS), listed=[ORDERS], vars={"a": 1})
    assert kind is AirflowException
    assert lines[0] == f"dbt exited with 0 but did not run {CUSTOMERS}."
