"""Which task publishes which asset, and what stands between the nodes that are assets.

A node that is built is an asset: other DAGs may wait for it. It is published once it is built and
tested. Pure functions over `plan.tasks`; nothing here knows Airflow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from include.engine.manifest.records import ManifestError, Node
from include.engine.plan import schedules, tasks
from include.engine.plan.records import PUBLISH, Asset, Task

REFRESHED = frozenset(("function", "model", "seed", "snapshot", "source"))
"""The resource types that hold data of their own: each such node is an asset."""

PUBLISHED = REFRESHED | {"exposure"}
"""The resource types with assets."""

_BUILD_AND_ONE_TEST = 2
"""Tasks of a node that is built by one task and tested by one.

The test task then publishes the asset. A node with further test tasks needs a task of its own for
that, after all of them.
"""


class Graph(NamedTuple):
    """What the manifest says, and where the plan put it.

    `read_by` has for each node the nearest REFRESHED nodes that it reads, through those that dbt
    does not store. `dag_ids` has the DAG of each node that is in one.
    """

    project: str
    nodes: Mapping[str, Node]
    read_by: Mapping[str, set[str]]
    dag_ids: Mapping[str, str]

    def assets(self, unique_ids: Iterable[str]) -> tuple[Asset, ...]:
        """The assets of these nodes, by unique id; a source with `asset: false` has none."""
        assets = (schedules.node_asset(self.nodes[unique_id]) for unique_id in sorted(unique_ids))
        return tuple(asset for asset in assets if asset)

    def outside(self, unique_id: str, dag_id: str) -> set[str]:
        """What `unique_id` reads that the DAG `dag_id` does not build."""
        return {node for node in self.read_by[unique_id] if self.dag_ids.get(node) != dag_id}


def require_distinct_assets(graph: Graph) -> None:
    """Raises ManifestError if two nodes give one name to two URIs, or one URI to two names.

    Airflow switches off one of two such assets, and each task that has it then fails.
    """
    published = (key for key, node in graph.nodes.items() if node.resource_type in PUBLISHED)
    first: dict[tuple[str, str], Asset] = {}
    for asset in graph.assets(published):
        for kind, value in (("name", asset.name), ("uri", asset.uri)):
            other = first.setdefault((kind, value), asset)
            if (other.name, other.uri) != (asset.name, asset.uri):
                raise ManifestError(
                    f"{other.unique_id} and {asset.unique_id} have assets with the {kind} "
                    f"{value!r}, which differ otherwise: give both the same name and uri, or none "
                    "in common (meta.airflow.asset)."
                )


def nearest_refreshed(nodes: Mapping[str, Node]) -> dict[str, set[str]]:
    """For each node the nearest refreshed ones that it reads, through ephemeral models and such."""
    read_by: dict[str, set[str]] = {}
    for unique_id in tasks.topological({key: node.parents for key, node in nodes.items()}):
        read_by[unique_id] = set().union(
            *({p} if _refreshed(nodes[p]) else read_by[p] for p in nodes[unique_id].parents)
        )
    return read_by


def refreshing_tasks(planned: Iterable[Task], graph: Graph) -> dict[str, tuple[str, ...]]:
    """For each node that is built, the tasks after which it is refreshed: the one that builds it
    and, in the same DAG, those that test it.
    """
    task_ids = {t.node: (t.id,) for t in planned if t.kind in REFRESHED and t.kind != "source"}
    for task in planned:
        for node in tested_nodes(graph.nodes[task.node]) if task.kind == "test" else ():
            if node in task_ids and graph.dag_ids[node] == graph.dag_ids[task.node]:
                task_ids[node] += (task.id,)
    return task_ids


def tested_nodes(node: Node) -> tuple[str, ...]:
    """The nodes that a test task tests. The task of a single test tests the model that the test was
    written for, or all that the test reads if it was written for none.
    """
    if node.resource_type != "test":
        return (node.unique_id,)
    return (node.attached,) if node.attached else node.parents


def assets_by_task(
    refreshed_after: Mapping[str, tuple[str, ...]], graph: Graph
) -> dict[str, tuple[Asset, ...]]:
    """The assets that each task publishes, where no other task has to end first."""
    assets: dict[str, tuple[Asset, ...]] = defaultdict(tuple)
    for unique_id, task_ids in refreshed_after.items():
        if len(task_ids) <= _BUILD_AND_ONE_TEST:
            assets[task_ids[-1]] += graph.assets([unique_id])
    return assets


def publish_tasks(
    refreshed_after: Mapping[str, tuple[str, ...]], graph: Graph
) -> Iterator[tuple[str, Task]]:
    """The tasks without a command, each with its DAG: of nodes that several tasks test, and of
    exposures.
    """
    waits = {
        (PUBLISH, unique_id): task_ids
        for unique_id, task_ids in refreshed_after.items()
        if len(task_ids) > _BUILD_AND_ONE_TEST
    }
    for unique_id, dag_id in graph.dag_ids.items():
        if graph.nodes[unique_id].resource_type == "exposure":
            inside = graph.read_by[unique_id] - graph.outside(unique_id, dag_id)
            waits["exposure", unique_id] = {i for p in inside for i in refreshed_after[p]}
    ids = tasks.task_ids(waits)
    for (kind, unique_id), upstream in waits.items():
        node = graph.nodes[unique_id]
        yield (
            graph.dag_ids[unique_id],
            Task(
                id=ids[kind, unique_id],
                kind=kind,
                node=unique_id,
                upstream=tuple(sorted(upstream)),
                group=tasks.group_path(node, graph.project),
                overrides=tasks.operator_arguments((kind, unique_id), ids[kind, unique_id], node),
                inlets=graph.assets(graph.outside(unique_id, graph.dag_ids[unique_id])),
                outlets=graph.assets([unique_id]),
            ),
        )


def consumer_notes(graph: Graph) -> dict[str, str]:
    """For each node that exposures read, the lines about them on its task's page (Markdown)."""
    notes: dict[str, str] = defaultdict(str)
    for node in graph.nodes.values():
        if node.resource_type == "exposure":
            label = node.label or node.name
            linked = f"[{label}]({node.url})" if node.url else label
            for read in sorted(graph.read_by[node.unique_id]):
                notes[read] += f"- read by {linked} (owner: {node.owner or 'unknown'})\n"
    return notes


def _refreshed(node: Node) -> bool:
    return node.resource_type in REFRESHED and node.materialized != "ephemeral"
