from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.tests.tiny import manifest, node
from include.engine.plan import tasks
from include.engine.plan.records import Options, Task
from include.engine.plan.tasks import plan_tasks

DEFAULT = Options()


def edges(found: tuple[Task, ...]) -> dict[str, set[str]]:
    return {task.id: set(task.upstream) for task in found}


def planned(*nodes, selected=None, **options) -> dict[str, set[str]]:
    return edges(plan_tasks(manifest(*nodes, selected=selected), DEFAULT._replace(**options)))


A = node("model.shop.a")
B = node("model.shop.b", "model.shop.a")
TEST_A = node("test.shop.not_null_a.1", "model.shop.a")


def test_a_model_and_its_test_are_a_run_and_a_test_task():
    found = plan_tasks(manifest(A, TEST_A), DEFAULT)
    assert found == (
        Task(
            "model.shop.a",
            "model",
            node="model.shop.a",
            upstream=(),
            group=(),
            argv=("run", "--select", "a"),
            nodes=("model.shop.a",),
        ),
        Task(
            "test.shop.a",
            "test",
            node="model.shop.a",
            upstream=("model.shop.a",),
            group=(),
            argv=("test", "--select", "not_null_a", "--indirect-selection", "empty"),
            nodes=("test.shop.not_null_a.1",),
        ),
    )


def test_a_child_waits_for_its_parent_and_for_its_parents_tests():
    assert planned(A, B, TEST_A) == {
        "model.shop.a": set(),
        "test.shop.a": {"model.shop.a"},
        "model.shop.b": {"model.shop.a", "test.shop.a"},
    }


def test_without_gates_the_edges_are_model_to_model_and_model_to_test():
    assert planned(A, B, TEST_A, gate_tests=False) == {
        "model.shop.a": set(),
        "test.shop.a": {"model.shop.a"},
        "model.shop.b": {"model.shop.a"},
    }


def test_seeds_snapshots_and_functions_have_their_own_verbs():
    found = plan_tasks(
        manifest(
            node("seed.shop.s"), node("snapshot.shop.h", "seed.shop.s"), node("function.shop.f")
        ),
        DEFAULT,
    )
    assert [(t.id, t.argv, t.group) for t in found] == [
        (
            "function.shop.f",
            ("build", "--resource-type", "function", "--select", "f"),
            ("functions",),
        ),
        ("seed.shop.s", ("seed", "--select", "s"), ("seeds",)),
        ("snapshot.shop.h", ("snapshot", "--select", "h"), ("snapshots",)),
    ]


def test_ephemeral_models_hand_on_what_they_would_wait_for():
    """A chain of ephemerals vanishes; the test of one runs after what it selects from."""
    found = planned(
        A,
        TEST_A,
        node("model.shop.e1", "model.shop.a", materialized="ephemeral"),
        node("model.shop.e2", "model.shop.e1", materialized="ephemeral"),
        node("test.shop.unique_e2.1", "model.shop.e2"),
        node("model.shop.c", "model.shop.e2"),
    )
    assert found == {
        "model.shop.a": set(),
        "test.shop.a": {"model.shop.a"},
        "test.shop.e2": {"model.shop.a", "test.shop.a"},
        "model.shop.c": {"model.shop.a", "test.shop.a", "test.shop.e2"},
    }


def test_what_is_not_selected_hands_on_its_edges():
    found = planned(
        A, B, node("model.shop.c", "model.shop.b"), selected=["model.shop.a", "model.shop.c"]
    )
    assert found == {"model.shop.a": set(), "model.shop.c": {"model.shop.a"}}


def test_a_test_belongs_to_the_parent_that_has_its_other_parents_above_it():
    found = plan_tasks(
        manifest(A, B, node("test.shop.relationships_b_a.1", "model.shop.a", "model.shop.b")),
        DEFAULT,
    )
    assert {t.id: t.nodes for t in found} == {
        "model.shop.a": ("model.shop.a",),
        "model.shop.b": ("model.shop.b",),
        "test.shop.b": ("test.shop.relationships_b_a.1",),
    }


