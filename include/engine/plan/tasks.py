"""The manifest's nodes as tasks and edges: what runs, what tests it, what waits for what.

Pure functions over `manifest.records`; nothing here knows Airflow. The rules are those of
`dbt build` (dbt-core: Linker.add_test_edges_1): a test holds back exactly the nodes that have all
of the test's parents among their ancestors.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import reduce
from operator import and_, or_

from include.engine.manifest.records import Manifest, Node
from include.engine.plan import meta, selectors
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
_TESTS = frozenset(("test", "unit_test"))
# dbt holds back only what is in the manifest's section "nodes", which leaves these out.
_NEVER_GATED = frozenset(
    ("exposure", "function", "metric", "saved_query", "semantic_model", "source")
)
_TASK_ID = re.compile(r"[\w.-]+")
# Airflow allows 250 characters; a task's log folder `task_id=…` has 255 bytes at most.
_TASK_ID_BYTES = 240

Key = tuple[str, str]
"""A task before it has an id: its kind, and the unique id of the node that it runs or tests.

A test that belongs to no single node has its own unique id here.
"""


def plan_tasks(manifest: Manifest, options: Options) -> tuple[Task, ...]:
    """Every task, each after all that it waits for, in an order that only the manifest decides.

    Raises ValueError, naming nodes, if the manifest's graph has a cycle, and ManifestError for what
    Airflow cannot be told of a node.
    """
    nodes = manifest.nodes
    order = topological({unique_id: node.parents for unique_id, node in nodes.items()})
    homes, gates = assign_tests(order, nodes)
    members = nodes_by_task(manifest, homes, options)
    ids = task_ids(members)
    upstream = upstream_by_task(order, nodes, members.keys(), gates, options.gate_tests)
    among = _among(nodes.values())
    return tuple(
        Task(
            id=ids[key],
            kind=key[0],
            node=key[1],
            argv=argv(key[0], [nodes[member] for member in members[key]], among[key[0]], nodes),
            nodes=members[key],
            upstream=tuple(sorted(ids[other] for other in upstream[key])),
            group=group_path(nodes[key[1]], manifest.project),
            overrides=meta.operator_arguments(nodes[key[1]], "test" if key[0] in _TESTS else "run"),
            microbatch=key[0] == "model" and nodes[key[1]].microbatch,
        )
        for key in topological({key: upstream[key] for key in members})
    )


def topological(parents: Mapping) -> list:
    """The keys of `parents`, each after its own; equally free ones in the mapping's order."""
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


