"""Which DAG each task is in, what a DAG reads from outside, and what it publishes."""

from __future__ import annotations

import random
import shlex
from dataclasses import replace

import pytest

from dev.tests.tiny import manifest, node
from include.engine.manifest.records import ManifestError
from include.engine.plan.dags import plan_dags
from include.engine.plan.ends import FIRST
from include.engine.plan.records import PUBLISH, Asset, Dag, DagRequest, Options, Schedule
from include.engine.plan.tasks import plan_tasks

RAW = node("source.shop.raw.a")
A = node("model.shop.a", "source.shop.raw.a")
TEST_A = node("test.shop.t_a.0", "model.shop.a")
DAG_FILE = "dbt_dags(schedule=…) in the DAG file"
WEEKLY = {"airflow": {"schedule": "@weekly"}}
ASSETS = {"airflow": {"schedule": "assets"}}


def dags(*nodes, selected=None, **options) -> dict[str, Dag]:
    found = plan_dags(manifest(*nodes, selected=selected), Options(**options))
    return {dag.id: dag for dag in found}


def edges(dag: Dag) -> dict[str, tuple[str, ...]]:
    """What each task waits for, without the task `check_dbt`, which comes before all others."""
    return {
        task.id: tuple(upstream for upstream in task.upstream if upstream != FIRST.id)
        for task in dag.tasks
        if task != FIRST
    }


def published(dag: Dag) -> dict[str, list[str]]:
    """The assets that each task publishes, of those that publish any."""
    return {task.id: [a.name for a in task.outlets] for task in dag.tasks if task.outlets}


def asset(unique_id: str) -> Asset:
    return Asset(unique_id, unique_id, unique_id)


def test_without_a_word_about_schedules_there_is_one_dag():
    found = dags(RAW, A, TEST_A)
    assert list(found) == ["dbt_dag"]
    assert found["dbt_dag"].request == DagRequest("dbt_dag", Schedule("@daily"), DAG_FILE)
    assert edges(found["dbt_dag"]) == {"model.shop.a": (), "test.shop.a": ("model.shop.a",)}
    assert found["dbt_dag"].reads == (("source.shop.raw.a", ""),)


def test_models_that_share_a_schedule_share_a_dag_and_every_task_is_in_exactly_one():
    """Between DAGs there are no edges: what is read from another one is an inlet."""
    b = node("model.shop.b", "model.shop.a", **WEEKLY)
    c = node("model.shop.c", "model.shop.b", **WEEKLY)
    found = dags(RAW, A, TEST_A, b, c, node("test.shop.t_b.0", "model.shop.b"))
    assert {dag_id: edges(dag) for dag_id, dag in found.items()} == {
        "dbt_dag": {"model.shop.a": (), "test.shop.a": ("model.shop.a",)},
        "dbt_dag__weekly": {
            "model.shop.b": (),
            "test.shop.b": ("model.shop.b",),
            "model.shop.c": ("model.shop.b", "test.shop.b"),
        },
    }
    weekly = found["dbt_dag__weekly"]
    assert (weekly.awaits, weekly.reads) == ((), (("model.shop.a", "dbt_dag"),))
    assert {t.id: t.inlets for t in weekly.tasks if t.inlets} == {
        "model.shop.b": (asset("model.shop.a"),)
    }


def test_an_asset_is_published_after_the_tests_that_were_written_for_its_node():
    """By the test task where there is one; where there are several, by a task after all of them."""
    b = node("model.shop.b")
    both = node("test.shop.both.0", "model.shop.a", "model.shop.b", attached="model.shop.a")
    found = dags(RAW, A, TEST_A, b, both)["dbt_dag"]
    assert published(found) == {
        "asset.shop.a": ["model.shop.a"],
        "model.shop.b": ["model.shop.b"],
    }
    assert edges(found)["asset.shop.a"] == ("model.shop.a", "test.shop.a", "test.shop.both.0")
    assert published(dags(RAW, A, b, both)["dbt_dag"]) == {
        "test.shop.both.0": ["model.shop.a"],
        "model.shop.b": ["model.shop.b"],
    }
    assert published(dags(RAW, A, TEST_A)["dbt_dag"]) == {"test.shop.a": ["model.shop.a"]}
    assert published(dags(RAW, A, TEST_A, gate_tests=False)["dbt_dag"]) == {
        "test.shop.a": ["model.shop.a"]
    }