def test_a_test_of_siblings_is_a_task_of_its_own_and_gates_what_reads_both():
    found = planned(
        A,
        node("model.shop.s"),
        node("test.shop.same_count.1", "model.shop.a", "model.shop.s"),
        node("model.shop.only_a", "model.shop.a"),
        node("model.shop.both", "model.shop.only_a", "model.shop.s"),
        node("model.shop.after", "model.shop.both"),
    )
    assert found == {
        "model.shop.a": set(),
        "model.shop.s": set(),
        "test.shop.same_count.1": {"model.shop.a", "model.shop.s"},
        "model.shop.only_a": {"model.shop.a"},
        "model.shop.both": {"model.shop.only_a", "model.shop.s", "test.shop.same_count.1"},
        "model.shop.after": {"model.shop.both"},
    }


def test_a_test_without_parents_waits_for_nothing_and_holds_nothing_back():
    assert planned(A, node("test.shop.clock")) == {"model.shop.a": set(), "test.shop.clock": set()}


def test_the_test_of_a_source_runs_first_and_gates_what_reads_it():
    found = planned(
        node("source.shop.raw.t"),
        node("test.shop.not_null_t.1", "source.shop.raw.t"),
        node("model.shop.m", "source.shop.raw.t"),
    )
    assert found == {
        "test.source.shop.raw.t": set(),
        "model.shop.m": {"test.source.shop.raw.t"},
    }


def test_functions_are_not_held_back_by_tests_but_what_reads_them_is():
    """dbt adds edges from tests only to members of the manifest's section `nodes`."""
    found = planned(
        A, TEST_A, node("function.shop.f", "model.shop.a"), node("model.shop.m", "function.shop.f")
    )
    assert found == {
        "model.shop.a": set(),
        "test.shop.a": {"model.shop.a"},
        "function.shop.f": {"model.shop.a"},
        "model.shop.m": {"function.shop.f", "test.shop.a"},
    }


def test_source_freshness_is_off_unless_switched_on():
    source = node("source.shop.raw.t", has_freshness=True)
    stale = node("source.shop.raw.u")
    reader = node("model.shop.m", "source.shop.raw.t", "source.shop.raw.u")
    assert planned(source, stale, reader) == {"model.shop.m": set()}
    found = plan_tasks(manifest(source, stale, reader), DEFAULT._replace(source_freshness=True))
    assert [(t.id, t.argv, t.upstream) for t in found] == [
        ("source.shop.raw.t", ("source", "freshness", "--select", "source:shop.raw.t"), ()),
        ("model.shop.m", ("run", "--select", "m"), ("source.shop.raw.t",)),
    ]


def test_unit_tests_run_before_their_model_when_switched_on():
    unit = node(
        "unit_test.shop.b.adds_up", "model.shop.b", name="adds_up", fqn=("shop", "b", "adds_up")
    )
    assert "unit_test.shop.b" not in planned(A, B, unit)
    assert planned(A, B, TEST_A, unit, unit_tests=True) == {
        "model.shop.a": set(),
        "test.shop.a": {"model.shop.a"},
        "unit_test.shop.b": {"model.shop.a", "test.shop.a"},
        "model.shop.b": {"model.shop.a", "test.shop.a", "unit_test.shop.b"},
    }


def test_a_unit_test_whose_model_is_not_selected_does_not_run():
    unit = node(
        "unit_test.shop.a.adds_up", "model.shop.a", name="adds_up", fqn=("shop", "a", "adds_up")
    )
    assert planned(A, unit, selected=[unit.unique_id], unit_tests=True) == {}


def test_saved_queries_need_exports_and_the_setting():
    query = node("saved_query.shop.q", "model.shop.a", has_exports=True)
    other = node("saved_query.shop.r", "model.shop.a")
    assert planned(A, query, other) == {"model.shop.a": set()}
    assert planned(A, query, other, saved_queries=True) == {
        "model.shop.a": set(),
        "saved_query.shop.q": {"model.shop.a"},
    }


