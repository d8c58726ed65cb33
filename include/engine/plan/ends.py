"""The tasks that come before and after all others of a DAG."""

from __future__ import annotations

from collections.abc import Mapping

from include.engine.manifest.records import Node
from include.engine.plan.records import CHECK, HOOKS, START, Dag, Task

FIRST = Task(
    # No other task's id is without a dot.
    id="check_dbt",
    kind=CHECK,
    node="",
    upstream=(),
    group=(),
    # The least that has dbt parse the project and log in to the warehouse.
    argv=("show", "--inline", "select 1 as id"),
)
"""What would fail all tasks of a run alike fails here, once, before the others start."""


def add_check(dag: Dag) -> Dag:
    """The DAG with the task `check_dbt` before all others; as it is without dbt commands, or if
    hooks come first: they need dbt and the warehouse, too.
    """
    kinds = {task.kind for task in dag.tasks}
    if START in kinds or not any(task.argv for task in dag.tasks):
        return dag
    others = (task._replace(upstream=task.upstream or (FIRST.id,)) for task in dag.tasks)
    return dag._replace(tasks=(FIRST, *others))


def add_hooks(dag: Dag, nodes: Mapping[str, Node], each: tuple[str, ...] = ()) -> Dag:
    """The DAG with the project's hooks: a task before all others, and one after them. The hooks of
    the packages `each` run with each command instead.
    """
    first, last = (hook_tasks(kind, nodes, each) for kind in HOOKS)
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
    return dag._replace(tasks=tasks, hooks=each)


def hook_tasks(kind: str, nodes: Mapping[str, Node], each: tuple[str, ...]) -> tuple[Task, ...]:
    """The task that runs the hooks of that kind, if the project or a package of it has any."""
    ids = tuple(
        key
        for key, node in nodes.items()
        if key.startswith("operation.") and f"-{kind}-" in key and node.package not in each
    )
    # No other task's id is without a dot.
    return (Task(kind.replace("-", "_"), kind, ids[0], (), (), nodes=ids),) if ids else ()
