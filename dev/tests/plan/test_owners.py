"""The owners of a DAG, which Airflow stores as one text."""

from __future__ import annotations

from include.engine.plan.owners import limit_owners
from include.engine.plan.records import Dag, DagRequest, Schedule, Task

REQUEST = DagRequest("dbt_dag", Schedule("@daily"), "dbt_dag")


def dag(*owners: str | None) -> Dag:
    tasks = (
        Task(f"model.shop.m{n}", "model", f"model.shop.m{n}", (), (), overrides=arguments(owner))
        for n, owner in enumerate(owners)
    )
    return Dag("dbt_dag", REQUEST, (), (), tuple(tasks))


def arguments(owner: str | None) -> dict:
    return {"retries": 1} | ({"owner": owner} if owner else {})


def test_a_dag_with_few_owners_keeps_them():
    few = dag("ann", None, "bob")
    assert limit_owners(few) is few


def test_of_too_many_owners_those_of_most_tasks_stay_and_the_others_are_on_the_tasks_pages():
    large, small = "l" * 250, "s" * 250
    limited = limit_owners(dag(small, large, large, None))
    assert [task.overrides for task in limited.tasks] == [
        {"retries": 1},
        *([arguments(large)] * 2),
        {"retries": 1},
    ]
    assert [task.doc for task in limited.tasks] == [
        f"- owner: {small} (the DAG has too many owners for Airflow)\n",
        "",
        "",
        "",
    ]
