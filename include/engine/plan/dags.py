"""The plan as DAGs: which task is in which DAG, and what a DAG reads from outside.

Pure functions over `plan.tasks`; nothing here knows Airflow. No DAG waits for a task of another
DAG: a node that is built and tested publishes an asset (plan/assets.py), and a DAG may be scheduled
by assets.
https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/asset-scheduling.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from include.engine.manifest.hooks import with_each_command
from include.engine.manifest.records import Manifest, ManifestError, Node
from include.engine.plan import assets, ends, meta, owners, schedules, tasks
from include.engine.plan.assets import REFRESHED, Graph, tested_nodes
from include.engine.plan.data_tests import TESTS
from include.engine.plan.records import (
    BASE,
    DAILY,
    Asset,
    Dag,
    DagRequest,
    Options,
    Schedule,
    Task,
)
from include.engine.plan.tasks import plan_tasks


def plan_dags(manifest: Manifest, options: Options) -> tuple[Dag, ...]:
    """The DAGs, the base DAG first, the others by their ids.

    Raises what `plan_tasks` raises, and ManifestError, naming nodes and files, for a text that is
    no schedule and for a schedule that could never start a run.
    """
    default = base_request(options.schedule or DAILY)
    for node in manifest.nodes.values():
        for section in meta.SECTIONS if node.airflow else ():
            meta.operator_arguments(node, section)  # of every node, with a task or not
    planned = plan_tasks(manifest, options)
    read_by = assets.nearest_refreshed(manifest.nodes)
    dag_ids, requests = assign_dags(manifest, planned, read_by, default)
    graph = Graph(manifest.project, manifest.nodes, read_by, dag_ids)
    assets.require_distinct_assets(graph)
    members: dict[str, list[Task]] = defaultdict(list)
    for dag_id, task in tasks_by_dag(planned, graph):
        members[dag_id].append(task)
    order = sorted(members, key=lambda dag_id: (dag_id != BASE, dag_id)) or [BASE]
    dags = tuple(
        owners.limit_owners(_dag(requests[dag_id], dag_id, members[dag_id], graph))
        for dag_id in order
    )
    require_no_cycle(dags)
    if options.warm:  # only then hooks can be left out: those of a cold dbt run with each command
        each = with_each_command(options.hooks_with_each, manifest.sharing)
        dags = tuple(ends.add_hooks(dag, manifest.nodes, each) for dag in dags)
    return tuple(map(ends.add_check, dags))


def base_request(schedule: str) -> DagRequest:
    """The base DAG with the schedule of the DAG file. Raises ManifestError if that is none."""
    parsed = schedules.parse_schedule(schedule)
    if parsed is None:
        words = schedules.WORDS.replace("`", "")
        raise ManifestError(f"dbt_dags(schedule={schedule!r}) in the DAG file: it takes {words}.")
    return DagRequest(BASE, parsed, "dbt_dags(schedule=…) in the DAG file")


def assign_dags(
    manifest: Manifest,
    planned: Iterable[Task],
    read_by: Mapping[str, set[str]],
    default: DagRequest,
) -> tuple[dict[str, str], dict[str, DagRequest]]:
    """The DAG of each node that runs and of each exposure, and the request for each DAG.

    A test with a task of its own is in the DAG of the model that it was written for, or of the
    first node that it reads. An exposure is in the DAG that builds all that it reads; if several
    DAGs do, in the DAG of the schedule `assets`.
    """
    nodes = manifest.nodes
    dag_ids: dict[str, str] = {}
    requests = [default]
    planned = list(planned)
    for task in planned:
        if task.kind not in ("source", "test", "unit_test"):
            requests.append(schedules.dag_request(nodes[task.node], default.schedule))
            dag_ids[task.node] = requests[-1].dag_id
    for task in planned:
        if task.kind in TESTS and task.node not in dag_ids:
            read = (*tested_nodes(nodes[task.node]), *sorted(read_by[task.node]))
            dag_ids[task.node] = next((dag_ids[p] for p in read if p in dag_ids), BASE)
    for exposure in _exposures(manifest):
        builders = {dag_ids[p] for p in read_by[exposure.unique_id] if p in dag_ids}
        if builders:
            requests.append(_exposure_request(exposure, builders, default))
            dag_ids[exposure.unique_id] = requests[-1].dag_id
    return dag_ids, _requests_by_dag(requests)


def tasks_by_dag(planned: Iterable[Task], graph: Graph) -> Iterator[tuple[str, Task]]:
    """Each task with its DAG, in the plan's order, and then the tasks that only publish.

    A freshness task is in every DAG with a task that waits for it.
    """
    planned = list(planned)
    dag_of = {task.id: graph.dag_ids[task.node] for task in planned if task.kind != "source"}
    waiting_dags: dict[str, set[str]] = defaultdict(set)
    for task in planned:
        for upstream in task.upstream:
            waiting_dags[upstream].add(dag_of.get(task.id, BASE))
    refreshed_after = assets.refreshing_tasks(planned, graph)
    published = assets.assets_by_task(refreshed_after, graph)
    notes = assets.consumer_notes(graph)
    for task in planned:
        builds = task.kind in REFRESHED - {"source"}
        copies = sorted(waiting_dags[task.id]) or [BASE]
        for dag_id in [dag_of[task.id]] if task.id in dag_of else copies:
            yield (
                dag_id,
                task._replace(
                    upstream=tuple(u for u in task.upstream if dag_of.get(u, dag_id) == dag_id),
                    inlets=graph.assets(graph.outside(task.node, dag_id)) if builds else (),
                    outlets=published.get(task.id, ()),
                    doc=notes.get(task.node, "") if builds else "",
                ),
            )
    yield from assets.publish_tasks(refreshed_after, graph)


def require_no_cycle(dags: Iterable[Dag]) -> None:
    """Raises ManifestError if DAGs that are scheduled by assets wait for each other."""
    builders = {dag.id: dict(dag.reads) for dag in dags}
    waits = {dag.id: {builders[dag.id][asset.unique_id] for asset in dag.awaits} for dag in dags}
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        # graphlib has each after what waits for it.
        circle = list(zip(error.args[1][1:], error.args[1], strict=False))
        raise ManifestError(
            "DAGs that are scheduled by assets wait for each other: "
            + "; ".join(
                f"{dag_id} for {', '.join(u for u, by in builders[dag_id].items() if by == to)}"
                f" of {to}"
                for dag_id, to in circle
            )
            + ". Give one of them a time: meta.airflow.schedule."
        ) from None


def _dag(request: DagRequest, dag_id: str, tasks: list[Task], graph: Graph) -> Dag:
    outside = {task.node: graph.outside(task.node, dag_id) for task in tasks}
    read = set().union(*outside.values())
    needed = {task.node: outside[task.node] for task in tasks if task.kind not in TESTS}
    return Dag(
        id=dag_id,
        request=request,
        awaits=_awaited_assets(request, needed, graph) if request.schedule.assets else (),
        reads=tuple(sorted((unique_id, graph.dag_ids.get(unique_id, "")) for unique_id in read)),
        tasks=tuple(tasks),
    )


def _awaited_assets(
    request: DagRequest, needed: Mapping[str, set[str]], graph: Graph
) -> tuple[Asset, ...]:
    """The assets that a DAG's schedule waits for. Raises ManifestError if no run could start."""
    read = set().union(*needed.values())
    unpublished = {
        u for u in read - graph.dag_ids.keys() if graph.nodes[u].resource_type != "source"
    }
    if unpublished and request.schedule.assets == "all":
        readers = sorted(u for u, reads in needed.items() if reads & unpublished)
        raise ManifestError(
            f"{request.dag_id} would never run: it is scheduled by assets, and nothing publishes "
            f"{', '.join(sorted(unpublished))}, read by {', '.join(readers)}. Select them too "
            "(DBT_SELECT), or give it a time."
        )
    awaited = graph.assets(read - unpublished)
    if not awaited:
        raise ManifestError(
            f"{request.dag_id} would never run: {request.requested_by} schedules it by assets, and "
            f"its nodes read no model of another DAG and no source: {', '.join(sorted(needed))}."
        )
    return awaited


