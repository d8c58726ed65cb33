"""The plan as DAGs: which task is in which, what a DAG reads from outside, and what it publishes.

Pure functions over `plan.tasks`; nothing here knows Airflow. No DAG waits for a task of another
one: what is built and tested publishes an asset, and a DAG may be scheduled by assets.
https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/asset-scheduling.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from include.engine.manifest.records import Manifest, ManifestError, Node
from include.engine.plan import meta, schedules, tasks
from include.engine.plan.records import (
    BASE,
    HOOKS,
    PUBLISH,
    Asset,
    Dag,
    DagRequest,
    Options,
    Schedule,
    Task,
)
from include.engine.plan.tasks import plan_tasks

REFRESHED = frozenset(("function", "model", "seed", "snapshot", "source"))
"""The resource types of what is refreshed by itself, and is an asset."""

_TESTS = frozenset(("test", "unit_test"))


class _Graph(NamedTuple):
    """`above` has for each node the nearest of REFRESHED that it reads, past what dbt does not
    store; `home` the DAG of what is in one.
    """

    project: str
    nodes: Mapping[str, Node]
    above: Mapping[str, set[str]]
    home: Mapping[str, str]

    def assets(self, unique_ids: Iterable[str]) -> tuple[Asset, ...]:
        found = (schedules.node_asset(self.nodes[unique_id]) for unique_id in sorted(unique_ids))
        return tuple(asset for asset in found if asset)

    def outside(self, unique_id: str, dag_id: str) -> set[str]:
        """What `unique_id` reads from elsewhere than from the DAG `dag_id`."""
        return {above for above in self.above[unique_id] if self.home.get(above) != dag_id}


def plan_dags(manifest: Manifest, options: Options) -> tuple[Dag, ...]:
    """The DAGs, the base DAG first, the others by their ids.

    Raises what `plan_tasks` raises, and ManifestError, naming nodes and files, for a schedule that
    is none or that could never fire.
    """
    default = DagRequest(BASE, schedules.parse_schedule(options.schedule), "DBT_SCHEDULE")
    if default.schedule is None:
        raise ManifestError(
            f"DBT_SCHEDULE is {options.schedule!r}; it takes {schedules.WORDS.replace('`', '')}."
        )
    for node in manifest.nodes.values():
        for section in meta.SECTIONS if node.airflow else ():
            meta.operator_arguments(node, section)  # of every node, with a task or not
    planned = plan_tasks(manifest, options)
    above = nearest_refreshed(manifest.nodes)
    home, requests = assign_dags(manifest, planned, above, default)
    graph = _Graph(manifest.project, manifest.nodes, above, home)
    members: dict[str, list[Task]] = defaultdict(list)
    for dag_id, task in tasks_by_dag(planned, graph):
        members[dag_id].append(task)
    order = sorted(members, key=lambda dag_id: (dag_id != BASE, dag_id)) or [BASE]
    found = tuple(_dag(requests[dag_id], dag_id, members[dag_id], graph) for dag_id in order)
    require_no_cycle(found)
    # Only a warm dbt can leave hooks out: those of a cold one run with each command.
    return tuple(add_hooks(dag, manifest.nodes) for dag in found) if options.warm else found


def nearest_refreshed(nodes: Mapping[str, Node]) -> dict[str, set[str]]:
    """For each node the nearest refreshed ones that it reads, past ephemeral models and such."""
    found: dict[str, set[str]] = {}
    for unique_id in tasks.topological({key: node.parents for key, node in nodes.items()}):
        found[unique_id] = set().union(
            *({p} if _refreshed(nodes[p]) else found[p] for p in nodes[unique_id].parents)
        )
    return found


def assign_dags(
    manifest: Manifest, planned: Iterable[Task], above: Mapping[str, set[str]], default: DagRequest
) -> tuple[dict[str, str], dict[str, DagRequest]]:
    """The DAG of each node that runs and of each exposure, and who asked for which DAG.

    A test that is a task of its own is in the DAG of the node that it was written for, or of the
    first that it reads. An exposure is where all that it reads is, or in the DAG of the schedule
    `assets`.
    """
    nodes = manifest.nodes
    home: dict[str, str] = {}
    requests = [default]
    planned = list(planned)
    for task in planned:
        if task.kind not in ("source", "test", "unit_test"):
            requests.append(schedules.dag_request(nodes[task.node], default.schedule))
            home[task.node] = requests[-1].dag_id
    for task in planned:
        if task.kind in _TESTS and task.node not in home:
            read = (*tested_nodes(nodes[task.node]), *sorted(above[task.node]))
            home[task.node] = next((home[p] for p in read if p in home), BASE)
    for exposure in _exposures(manifest):
        if read := {home[p] for p in above[exposure.unique_id] if p in home}:
            requests.append(_exposure_request(exposure, read, default))
            home[exposure.unique_id] = requests[-1].dag_id
    return home, _requests_by_dag(requests)


def tasks_by_dag(planned: Iterable[Task], graph: _Graph) -> Iterator[tuple[str, Task]]:
    """Each task with its DAG, in the plan's order, and then those that only publish.

    A freshness task is in every DAG that waits for it.
    """
    planned = list(planned)
    where = {task.id: graph.home[task.node] for task in planned if task.kind != "source"}
    copies: dict[str, set[str]] = defaultdict(set)
    for task in planned:
        for upstream in task.upstream:
            copies[upstream].add(where.get(task.id, BASE))
    after = refreshing_tasks(planned, graph)
    published = assets_by_task(after, graph)
    notes = consumer_notes(graph)
    for task in planned:
        builds = task.kind in REFRESHED - {"source"}
        for dag_id in [where[task.id]] if task.id in where else sorted(copies[task.id]) or [BASE]:
            yield (
                dag_id,
                task._replace(
                    upstream=tuple(u for u in task.upstream if where.get(u, dag_id) == dag_id),
                    inlets=graph.assets(graph.outside(task.node, dag_id)) if builds else (),
                    outlets=published.get(task.id, ()),
                    doc=notes.get(task.node, "") if builds else "",
                ),
            )
    yield from publish_tasks(after, graph)


def refreshing_tasks(planned: Iterable[Task], graph: _Graph) -> dict[str, tuple[str, ...]]:
    """For each node that is built, the tasks after which it is refreshed: the one that builds it
    and, in the same DAG, those that test it.
    """
    found = {t.node: (t.id,) for t in planned if t.kind in REFRESHED and t.kind != "source"}
    for task in planned:
        for node in tested_nodes(graph.nodes[task.node]) if task.kind == "test" else ():
            if node in found and graph.home[node] == graph.home[task.node]:
                found[node] += (task.id,)
    return found


def tested_nodes(node: Node) -> tuple[str, ...]:
    """What a test task tests: its node or, where that is a test itself, the node that this test was
    written for; all that it reads, if it was written for none.
    """
    if node.resource_type != "test":
        return (node.unique_id,)
    return (node.attached,) if node.attached else node.parents


def assets_by_task(
    after: Mapping[str, tuple[str, ...]], graph: _Graph
) -> dict[str, tuple[Asset, ...]]:
    """The assets that each task publishes: those of nodes that nothing is to be waited for
    besides."""
    found: dict[str, tuple[Asset, ...]] = defaultdict(tuple)
    for unique_id, ids in after.items():
        if len(ids) <= 2:
            found[ids[-1]] += graph.assets([unique_id])
    return found


def publish_tasks(
    after: Mapping[str, tuple[str, ...]], graph: _Graph
) -> Iterator[tuple[str, Task]]:
    """The tasks without a command: of nodes that several tasks test, and of exposures."""
    waits = {(PUBLISH, unique_id): ids for unique_id, ids in after.items() if len(ids) > 2}
    for unique_id, dag_id in graph.home.items():
        if graph.nodes[unique_id].resource_type == "exposure":
            inside = graph.above[unique_id] - graph.outside(unique_id, dag_id)
            waits["exposure", unique_id] = {i for p in inside for i in after[p]}
    ids = tasks.task_ids(waits)
    for (kind, unique_id), upstream in waits.items():
        node = graph.nodes[unique_id]
        yield (
            graph.home[unique_id],
            Task(
                id=ids[kind, unique_id],
                kind=kind,
                node=unique_id,
                upstream=tuple(sorted(upstream)),
                group=tasks.group_path(node, graph.project),
                overrides=meta.operator_arguments(node, "run"),
                inlets=graph.assets(graph.outside(unique_id, graph.home[unique_id])),
                outlets=graph.assets([unique_id]),
            ),
        )


def add_hooks(dag: Dag, nodes: Mapping[str, Node]) -> Dag:
    """The DAG with the project's hooks: a task before all others, and one after them."""
    first, last = (hook_tasks(kind, nodes) for kind in HOOKS)
    if not dag.tasks or not (first or last):
        return dag
    waited_for = {upstream for task in dag.tasks for upstream in task.upstream}
    leaves = tuple(sorted({task.id for task in dag.tasks} - waited_for))
    before = tuple(task.id for task in first)
    tasks = (
        *first,
        *(task._replace(upstream=task.upstream or before) for task in dag.tasks),
        *(task._replace(upstream=leaves) for task in last),
    )
    return dag._replace(tasks=tasks, hooks=True)