def test_a_dag_by_assets_awaits_the_models_of_other_dags_and_the_sources_that_it_reads():
    """Past what dbt does not store. A source of which the YAML says that it is none is left out."""
    e = node("model.shop.e", "model.shop.a", "source.shop.raw.a", materialized="ephemeral")
    quiet = node("source.shop.raw.quiet", airflow={"asset": False})
    b = node("model.shop.b", "model.shop.e", "source.shop.raw.quiet", **ASSETS)
    found = dags(RAW, A, TEST_A, e, b, quiet)["dbt_dag__assets"]
    assert found.request.schedule == Schedule(assets="all")
    assert found.awaits == (asset("model.shop.a"), asset("source.shop.raw.a"))
    assert found.reads == (
        ("model.shop.a", "dbt_dag"),
        ("source.shop.raw.a", ""),
        ("source.shop.raw.quiet", ""),
    )


def test_the_base_dag_may_be_scheduled_by_its_sources():
    found = dags(RAW, A, schedule="@daily or any asset")["dbt_dag"]
    assert found.request.schedule == Schedule("@daily", "any")
    assert found.awaits == (asset("source.shop.raw.a"),)


def test_a_freshness_task_is_in_every_dag_that_reads_its_source():
    raw = replace(RAW, has_freshness=True)
    b = node("model.shop.b", "source.shop.raw.a", **WEEKLY)
    unread = node("source.shop.raw.unread", has_freshness=True)
    found = dags(raw, A, b, unread, source_freshness=True)
    assert {dag_id: edges(dag) for dag_id, dag in found.items()} == {
        "dbt_dag": {
            "source.shop.raw.a": (),
            "source.shop.raw.unread": (),
            "model.shop.a": ("source.shop.raw.a",),
        },
        "dbt_dag__weekly": {"source.shop.raw.a": (), "model.shop.b": ("source.shop.raw.a",)},
    }


def test_a_test_that_is_a_task_of_its_own_is_where_the_node_is_that_it_was_written_for():
    b = node("model.shop.b", **WEEKLY)
    parents = ("model.shop.a", "model.shop.b")
    for attached, home in (("model.shop.b", "dbt_dag__weekly"), (None, "dbt_dag")):
        test = node("test.shop.both.0", *parents, attached=attached)
        found = dags(RAW, A, b, test)
        assert [d.id for d in found.values() if "test.shop.both.0" in edges(d)] == [home]


def test_a_test_of_nodes_of_two_dags_holds_back_the_asset_of_its_own_dags_only():
    b = node("model.shop.b", **WEEKLY)
    test = node("test.shop.both.0", "model.shop.a", "model.shop.b")
    found = dags(RAW, A, b, test)
    assert published(found["dbt_dag"]) == {"test.shop.both.0": ["model.shop.a"]}
    assert published(found["dbt_dag__weekly"]) == {"model.shop.b": ["model.shop.b"]}


def test_what_only_a_test_reads_is_not_awaited():
    b = node("model.shop.b", "model.shop.a", **ASSETS)
    c = node("model.shop.c", **WEEKLY)
    test = node("test.shop.both.0", "model.shop.b", "model.shop.c", attached="model.shop.b")
    found = dags(RAW, A, b, c, test)["dbt_dag__assets"]
    assert found.awaits == (asset("model.shop.a"),)
    assert found.reads == (("model.shop.a", "dbt_dag"), ("model.shop.c", "dbt_dag__weekly"))


def test_dags_may_read_each_other_if_one_of_them_has_a_time():
    b = node("model.shop.b", "model.shop.a", **ASSETS)
    found = dags(RAW, A, b, node("model.shop.c", "model.shop.b"))
    assert {dag.id: dag.reads for dag in found.values()} == {
        "dbt_dag": (("model.shop.b", "dbt_dag__assets"), ("source.shop.raw.a", "")),
        "dbt_dag__assets": (("model.shop.a", "dbt_dag"),),
    }


