"""The owners of a DAG's tasks, as many as Airflow can store."""

from __future__ import annotations

from collections import Counter

from include.engine.plan.records import Dag, Task

# Airflow stores 2,000 characters with the DAG, and 500 with each start of a task (`log.owner`).
# This leaves room for the owners of tasks that a person adds.
_OWNERS_LENGTH = 400


def limit_owners(dag: Dag) -> Dag:
    """The DAG with as many owners as Airflow can store: those of the most tasks.

    Airflow joins all owners of a DAG's tasks. If the text is too long for its database, no task
    starts, or the whole DAG processor ends. A task whose owner is left out has the owner of the
    DAG's `default_args`, and its page names the owner.
    """
    counts = Counter(task.overrides["owner"] for task in dag.tasks if "owner" in task.overrides)
    kept, length = set(), 0
    for owner, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        length += len(owner) + len(", ")
        if length <= _OWNERS_LENGTH:
            kept.add(owner)
    if len(kept) == len(counts):
        return dag
    return dag._replace(
        tasks=tuple(
            task if task.overrides.get("owner", None) in (None, *kept) else _without_owner(task)
            for task in dag.tasks
        )
    )


def _without_owner(task: Task) -> Task:
    others = {key: value for key, value in task.overrides.items() if key != "owner"}
    line = f"- owner: {task.overrides['owner']} (the DAG has too many owners for Airflow)\n"
    return task._replace(overrides=others, doc=task.doc + line)