def hook_tasks(kind: str, nodes: Mapping[str, Node]) -> tuple[Task, ...]:
    """The task that runs the hooks of that kind, if the project or a package of it has any."""
    ids = tuple(key for key in nodes if key.startswith("operation.") and f"-{kind}-" in key)
    # No other task's id is without a dot.
    return (Task(kind.replace("-", "_"), kind, ids[0], (), (), nodes=ids),) if ids else ()


def consumer_notes(graph: _Graph) -> dict[str, str]:
    """For each node that exposures read, what the page of its task says of them, as Markdown."""
    found: dict[str, str] = defaultdict(str)
    for node in graph.nodes.values():
        if node.resource_type == "exposure":
            label = node.label or node.name
            linked = f"[{label}]({node.url})" if node.url else label
            for read in sorted(graph.above[node.unique_id]):
                found[read] += f"- read by {linked} (owner: {node.owner or 'unknown'})\n"
    return found


def require_no_cycle(found: Iterable[Dag]) -> None:
    """Raises ManifestError if DAGs that are scheduled by assets wait for each other."""
    builder = {dag.id: dict(dag.reads) for dag in found}
    waits = {dag.id: {builder[dag.id][asset.unique_id] for asset in dag.awaits} for dag in found}
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        # graphlib has each after what waits for it.
        circle = list(zip(error.args[1][1:], error.args[1], strict=False))
        raise ManifestError(
            "DAGs that are scheduled by assets wait for each other: "
            + "; ".join(
                f"{dag_id} for {', '.join(u for u, home in builder[dag_id].items() if home == to)}"
                f" of {to}"
                for dag_id, to in circle
            )
            + ". Give one of them a time: meta.airflow.schedule."
        ) from None