def _requests_by_dag(requests: Iterable[DagRequest]) -> dict[str, DagRequest]:
    """The schedule of each DAG, with the first node that asked for it.

    Raises ManifestError if two nodes ask for different schedules.
    """
    by_dag: dict[str, DagRequest] = {}
    for request in requests:
        first = by_dag.setdefault(request.dag_id, request)
        if first.schedule is None:
            by_dag[request.dag_id] = request
        elif request.schedule not in (None, first.schedule):
            raise ManifestError(
                f"{request.dag_id} has two schedules: {first.requested_by} and "
                f"{request.requested_by} differ. Name another DAG in meta.airflow.dag."
            )
    for request in by_dag.values():
        if request.schedule is None:
            raise ManifestError(
                f"{request.dag_id} has no schedule: name it in meta.airflow.schedule of "
                f"{request.requested_by}."
            )
    return by_dag


def _exposures(manifest: Manifest) -> Iterator[Node]:
    for node in manifest.nodes.values():
        if node.resource_type == "exposure" and tasks.selected(manifest, node.unique_id):
            yield node


def _exposure_request(exposure: Node, builders: set[str], default: DagRequest) -> DagRequest:
    own = schedules.dag_request(exposure, default.schedule)
    if {"dag", "schedule"} & exposure.airflow.keys():
        return own
    if len(builders) == 1:
        return own._replace(dag_id=min(builders))
    return DagRequest(f"{BASE}__assets", Schedule(assets="all"), own.requested_by)