EXPOSURE = node(
    "exposure.shop.report",
    "model.shop.a",
    label="Report",
    url="https://bi.example/1",
    owner="Ada",
)


def test_an_exposure_is_published_after_all_that_it_reads_and_told_on_its_page():
    found = dags(RAW, A, TEST_A, EXPOSURE)["dbt_dag"]
    assert edges(found)["exposure.shop.report"] == ("model.shop.a", "test.shop.a")
    assert published(found) == {
        "test.shop.a": ["model.shop.a"],
        "exposure.shop.report": ["exposure.shop.report"],
    }
    assert {task.id: task.doc for task in found.tasks if task.doc} == {
        "model.shop.a": "- read by [Report](https://bi.example/1) (owner: Ada)\n"
    }


def test_an_exposure_of_several_dags_is_published_by_a_dag_that_awaits_them():
    b = node("model.shop.b", **WEEKLY)
    exposure = node("exposure.shop.report", "model.shop.a", "model.shop.b")
    found = dags(RAW, A, b, exposure)["dbt_dag__assets"]
    assert edges(found) == {"exposure.shop.report": ()}
    assert found.awaits == (asset("model.shop.a"), asset("model.shop.b"))


def test_an_exposure_may_have_a_schedule_of_its_own():
    found = dags(RAW, A, node("exposure.shop.report", "model.shop.a", **WEEKLY))
    assert edges(found["dbt_dag__weekly"]) == {"exposure.shop.report": ()}


def test_an_exposure_of_nothing_that_is_built_has_no_task():
    assert edges(dags(RAW, A, node("exposure.shop.e", "source.shop.raw.a"))["dbt_dag"]) == {
        "model.shop.a": ()
    }


@pytest.mark.parametrize("seed", range(5))
def test_however_the_models_are_scheduled_no_task_and_no_edge_within_a_dag_is_lost(seed):
    """And what an edge to another DAG stood for is an inlet."""
    rng = random.Random(seed)
    ids = [f"model.shop.m{number:02}" for number in range(40)]
    nodes = []
    for number, unique_id in enumerate(ids):
        parents = rng.sample(ids[:number], min(number, rng.randint(0, 3)))
        airflow = rng.choice([{}, {"schedule": "@weekly"}, {"schedule": "@hourly"}])
        nodes.append(node(unique_id, *parents, airflow=airflow))
        tested = {unique_id, *rng.sample(ids, rng.randint(0, 1))}
        nodes.append(node(f"test.shop.t{number:02}.0", *tested, attached=unique_id))
    whole = manifest(*nodes)
    planned = {task.id: task for task in plan_tasks(whole, Options())}
    found = [(dag.id, t) for dag in plan_dags(whole, Options()) for t in dag.tasks if t != FIRST]
    home = {task.id: dag_id for dag_id, task in found}
    assert len(set(home.values())) == 3
    assert len(home) == len(found)
    assert {t.id for _, t in found if t.kind != PUBLISH} == planned.keys()
    for dag_id, task in found:
        before = planned[task.id].upstream if task.id in planned else task.upstream
        inside = tuple(u for u in before if home[u] == dag_id)
        assert task.upstream == (inside or (FIRST.id,))
        if task.kind == "model":
            away = {planned[u].node for u in before if home[u] != dag_id}
            assert {a.unique_id for a in task.inlets} == {n for n in away if n.startswith("model.")}


