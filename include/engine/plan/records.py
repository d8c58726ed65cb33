"""What a plan consists of: DAGs, their tasks, and the schedules and assets between them.

plan/tasks.py and plan/dags.py make these records, plan/cache.py keeps them in a file. They are in a
module of their own because each task process imports them, and nothing else of the plan. For the
same reason they are tuples, and without `from __future__ import annotations`: such classes are
created faster than dataclasses.
"""

from collections.abc import Mapping
from typing import NamedTuple

DAILY = "@daily"
"""The schedule of `dbt_dag` where nothing else is known."""

BASE = "dbt_dag"
"""The DAG of every node that names no schedule of its own. Other DAG ids start with it."""

ALONE = frozenset(("@once", "@continuous"))
"""Presets of Airflow that name no time, and so cannot be combined with assets."""

PUBLISH = "asset"
"""The kind of a task without a command. It publishes what others tested."""

START, END = HOOKS = ("on-run-start", "on-run-end")
"""The kinds of the tasks that run the project's hooks: before and after all others of the DAG."""

CHECK = "check"
"""The kind of the task that comes first where no hooks do: does dbt work, and the warehouse?"""


class Options(NamedTuple):
    """The settings of the same names (settings.py), and the schedule of `dbt_dag`.

    A schedule of None is that of the DAG file, which other processes do not know.
    """

    gate_tests: bool = True
    unit_tests: bool = False
    source_freshness: bool = False
    saved_queries: bool = False
    hooks_with_each: str = "auto"
    warm: bool = True
    schedule: str | None = DAILY


class Asset(NamedTuple):
    """An Airflow asset: the unique id of the node that it stands for, its name and its URI."""

    unique_id: str
    name: str
    uri: str


class Schedule(NamedTuple):
    """`time` is a cron text, a preset or an ISO duration. `assets` is "all" or "any": the DAG waits
    for all assets that it reads, or for one of them. Each is "" where there is none. `timezone` is
    that of a cron text or preset, such as `Europe/Berlin`; "" is UTC.
    """

    time: str = ""
    assets: str = ""
    timezone: str = ""


class DagRequest(NamedTuple):
    """The DAG and the schedule that a node, or the DAG file, asks for.

    `schedule` is None if the node only names a DAG. `requested_by` is the node, for error messages.
    """

    dag_id: str
    schedule: Schedule | None
    requested_by: str


class Task(NamedTuple):
    """One dbt command: `dbt` and `argv` execute exactly `nodes` once all of `upstream` succeeded.

    - `id`, `upstream`: Airflow task ids, those upstream sorted
    - `kind`: a resource type of dbt, or one of the kinds above
    - `node`: the unique id of the node that is built or tested
    - `nodes`: the unique ids of all nodes that are executed, sorted
    - `group`: the names of the task groups around it, outermost first
    - `overrides`: arguments of the operator from dbt's YAML (plan/meta.py)
    - `microbatch`: whether the model takes the times of a window
    - `inlets`: what it reads from outside its DAG; `outlets`: what it publishes
    - `doc`: who reads the node, as Markdown
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
    """One DAG.

    - `request`: its schedule and who asked for it
    - `awaits`: the assets that the schedule waits for
    - `reads`: the nodes that are read from outside, sorted, each as a pair of its unique id and the
      id of its DAG ("" if it has none)
    - `hooks`: the packages whose hooks run with each command, sorted, where the others have tasks;
      None where there are no such tasks: then all hooks run with each command
    """

    id: str
    request: DagRequest
    awaits: tuple[Asset, ...]
    reads: tuple[tuple[str, str], ...]
    tasks: tuple[Task, ...]
    hooks: tuple[str, ...] | None = None
