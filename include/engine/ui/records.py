"""What the pages of Airflow's UI consist of: ui/pages.py makes these records."""

from __future__ import annotations

from dataclasses import dataclass

from include.engine.plan.tasks import Task


@dataclass(frozen=True)
class Link:
    """A member of dbt's graph; `docs` is its address in dbt's documentation site, or empty."""

    unique_id: str
    kind: str
    name: str
    docs: str


@dataclass(frozen=True)
class Column:
    """`tests` are the names of the data tests on it; `type` is empty if it is unknown."""

    name: str
    type: str
    description: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Test:
    """One data test or unit test. `facts` are its arguments as YAML has them, and its file."""

    link: Link
    column: str
    facts: tuple[tuple[str, str], ...]
    severity: str
    description: str
    sql: str


@dataclass(frozen=True)
class Node:
    """A node that a task runs.

    `facts` are pairs of a label and a short text, none of them empty. `tests` are the names of the
    data tests that are on no single column. `sql` is the compiled SQL, or the model's file if
    `compiled` is False.
    """

    link: Link
    description: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    tests: tuple[str, ...]
    reads: tuple[Link, ...]
    feeds: tuple[Link, ...]
    sql: str
    compiled: bool

    @property
    def has_types(self) -> bool:
        return any(column.type for column in self.columns)


@dataclass(frozen=True)
class TaskPage:
    """`nodes` of a task that runs nodes; `tests` of a test task, and the nodes `tested` by them."""

    task: Task
    nodes: tuple[Node, ...]
    tests: tuple[Test, ...]
    tested: tuple[Link, ...]


@dataclass(frozen=True)
class DagPage:
    """`counts` are pairs of a dbt resource type and a number, `built` is when dbt wrote the
    manifest (ISO 8601, UTC); each of the sources and exposures has its facts.
    """

    project: str
    description: str
    counts: tuple[tuple[str, int], ...]
    built: str
    dbt: str
    sources: tuple[Node, ...]
    exposures: tuple[Node, ...]