def test_a_versioned_model_has_a_task_for_each_version():
    found = plan_tasks(manifest(node("model.shop.a.v1"), node("model.shop.a.v2")), DEFAULT)
    assert [(t.id, t.argv) for t in found] == [
        ("model.shop.a.v1", ("run", "--select", "a.v1")),
        ("model.shop.a.v2", ("run", "--select", "a.v2")),
    ]


def test_task_ids_that_airflow_would_refuse_or_that_are_taken_are_made_unique():
    """A singular test may be called like a model; names may hold anything; log folders are short.

    The hash is the start of: printf 'model\\nmodel.shop.a b' | sha256sum
    """
    ids = tasks.task_ids(
        [
            ("test", "test.shop.a"),
            ("test", "model.shop.a"),
            ("model", "model.shop.a b"),
            ("model", "model.shop.a+b"),
            ("model", "model.shop." + "x" * 300),
            ("model", "model.shop.größe"),
        ]
    )
    assert ids == {
        ("test", "model.shop.a"): "test.shop.a",
        ("test", "test.shop.a"): "test.shop.a.da071cae",
        ("model", "model.shop.a b"): "model.shop.a_b.5cb3ba99",
        ("model", "model.shop.a+b"): "model.shop.a_b.401c3d54",
        ("model", "model.shop." + "x" * 300): "model.shop." + "x" * 220 + ".b7ce3fe9",
        ("model", "model.shop.größe"): "model.shop.größe",
    }


def test_groups_are_dbts_folders():
    project = "shop"
    assert tasks.group_path(node("model.shop.a", fqn=("shop", "marts", "core", "a")), project) == (
        "marts",
        "core",
    )
    assert tasks.group_path(node("model.shop.a.v2", fqn=("shop", "marts", "a", "v2")), project) == (
        "marts",
    )
    assert tasks.group_path(node("seed.lib.s", fqn=("lib", "raw", "s")), project) == (
        "lib",
        "seeds",
        "raw",
    )


def test_a_cycle_is_refused_by_name():
    """dbt refuses it too, so this is a manifest that somebody changed by hand."""
    with pytest.raises(
        ValueError, match=r"cycle through some of \['model.shop.x', 'model.shop.y'\]"
    ):
        planned(node("model.shop.x", "model.shop.y"), node("model.shop.y", "model.shop.x"))


# --- properties, over manifests that hypothesis makes up

KINDS = ["model", "model", "model", "ephemeral", "seed", "snapshot", "source", "function"]


@st.composite
def manifests(draw, kinds=tuple(KINDS), subsets=True):
    """A random graph of up to 12 nodes and 10 tests, some of it not selected."""
    nodes = []
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(kinds))
        parents = [] if kind in ("seed", "source") else draw(_some([n.unique_id for n in nodes]))
        resource_type = "model" if kind == "ephemeral" else kind
        name = f"raw.n{number}" if kind == "source" else f"n{number}"
        fields = {"materialized": "ephemeral"} if kind == "ephemeral" else {}
        nodes.append(node(f"{resource_type}.shop.{name}", *parents, **fields))
    testable = [n.unique_id for n in nodes if n.resource_type != "function"]
    for number in range(draw(st.integers(0, 10))):
        nodes.append(node(f"test.shop.t{number}.0", *draw(_some(testable))))
    selected = draw(_some([n.unique_id for n in nodes], most=None)) if subsets else None
    return manifest(*nodes, selected=draw(st.sampled_from([None, selected])))


def _some(ids, most=4):
    return st.lists(st.sampled_from(ids), max_size=most, unique=True) if ids else st.just([])


def ancestors(unique_id, nodes) -> set[str]:
    """By the definition, with no cleverness."""
    above = set(nodes[unique_id].parents)
    return above.union(*(ancestors(parent, nodes) for parent in above))


def before(task_id, upstream) -> set[str]:
    above = set(upstream[task_id])
    return above.union(*(before(other, upstream) for other in above))