def _dag(request: DagRequest, dag_id: str, tasks: list[Task], graph: _Graph) -> Dag:
    outside = {task.node: graph.outside(task.node, dag_id) for task in tasks}
    read = set().union(*outside.values())
    needed = {task.node: outside[task.node] for task in tasks if task.kind not in _TESTS}
    return Dag(
        id=dag_id,
        request=request,
        awaits=_awaited_assets(request, needed, graph) if request.schedule.assets else (),
        reads=tuple(sorted((unique_id, graph.home.get(unique_id, "")) for unique_id in read)),
        tasks=tuple(tasks),
    )


def _awaited_assets(
    request: DagRequest, needed: Mapping[str, set[str]], graph: _Graph
) -> tuple[Asset, ...]:
    """The assets that a DAG's schedule waits for. Raises ManifestError if it could never fire."""
    read = set().union(*needed.values())
    nobodys = {u for u in read - graph.home.keys() if graph.nodes[u].resource_type != "source"}
    if nobodys and request.schedule.assets == "all":
        readers = sorted(u for u, above in needed.items() if above & nobodys)
        raise ManifestError(
            f"{request.dag_id} would never run: it is scheduled by assets, and nothing publishes "
            f"{', '.join(sorted(nobodys))}, read by {', '.join(readers)}. Select them too "
            "(DBT_SELECT), or give it a time."
        )
    found = graph.assets(read - nobodys)
    if not found:
        raise ManifestError(
            f"{request.dag_id} would never run: {request.requested_by} schedules it by assets, and "
            f"its nodes read no model of another DAG and no source: {', '.join(sorted(needed))}."
        )
    return found


def _requests_by_dag(requests: Iterable[DagRequest]) -> dict[str, DagRequest]:
    """The schedule of each DAG, with who asked for it first. Raises ManifestError if two differ."""
    found: dict[str, DagRequest] = {}
    for request in requests:
        first = found.setdefault(request.dag_id, request)
        if first.schedule is None:
            found[request.dag_id] = request
        elif request.schedule not in (None, first.schedule):
            raise ManifestError(
                f"{request.dag_id} has two schedules: {first.requested_by} and "
                f"{request.requested_by} differ. Name another DAG in meta.airflow.dag."
            )
    for request in found.values():
        if request.schedule is None:
            raise ManifestError(
                f"{request.dag_id} has no schedule: name it in meta.airflow.schedule of "
                f"{request.requested_by}."
            )
    return found


def _exposures(manifest: Manifest) -> Iterator[Node]:
    for node in manifest.nodes.values():
        if node.resource_type == "exposure" and tasks.selected(manifest, node.unique_id):
            yield node


def _exposure_request(exposure: Node, read: set[str], default: DagRequest) -> DagRequest:
    own = schedules.dag_request(exposure, default.schedule)
    if {"dag", "schedule"} & exposure.airflow.keys():
        return own
    if len(read) == 1:
        return own._replace(dag_id=min(read))
    return DagRequest(f"{BASE}__assets", Schedule(assets="all"), own.requested_by)


def _refreshed(node: Node) -> bool:
    return node.resource_type in REFRESHED and node.materialized != "ephemeral"
