"""The manifest's nodes as tasks and edges: what runs, what tests it, what waits for what.

Pure functions over `manifest.records`; nothing here knows Airflow. Tasks wait for each other as
nodes do in `dbt build`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping

from include.engine.manifest.records import Manifest, Node, storable
from include.engine.plan import meta, names, selectors
from include.engine.plan.data_tests import TESTS, assign_tests
from include.engine.plan.records import Options, Task

# How dbt runs each resource type, and in which order the types get their task ids.
VERBS = {
    "model": ("run",),
    "seed": ("seed",),
    "snapshot": ("snapshot",),
    "function": ("build", "--resource-type", "function"),
    "saved_query": ("build", "--resource-type", "saved_query"),
    "source": ("source", "freshness"),
    "unit_test": ("test",),
    "test": ("test",),
}
# A failed test skips only what is in the manifest's section "nodes". These are in other sections.
_NEVER_GATED = frozenset(
    ("exposure", "function", "metric", "saved_query", "semantic_model", "source")
)

Key = tuple[str, str]
"""A task before it has an id: its kind, and the unique id of the node that it runs or tests.

A test with a task of its own has its own unique id here.
"""


def plan_tasks(manifest: Manifest, options: Options) -> tuple[Task, ...]:
    """Every task, each after all that it waits for. The order depends on the manifest alone.

    Raises ValueError, naming nodes, if the manifest's graph has a cycle, and ManifestError for a
    `meta.airflow` that Airflow cannot take.
    """
    nodes = manifest.nodes
    order = topological({unique_id: node.parents for unique_id, node in nodes.items()})
    owners, blocking = assign_tests(order, nodes)
    members = nodes_by_task(manifest, owners, options)
    ids = task_ids(members)
    upstream = upstream_by_task(order, nodes, members.keys(), blocking, options.gate_tests)
    candidates = _candidates(nodes.values())
    return tuple(
        Task(
            id=ids[key],
            kind=key[0],
            node=key[1],
            argv=argv(
                key[0], [nodes[member] for member in members[key]], candidates[key[0]], nodes
            ),
            nodes=members[key],
            upstream=tuple(sorted(ids[other] for other in upstream[key])),
            group=group_path(nodes[key[1]], manifest.project),
            overrides=operator_arguments(key, ids[key], nodes[key[1]]),
            microbatch=key[0] == "model" and nodes[key[1]].microbatch,
        )
        for key in topological({key: upstream[key] for key in members})
    )


def topological(parents: Mapping) -> list:
    """The keys of `parents`, each after its parents; else in the mapping's order."""
    children = defaultdict(list)
    missing = {}
    for key, above in parents.items():
        missing[key] = len(above)
        for parent in above:
            children[parent].append(key)
    ready = deque(key for key, count in missing.items() if not count)
    order = []
    while ready:
        order.append(key := ready.popleft())
        for child in children[key]:
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    if len(order) < len(missing):
        raise ValueError(f"The graph has a cycle through some of {sorted(missing.keys() - order)}")
    return order


def nodes_by_task(
    manifest: Manifest, owners: Mapping[str, str], options: Options
) -> dict[Key, tuple[str, ...]]:
    """The unique ids that each task executes, without nodes that are not selected or never run."""
    members: dict[Key, list[str]] = defaultdict(list)
    for node in manifest.nodes.values():
        key = node.resource_type, owners.get(node.unique_id, node.unique_id)
        if node.resource_type == "unit_test" and node.parents:
            key = "unit_test", node.parents[0]
        if _runs(node, options) and selected(manifest, node.unique_id):
            members[key].append(node.unique_id)
    return {
        key: tuple(unique_ids)
        for key, unique_ids in members.items()
        # dbt runs a unit test with its model or not at all.
        if key[0] != "unit_test" or selected(manifest, key[1])
    }


def upstream_by_task(
    order: Iterable[str],
    nodes: Mapping[str, Node],
    keys: Collection[Key],
    blocking: Mapping[str, list[str]],
    gate_tests: bool,
) -> dict[Key, set[Key]]:
    """The tasks that each task waits for.

    A node may have no task: an ephemeral model, a source, a node that is not selected. Its children
    then wait for what it would have waited for.
    """
    upstream: dict[Key, set[Key]] = {}
    built: dict[str, set[Key]] = {}  # tasks after which the node exists
    tested: dict[str, set[Key]] = {}  # test tasks that a child of the node waits for, too
    for unique_id in order:
        node = nodes[unique_id]
        if node.resource_type in TESTS:
            continue
        builds = _union(built[parent] for parent in node.parents)
        tests = _union(tested[parent] for parent in node.parents)
        if gate_tests:
            tests |= {("test", test) for test in blocking.get(unique_id, ())} & keys
        if node.resource_type not in _NEVER_GATED:
            builds, tests = builds | tests, set()
        for key in (("unit_test", unique_id), (node.resource_type, unique_id)):
            if key in keys:
                upstream[key] = builds
                builds = {*builds, key} if key[0] == "unit_test" else {key}
        built[unique_id] = builds
        if (test := ("test", unique_id)) in keys:
            upstream[test] = builds
            tests = {*tests, test} if gate_tests else tests
        tested[unique_id] = tests
    for key in keys - upstream.keys():
        upstream[key] = _union(built[parent] for parent in nodes[key[1]].parents)
    return upstream