@given(manifests())
def test_every_node_and_test_is_in_exactly_one_task_and_ephemerals_in_none(m):
    found = plan_tasks(m, DEFAULT)
    executed = [unique_id for task in found for unique_id in task.nodes]
    expected = [
        n.unique_id
        for n in m.nodes.values()
        if n.resource_type != "source"
        and n.materialized != "ephemeral"
        and (m.selected is None or n.unique_id in m.selected)
    ]
    assert sorted(executed) == sorted(expected)


@given(manifests())
def test_tasks_come_after_what_they_wait_for(m):
    seen = set()
    for task in plan_tasks(m, DEFAULT):
        assert set(task.upstream) <= seen
        seen.add(task.id)


@given(manifests())
def test_a_node_waits_for_exactly_its_ancestors_and_the_tests_that_block_it(
    m,
):
    """Rule: test T blocks node N exactly when every parent of T is an ancestor of N.

    A function is not blocked itself, only by what blocks its ancestors.
    """
    found = plan_tasks(m, DEFAULT)
    task_of = {unique_id: task.id for task in found for unique_id in task.nodes}
    upstream = edges(found)
    above = {unique_id: ancestors(unique_id, m.nodes) for unique_id in m.nodes}

    def blocks(test, unique_id):
        parents = set(m.nodes[test].parents)
        gated = m.nodes[unique_id].resource_type not in ("function", "source")
        return bool(parents) and gated and parents <= above[unique_id]

    for unique_id in task_of:
        if m.nodes[unique_id].resource_type == "test":
            continue
        expected = {task_of[a] for a in above[unique_id] if a in task_of}
        for test in (t for t in task_of if m.nodes[t].resource_type == "test"):
            if any(blocks(test, n) for n in {unique_id, *above[unique_id]}):
                expected |= {task_of[test]}
        waited = before(task_of[unique_id], upstream)
        assert waited == expected.union(*(before(task, upstream) for task in expected))
        tests = {t for t in task_of if m.nodes[t].resource_type == "test" and task_of[t] in waited}
        allowed = {*above[unique_id], unique_id}
        assert all(any(blocks(t, n) for n in allowed) for t in tests)


@given(manifests())
def test_a_test_waits_for_all_its_selected_parents(m):
    found = plan_tasks(m, DEFAULT)
    task_of = {unique_id: task.id for task in found for unique_id in task.nodes}
    upstream = edges(found)
    for test in (t for t in task_of if m.nodes[t].resource_type == "test"):
        parents = {task_of[p] for p in m.nodes[test].parents if p in task_of}
        assert parents <= before(task_of[test], upstream)


@given(manifests())
def test_without_gates_no_test_is_waited_for(m):
    found = plan_tasks(m, DEFAULT._replace(gate_tests=False))
    tests = {task.id for task in found if task.kind == "test"}
    assert [task.id for task in found if tests & set(task.upstream)] == []


@given(manifests(kinds=("model", "seed", "snapshot"), subsets=False))
def test_edges_grow_with_the_graph(m):
    """Where nothing is passed through, an edge is one of dbt's, its gate, or a node to its test;
    beyond that only the tests of several nodes hold back what first has all of these above it.
    """
    found = plan_tasks(m, DEFAULT)
    own = {t.id for t in found if t.kind == "test" and t.id.count(".") == 3}
    gates = sum(len(own & set(task.upstream)) for task in found)
    links = sum(len(n.parents) for n in m.nodes.values())
    assert sum(len(task.upstream) for task in found) - gates <= 2 * links
    assert gates <= len(own) * len(m.nodes)


@given(manifests(), st.randoms())
def test_the_plan_does_not_depend_on_the_order_that_the_manifest_was_written_in(m, random):
    nodes = list(m.nodes.values())
    random.shuffle(nodes)
    assert plan_tasks(manifest(*nodes, selected=m.selected), DEFAULT) == plan_tasks(m, DEFAULT)
