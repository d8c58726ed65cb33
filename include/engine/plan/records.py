"""What a plan consists of: DAGs, their tasks, and the schedules and assets between them.

These are the records that plan/tasks.py and plan/dags.py make and plan/cache.py keeps.
They stand apart from what makes them: the process of a task imports these and nothing more. Such
a process makes the classes anew, tuples in a fifth of the time that dataclasses take; and a third
less where annotations are no texts (`from __future__`), each of which `typing` would compile.
"""

from collections.abc import Mapping
from typing import NamedTuple

BASE = "dbt_dag"
"""The DAG of everything that names no schedule of its own; the others' ids start with it."""

ALONE = frozenset(("@once", "@continuous"))
"""Presets of Airflow's that are no times."""

PUBLISH = "asset"
"""The kind of a task without a command: it publishes what several tasks together have tested."""

START, END = HOOKS = ("on-run-start", "on-run-end")
"""The kinds of the tasks that run the project's hooks, before and after all others of a DAG."""


class Options(NamedTuple):
    """What the settings of the same names say (see settings.py)."""

    gate_tests: bool = True
    unit_tests: bool = False
    source_freshness: bool = False
    saved_queries: bool = False
    warm: bool = True
    schedule: str = "@daily"


class Asset(NamedTuple):
    """An Airflow asset: the unique id of what it stands for, its name and its URI."""

    unique_id: str
    name: str
    uri: str


class Schedule(NamedTuple):
    """`time` is a cron text, a preset or an ISO duration; `assets` is "all" or "any" of those that
    the DAG reads. Either may be "", for none.
    """

    time: str = ""
    assets: str = ""


class DagRequest(NamedTuple):
    """The DAG and the schedule that a node, or the DAG file, asks for.

    `schedule` is None where the node names a DAG only; `requested_by` says who asks, for errors.
    """

    dag_id: str
    schedule: Schedule | None
    requested_by: str


class Task(NamedTuple):
    """One dbt command: `dbt` and `argv` execute exactly `nodes` once all of `upstream` succeeded.

    `id` is the Airflow task id and `upstream` are such ids, sorted; `kind` is a resource type of
    dbt's; `node` is the unique id of what it builds or tests, `nodes` are those of all that it
    executes, sorted; `group` is the path of task groups, outermost first; `overrides` are what
    dbt's YAML says of the operator (see plan/meta.py); a `microbatch` model takes the
    times of a window. What it reads from outside its DAG (`inlets`), publishes (`outlets`) and
    says of its consumers (`doc`, Markdown) is filled in by plan/dags.py.
    """

    id: str
    kind: str
    node: str
    upstream: tuple[str, ...]
    group: tuple[str, ...]
    argv: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    overrides: Mapping[str, object] = {}
    microbatch: bool = False
    inlets: tuple[Asset, ...] = ()
    outlets: tuple[Asset, ...] = ()
    doc: str = ""


class Dag(NamedTuple):
    """One DAG. `request` is its schedule and who asked for it; `awaits` are the assets that the
    schedule waits for; `reads` are pairs of what is read from outside, sorted: a unique id, and
    the id of its DAG ("" for what has none). With `hooks`, the project's hooks are tasks of it.
    """

    id: str
    request: DagRequest
    awaits: tuple[Asset, ...]
    reads: tuple[tuple[str, str], ...]
    tasks: tuple[Task, ...]
    hooks: bool = False