def task_ids(keys: Iterable[Key]) -> dict[Key, str]:
    """A task id for each key: dbt's unique id; for a test task, `test.` and the name of its model.

    If the id is taken or invalid in Airflow, other characters become `_` and a short hash is
    appended.
    """
    ids: dict[Key, str] = {}
    taken = set()
    # Tests with a task of their own come last: where a test has the name of a model, the tests of
    # the model keep `test.<package>.<name>`, and the other id gets the hash.
    for key in sorted(keys, key=lambda key: (key[1].startswith("test."), key)):
        task_id = natural_id(*key)
        if not names.is_id(task_id) or task_id in taken:
            task_id = names.hashed_id(task_id, "\n".join(key))
        taken.add(task_id)
        ids[key] = task_id
    return ids


def argv(
    kind: str,
    wanted: Iterable[Node],
    candidates: selectors.Candidates,
    nodes: Mapping[str, Node],
) -> tuple[str, ...]:
    """The arguments of `dbt` that execute exactly `wanted`, nodes of one kind."""
    if kind == "source":
        return (*VERBS[kind], "--select", *map(selectors.source, wanted))
    if kind in TESTS:
        return (*VERBS[kind], *selectors.select_tests(wanted, candidates, nodes))
    return (*VERBS[kind], *selectors.select(wanted, candidates))


def command_for(manifest: Manifest, kind: str, unique_ids: Iterable[str]) -> tuple[str, ...]:
    """`argv` for some nodes of the manifest. Raises KeyError for one that it does not have."""
    nodes = manifest.nodes
    wanted = [nodes[unique_id] for unique_id in unique_ids]
    return argv(kind, wanted, _candidates(nodes.values())[kind], nodes)


def operator_arguments(key: Key, task_id: str, node: Node) -> dict[str, object]:
    """What dbt's YAML says of the operator. A task whose id is not its natural one shows that."""
    arguments = meta.operator_arguments(node, "test" if key[0] in TESTS else "run")
    name = natural_id(*key)
    shown = names.shorten(storable(name), names.DISPLAY_NAME_LENGTH)
    return arguments if name == task_id else arguments | {"task_display_name": shown}


def group_path(node: Node, project: str) -> tuple[str, ...]:
    """The folders of a node: its package unless that is the project, `seeds` and the like for what
    is no model, and then dbt's own folders.
    """
    package = () if node.package == project else (node.package,)
    kind = () if node.resource_type == "model" else (node.resource_type + "s",)
    return (*package, *kind, *node.fqn[1 : -2 if node.versioned else -1])


def _runs(node: Node, options: Options) -> bool:
    return {
        "model": node.materialized != "ephemeral",
        "saved_query": options.saved_queries and node.has_exports,
        "source": options.source_freshness and node.has_freshness,
        "unit_test": options.unit_tests,
    }.get(node.resource_type, node.resource_type in VERBS)


def selected(manifest: Manifest, unique_id: str) -> bool:
    """Whether the node is in the selection that was made at build time."""
    return manifest.selected is None or unique_id in manifest.selected


def natural_id(kind: str, unique_id: str) -> str:
    """The id that a task has if Airflow takes it; a person sees it on the task in any case."""
    if kind == unique_id.partition(".")[0]:
        return unique_id
    if unique_id.startswith("source."):
        return f"{kind}.{unique_id}"
    return f"{kind}.{unique_id.partition('.')[2]}"


def _candidates(nodes: Iterable[Node]) -> dict[str, selectors.Candidates]:
    """What a command of each kind could pick: `dbt test` picks data tests and unit tests."""
    nodes_by_kind: dict[str, list[Node]] = {kind: [] for kind in VERBS}
    for node in nodes:
        if node.resource_type in nodes_by_kind:
            kind = "test" if node.resource_type in TESTS else node.resource_type
            nodes_by_kind[kind].append(node)
    indexed = {kind: selectors.candidates(members) for kind, members in nodes_by_kind.items()}
    return indexed | {"unit_test": indexed["test"]}


def _union(sets: Iterable[set[Key]]) -> set[Key]:
    return set().union(*sets)