def assign_tests(
    order: Iterable[str], nodes: Mapping[str, Node]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Where each data test belongs, and which tests of several nodes hold back which node.

    A test's home is the parent that has all the others among its ancestors, or the test itself if
    there is none. The second mapping names, for a node, the homeless tests whose parents are all
    its ancestors while that is true of none of the node's own parents.

    A bit is a test of several parents, a slot is the position of a parent in its test: the bits of
    slot i that reach a node are the tests whose i-th parent is above it.
    """
    tests = [node for node in nodes.values() if node.resource_type == "test"]
    homes = {t.unique_id: t.parents[0] if len(t.parents) == 1 else t.unique_id for t in tests}
    several = [test for test in tests if len(test.parents) > 1]
    slots = range(max((len(test.parents) for test in several), default=0))
    own: dict[str, list[int]] = defaultdict(lambda: [0 for _ in slots])
    for bit, test in enumerate(several):
        for slot in slots:
            own[test.parents[min(slot, len(test.parents) - 1)]][slot] |= 1 << bit

    upto: dict[str, list[int]] = {}
    complete: dict[str, int] = {}
    gates: dict[str, list[str]] = {}
    for unique_id in order if several else ():
        if nodes[unique_id].resource_type in _TESTS:
            continue
        parents = nodes[unique_id].parents
        above = [_any(upto[parent][slot] for parent in parents) for slot in slots]
        complete[unique_id] = reduce(and_, above)
        upto[unique_id] = (
            [a | b for a, b in zip(above, own[unique_id], strict=True)]
            if unique_id in own
            else above
        )
        for bit in _bits(reduce(and_, upto[unique_id]) & ~complete[unique_id]):
            homes[several[bit].unique_id] = unique_id
        fresh = complete[unique_id] & ~_any(complete[parent] for parent in parents)
        held = [several[bit].unique_id for bit in _bits(fresh)]
        gates[unique_id] = [test for test in held if homes[test] == test]
    return homes, gates


def nodes_by_task(
    manifest: Manifest, homes: Mapping[str, str], options: Options
) -> dict[Key, tuple[str, ...]]:
    """What each task executes: unique ids by key. What is not selected or never run is left out."""
    members: dict[Key, list[str]] = defaultdict(list)
    for node in manifest.nodes.values():
        key = node.resource_type, homes.get(node.unique_id, node.unique_id)
        if node.resource_type == "unit_test" and node.parents:
            key = "unit_test", node.parents[0]
        if _runs(node, options) and selected(manifest, node.unique_id):
            members[key].append(node.unique_id)
    return {
        key: tuple(found)
        for key, found in members.items()
        # dbt runs a unit test with its model or not at all.
        if key[0] != "unit_test" or selected(manifest, key[1])
    }


def upstream_by_task(
    order: Iterable[str],
    nodes: Mapping[str, Node],
    keys: Collection[Key],
    gates: Mapping[str, list[str]],
    gate_tests: bool,
) -> dict[Key, set[Key]]:
    """What each task waits for.

    A node without a task (an ephemeral model, a source, one that is not selected) hands on to its
    children what it would have waited for itself.
    """
    upstream: dict[Key, set[Key]] = {}
    built: dict[str, set[Key]] = {}  # what a child waits for so that this node is there
    tested: dict[str, set[Key]] = {}  # the tests that a child waits for besides
    for unique_id in order:
        node = nodes[unique_id]
        if node.resource_type in _TESTS:
            continue
        before = _union(built[parent] for parent in node.parents)
        holding = _union(tested[parent] for parent in node.parents)
        if gate_tests:
            holding |= {("test", test) for test in gates.get(unique_id, ())} & keys
        if node.resource_type not in _NEVER_GATED:
            before, holding = before | holding, set()
        for key in (("unit_test", unique_id), (node.resource_type, unique_id)):
            if key in keys:
                upstream[key] = before
                before = {*before, key} if key[0] == "unit_test" else {key}
        built[unique_id] = before
        if (test := ("test", unique_id)) in keys:
            upstream[test] = before
            holding = {*holding, test} if gate_tests else holding
        tested[unique_id] = holding
    for key in keys - upstream.keys():
        upstream[key] = _union(built[parent] for parent in nodes[key[1]].parents)
    return upstream


def task_ids(keys: Iterable[Key]) -> dict[Key, str]:
    """A task id for each key: dbt's unique id, for a test task `test.` and what it tests.

    Where that is taken, or is not a task id for Airflow, it is made one and gets a short hash.
    """
    ids: dict[Key, str] = {}
    taken = set()
    for key in sorted(keys, key=lambda key: (key[1].startswith("test."), key)):
        task_id = _task_id(*key)
        fits = _TASK_ID.fullmatch(task_id) and len(task_id.encode()) <= _TASK_ID_BYTES
        if not fits or task_id in taken:
            digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:8]
            cut = re.sub(r"[^A-Za-z0-9_.-]", "_", task_id)[: _TASK_ID_BYTES - 9]
            task_id = f"{cut}.{digest}"
        taken.add(task_id)
        ids[key] = task_id
    return ids


def argv(
    kind: str,
    wanted: Iterable[Node],
    among: selectors.Candidates,
    nodes: Mapping[str, Node],
) -> tuple[str, ...]:
    """What follows `dbt` on the command line that executes exactly `wanted`, of one kind."""
    if kind == "source":
        return (*VERBS[kind], "--select", *map(selectors.source, wanted))
    if kind in _TESTS:
        return (*VERBS[kind], *selectors.select_tests(wanted, among, nodes))
    return (*VERBS[kind], *selectors.select(wanted, among))


def command_for(manifest: Manifest, kind: str, unique_ids: Iterable[str]) -> tuple[str, ...]:
    """`argv` for some nodes of the manifest. Raises KeyError for one that it does not have."""
    nodes = manifest.nodes
    return argv(kind, [nodes[one] for one in unique_ids], _among(nodes.values())[kind], nodes)


def group_path(node: Node, project: str) -> tuple[str, ...]:
    """dbt's folders: the package if it is not the root's, what is not a model by its kind."""
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
    """Whether a selection at build time left the node in."""
    return manifest.selected is None or unique_id in manifest.selected


def _task_id(kind: str, unique_id: str) -> str:
    if kind == unique_id.partition(".")[0]:
        return unique_id
    if unique_id.startswith("source."):
        return f"{kind}.{unique_id}"
    return f"{kind}.{unique_id.partition('.')[2]}"


def _among(nodes: Iterable[Node]) -> dict[str, selectors.Candidates]:
    """What a command of each kind could pick: `dbt test` picks data tests and unit tests."""
    found: dict[str, list[Node]] = {kind: [] for kind in VERBS}
    for node in nodes:
        if node.resource_type in found:
            found["test" if node.resource_type in _TESTS else node.resource_type].append(node)
    indexed = {kind: selectors.candidates(members) for kind, members in found.items()}
    return indexed | {"unit_test": indexed["test"]}


def _any(bitsets: Iterable[int]) -> int:
    return reduce(or_, bitsets, 0)


def _bits(bitset: int) -> Iterator[int]:
    while bitset:
        lowest = bitset & -bitset
        yield lowest.bit_length() - 1
        bitset ^= lowest


def _union(sets: Iterable[set[Key]]) -> set[Key]:
    return set().union(*sets)
