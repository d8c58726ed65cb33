"""The plan's tasks as Airflow's operators, with the edges and task groups between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator, TaskGroup, get_parsing_context

from include.engine import settings
from include.engine.dag import pods, timetables
from include.engine.plan.names import group_id
from include.engine.plan.records import BASE, CHECK, END, HOOKS, Dag, Task
from include.engine.run.operator import DbtOperator

DEFAULTS = {
    # A task is skipped where a run was triggered for others: what is downstream goes on.
    "trigger_rule": "none_failed",
    # The runs of a backfill go side by side: never two that build the same model.
    "max_active_tis_per_dag": 1,
}
"""Arguments of every task of dbt, unless the DAG's `default_args` have others."""

Folders = tuple[str, ...]
"""The folders of a dbt node, outermost first."""


class Tasks(NamedTuple):
    """The ends of dbt's tasks in a DAG: those that wait for no other, and the one that comes last.

    In the process of a task only that task is there: where it is none of these, both are empty.
    """

    first: list[BaseOperator]
    last: list[BaseOperator]


def add_plan(dag: DAG, plan: Dag, config: settings.Settings) -> Tasks:
    """Adds an operator for each task of the plan, the edges between them, and the last tasks."""
    groups: dict[Folders, TaskGroup] = {(): dag.task_group}
    # One that is given its DAG copies the DAG's defaults and params, once for each of its classes.
    common = DEFAULTS | dag.default_args
    operators = {
        task.id: operator(
            task, plan, config, common | {"task_group": task_group(task.group, groups, dag)}
        )
        for task in plan.tasks
    }
    # Inside `with DAG(...)` Airflow has added them by itself.
    dag.add_tasks(one for key, one in operators.items() if not dag.has_task(key))
    for task in plan.tasks:
        for upstream in task.upstream:
            if upstream in operators:
                add_edge(operators[upstream], operators[task.id])
    asked = get_parsing_context().task_id
    if asked in operators:
        return Tasks([], [])  # the process of a model makes, and imports, nothing more
    ends = [operators[task.id] for task in plan.tasks if task.kind == END]
    add_catalog(dag, ends, config)
    last = add_run_results(dag)
    first = [operators[task.id] for task in plan.tasks if not task.upstream and not asked]
    return Tasks(first, last)


def add_edge(before: BaseOperator, after: BaseOperator) -> None:
    """`before >> after`, at a cost that does not grow with the DAG: Airflow's `>>` looks at every
    task of the DAG for each edge, and these sets are what it fills.
    """
    before.downstream_task_ids.add(after.task_id)
    after.upstream_task_ids.add(before.task_id)


def add_catalog(dag: DAG, ends: Collection[BaseOperator], config: settings.Settings) -> None:
    """Adds the task that asks the warehouse for dbt's catalog, where one is wanted: after all of
    dbt's tasks, but before `ends`, the task of its on-run-end hooks.

    It keeps the trigger rule of the others: after a failure it does not run, and hides none.
    """
    from include.engine.run import docs_catalog

    asked = get_parsing_context().task_id
    wanted = dag.dag_id == BASE and config.docs_catalog
    if not wanted or asked not in (None, docs_catalog.TASK_ID):
        return
    catalog = docs_catalog.Catalog(
        connection=config.connection, dag=dag, **DEFAULTS | dag.default_args
    )
    end_ids = {end.task_id for end in ends}
    for task in dag.tasks:
        if task not in (catalog, *ends) and task.downstream_task_ids <= end_ids:
            add_edge(task, catalog)
    for end in ends:
        add_edge(catalog, end)


def add_run_results(dag: DAG) -> list[BaseOperator]:
    """Adds the last task, after all that nothing waits for; [] in the process of another task."""
    from include.engine.run import summary

    if get_parsing_context().task_id not in (None, summary.TASK_ID):
        return []
    leaves = [task for task in dag.tasks if not task.downstream_task_ids]
    last = summary.RunResults(dag=dag, max_active_tis_per_dag=1)
    for leaf in leaves:
        add_edge(leaf, last)
    return [last]


def operator(
    task: Task, plan: Dag, config: settings.Settings, common: Mapping[str, Any]
) -> BaseOperator:
    """The operator of a task; `common` are the arguments that all tasks share."""
    arguments = {
        **(common if asks_warehouse(task) else without_pool(common)),
        **operator_arguments(task),
        "task_id": task.id,
        "inlets": timetables.map_assets(task.inlets),
        "outlets": timetables.map_assets(task.outlets),
        "doc_md": task.doc or None,
    }
    if task.kind in HOOKS:
        from include.engine.run.project_hooks import Hooks  # the process of a model goes without

        return Hooks(kind=task.kind, hooks=plan.hooks, connection=config.connection, **arguments)
    if not task.argv:
        return EmptyOperator(**arguments)
    if task.kind == CHECK:
        from include.engine.run.check import Check

        return Check(argv=task.argv, connection=config.connection, **arguments)
    return DbtOperator(
        argv=task.argv,
        node=task.node,
        nodes=task.nodes,
        microbatch=task.microbatch,
        hooks=plan.hooks,
        connection=config.connection,
        **arguments,
    )


def asks_warehouse(task: Task) -> bool:
    """Whether the task runs dbt. One without a command only publishes an asset."""
    return bool(task.argv) or task.kind in HOOKS


def operator_arguments(task: Task) -> dict[str, Any]:
    """What dbt's YAML says of a task, in Airflow's types. A task without a command takes no slot of
    a pool, and publishes only after all before it succeeded.
    """
    given = {
        key: timedelta(seconds=value) if key in ("retry_delay", "execution_timeout") else value
        for key, value in task.overrides.items()
    }
    if get_parsing_context().task_id:
        # A pod's Airflow may know no other executor than its own, and would refuse the DAG.
        given.pop("executor", None)
    if "executor_config" in given:
        given["executor_config"] = pods.executor_config(task.id, given["executor_config"])
    if asks_warehouse(task):
        return given
    return {"trigger_rule": "all_success"} | without_pool(given)


def without_pool(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a task that asks the warehouse nothing: pools limit what is asked of it."""
    return {key: value for key, value in arguments.items() if key not in ("pool", "pool_slots")}


def task_group(path: Folders, groups: dict[Folders, TaskGroup], dag: DAG) -> TaskGroup:
    """The task group of a dbt folder, inside those around it; task ids stay as they are."""
    if path not in groups:
        groups[path] = TaskGroup(
            group_id=group_id(path),
            group_display_name=path[-1],
            prefix_group_id=False,
            parent_group=task_group(path[:-1], groups, dag),
            dag=dag,
        )
    return groups[path]