def test_an_empty_project_is_an_empty_dag():
    assert {dag_id: edges(dag) for dag_id, dag in dags().items()} == {"dbt_dag": {}}


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [A, node("model.shop.b", **ASSETS)],
            "dbt_dag__assets would never run: model.shop.b (models/b.sql) schedules it by assets, "
            "and its nodes read no model of another DAG and no source: model.shop.b.",
        ),
        (
            [
                A,
                node("model.shop.b", "model.shop.a", airflow={"schedule": "assets", "dag": "x"}),
                node("model.shop.c", "model.shop.b", airflow={"schedule": "assets", "dag": "y"}),
                node("model.shop.d", "model.shop.c", airflow={"dag": "x"}),
            ],
            "DAGs that are scheduled by assets wait for each other: ",
        ),
        (
            [
                node("model.shop.b", airflow={"schedule": "@weekly", "dag": "x"}),
                node("model.shop.c", airflow={"schedule": "@hourly", "dag": "x"}),
            ],
            "dbt_dag__x has two schedules: model.shop.b (models/b.sql) and model.shop.c "
            "(models/c.sql) differ. Name another DAG in meta.airflow.dag.",
        ),
        (
            [node("model.shop.b", airflow={"dag": "x"})],
            "dbt_dag__x has no schedule: name it in meta.airflow.schedule of model.shop.b",
        ),
        (
            [A, node("test.shop.t.0", "model.shop.a", airflow={"schedule": "@weekly"})],
            "test.shop.t.0 (tests/t.sql): meta.airflow has no key 'schedule'. It takes: retries",
        ),
        (
            [node("source.shop.raw.a", airflow={"dag": "x"})],
            "source.shop.raw.a (sources/raw.sql): meta.airflow has no key 'dag'. It takes: ",
        ),
    ],
    ids=["nothing read", "cycle", "two schedules", "no schedule", "a test's", "a source's"],
)
def test_a_schedule_that_cannot_be_names_the_nodes(nodes, message):
    with pytest.raises(ManifestError) as error:
        dags(RAW, *nodes) if RAW.unique_id not in {n.unique_id for n in nodes} else dags(*nodes)
    assert str(error.value).startswith(message)


def test_a_cycle_names_the_models_that_make_it():
    with pytest.raises(ManifestError) as error:
        dags(
            RAW,
            A,
            node("model.shop.b", "model.shop.a", airflow={"schedule": "assets", "dag": "x"}),
            node("model.shop.c", "model.shop.b", airflow={"schedule": "assets", "dag": "y"}),
            node("model.shop.d", "model.shop.c", airflow={"dag": "x"}),
        )
    assert "dbt_dag__x for model.shop.c of dbt_dag__y" in str(error.value)
    assert "dbt_dag__y for model.shop.b of dbt_dag__x" in str(error.value)


def test_what_is_left_out_is_published_by_nobody():
    b = node("model.shop.b", "model.shop.a", "source.shop.raw.a", **ASSETS)
    chosen = ["model.shop.b", "source.shop.raw.a"]
    with pytest.raises(ManifestError) as error:
        dags(RAW, A, b, selected=chosen)
    assert str(error.value).startswith(
        "dbt_dag__assets would never run: it is scheduled by assets, and nothing publishes "
        "model.shop.a, read by model.shop.b."
    )
    b = replace(b, airflow={"schedule": "any asset"})
    found = dags(RAW, A, b, selected=chosen)["dbt_dag__any_asset"]
    assert found.awaits == (asset("source.shop.raw.a"),)


def test_a_schedule_in_the_settings_that_is_none_names_the_variable():
    with pytest.raises(
        ManifestError,
        match=r"^dbt_dags\(schedule='often'\) in the DAG file: it takes a cron text, ",
    ):
        dags(A, RAW, schedule="often")


def test_a_task_before_all_others_of_each_dag_asks_whether_dbt_works():
    b = node("model.shop.b", "model.shop.a", **WEEKLY)
    found = dags(RAW, A, TEST_A, b, warm=False)
    assert {dag_id: {t.id: t.upstream for t in dag.tasks} for dag_id, dag in found.items()} == {
        "dbt_dag": {
            "check_dbt": (),
            "model.shop.a": ("check_dbt",),
            "test.shop.a": ("model.shop.a",),
        },
        "dbt_dag__weekly": {"check_dbt": (), "model.shop.b": ("check_dbt",)},
    }
    assert shlex.join(found["dbt_dag"].tasks[0].argv) == "show --inline 'select 1 as id'"


def test_no_task_asks_for_dbt_where_hooks_come_first_or_nothing_runs_it():
    exposure = node("exposure.shop.report", "model.shop.a", **WEEKLY)
    hooked, published = dags(RAW, A, START), dags(RAW, A, exposure)
    for dag in (hooked["dbt_dag"], published["dbt_dag__weekly"], dags()["dbt_dag"]):
        assert FIRST not in dag.tasks


START = node("operation.shop.shop-on-run-start-0")
LIBRARY_START = node("operation.library.library-on-run-start-0")
END = node("operation.shop.shop-on-run-end-0", "model.shop.a")


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"name": "x", "uri": "s3://a"}, {"name": "x", "uri": "s3://b"}, "the name 'x'"),
        ({"name": "x", "uri": "s3://a"}, {"name": "y", "uri": "s3://a"}, "the uri 's3://a'"),
        ({"name": "model.shop.c", "uri": "s3://a"}, None, "the name 'model.shop.c'"),
    ],
)
def test_assets_that_airflow_would_switch_off_are_named(one, other, words):
    """Two nodes may have one asset, if it is the same one."""
    b = node("model.shop.b", airflow={"asset": one})
    c = node("model.shop.c", airflow={"asset": other} if other else {})
    with pytest.raises(ManifestError) as error:
        dags(b, c)
    assert str(error.value) == (
        f"model.shop.b and model.shop.c have assets with {words}, which differ otherwise: give "
        "both the same name and uri, or none in common (meta.airflow.asset)."
    )
    assert list(dags(b, replace(c, airflow={"asset": one}))) == ["dbt_dag"]


def test_hooks_come_before_and_after_all_others_of_each_dag():
    """Once in each: those of the project and of its packages, whatever they read."""
    b = node("model.shop.b", "model.shop.a", **WEEKLY)
    found = dags(RAW, A, TEST_A, b, START, LIBRARY_START, END)
    assert {dag_id: edges(dag) for dag_id, dag in found.items()} == {
        "dbt_dag": {
            "on_run_start": (),
            "model.shop.a": ("on_run_start",),
            "test.shop.a": ("model.shop.a",),
            "on_run_end": ("test.shop.a",),
        },
        "dbt_dag__weekly": {
            "on_run_start": (),
            "model.shop.b": ("on_run_start",),
            "on_run_end": ("model.shop.b",),
        },
    }
    assert [dag.hooks for dag in found.values()] == [(), ()]
    first, *_, last = found["dbt_dag"].tasks
    assert (first.kind, first.nodes) == (
        "on-run-start",
        (LIBRARY_START.unique_id, START.unique_id),
    )
    assert (last.kind, last.nodes, last.argv) == ("on-run-end", (END.unique_id,), ())
    assert found["dbt_dag"].reads == dags(RAW, A, TEST_A, b)["dbt_dag"].reads


def test_of_hooks_of_one_kind_there_is_one_task():
    assert list(edges(dags(RAW, A, START)["dbt_dag"])) == ["on_run_start", "model.shop.a"]
    assert edges(dags(RAW, A, END)["dbt_dag"]) == {
        "model.shop.a": (),
        "on_run_end": ("model.shop.a",),
    }


def test_hooks_that_share_memory_run_with_each_command_and_the_others_once():
    """By default those of packages that the manifest names; a setting has its own list."""
    shared = replace(manifest(RAW, A, START, LIBRARY_START, END), sharing=frozenset(("library",)))

    def hook_nodes(**options):
        (found,) = plan_dags(shared, Options(**options))
        return {t.id: t.nodes for t in found.tasks if t.kind.startswith("on-")}, found.hooks

    start, end, library = START.unique_id, END.unique_id, LIBRARY_START.unique_id
    ends = {"on_run_end": (end,)}
    assert hook_nodes() == ({"on_run_start": (start,)} | ends, ("library",))
    assert hook_nodes(hooks_with_each="none") == ({"on_run_start": (library, start)} | ends, ())
    assert hook_nodes(hooks_with_each="shop") == ({"on_run_start": (library,)}, ("shop",))
    assert hook_nodes(hooks_with_each="library, shop") == ({}, None)


def test_without_hooks_or_tasks_and_where_dbt_is_cold_nothing_runs_hooks_alone():
    for found in (dags(RAW, A), dags(RAW, A, START, END, warm=False)):
        assert (edges(found["dbt_dag"]), found["dbt_dag"].hooks) == ({"model.shop.a": ()}, None)
    assert dags(START)["dbt_dag"].tasks == ()
