"""The plan as a file beside the manifest, kept by the first parse for those that follow: Airflow
parses the DAG file again in every task process, and there only one task of the plan is asked for.

After a first line that says what the plan was made from come, for each DAG, a line of JSON about it
and one for each of its tasks. A plan of another manifest, of other options or of another version of
this project is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from include.engine.manifest import find
from include.engine.plan.records import Asset, Dag, DagRequest, Options, Schedule, Task
from include.engine.settings import Settings

NAME = "plan.jsonl"
# dbt writes `metadata` first, with an id of the invocation: the head, the size and the time tell
# one manifest from another without reading it.
_HEAD_BYTES = 4096

_HERE = Path(__file__).parent

MADE_BY = (*sorted(_HERE.glob("*.py")), _HERE.with_name("manifest") / "records.py")
"""The code that makes a plan."""


class TaskRef(NamedTuple):
    """One task of one DAG."""

    dag_id: str
    task_id: str


def plan_options(config: Settings) -> Options:
    """The options of the plan that the settings ask for."""
    return Options(*(getattr(config, name) for name in Options._fields))


def dag_tasks(config: Settings, dag_id: str) -> tuple[Task, ...]:
    """All tasks of one DAG, by the manifest that the settings name; () if it is not in there.

    Raises ManifestError as `manifest.load` and `plan_dags` do.
    """
    planned = load_plan(find.find_manifest(config, may_be_old=True), plan_options(config))
    return next((dag.tasks for dag in planned if dag.id == dag_id), ())


def load_plan(path: Path, options: Options, only: TaskRef | None = None) -> tuple[Dag, ...]:
    """The plan of the manifest at `path`, or of it the DAG of the one task `only`, with that task
    alone (or none; () if there is no such DAG).

    Raises ManifestError as `manifest.load` and `plan_dags` do.
    """
    kept = read_plan(path, options, only)
    if kept is not None:
        return kept
    from include.engine.manifest import records
    from include.engine.plan.dags import (
        plan_dags,  # a task's process, for which a plan is kept, goes without
    )

    planned = plan_dags(records.load_manifest(path), options)
    with contextlib.suppress(OSError):  # a read-only folder: each parse plans for itself
        write_plan(path, options, planned)
    if only is None:
        return planned
    return tuple(
        dag._replace(tasks=tuple(task for task in dag.tasks if task.id == only.task_id))
        for dag in planned
        if dag.id == only.dag_id
    )


def write_plan(path: Path, options: Options, planned: Iterable[Dag]) -> None:
    """Writes the plan of the manifest at `path` beside it, replacing an older one at once."""
    lines = [_origin(path, options)]
    for dag in planned:
        lines += [_line_of_dag(dag), *map(_line_of_task, dag.tasks)]
    unfinished = path.with_name(f".{NAME}-{uuid.uuid4().hex}")
    try:
        unfinished.write_text("\n".join(lines) + "\n")
        unfinished.replace(path.with_name(NAME))
    finally:
        unfinished.unlink(missing_ok=True)


def read_plan(path: Path, options: Options, only: TaskRef | None = None) -> tuple[Dag, ...] | None:
    """What `dags` returns, from the file; None where there is no such plan of this manifest."""
    try:
        text = path.with_name(NAME).read_text()
        if not text.startswith(_origin(path, options) + "\n"):
            return None
    except OSError:
        return None
    if only is None:
        return tuple(_dags(text.splitlines()[1:]))
    start = text.find(f'\n{{"id": {json.dumps(only.dag_id)}, ') + 1
    if not start:
        return ()
    (dag,) = _dags([text[start : text.index("\n", start)]])
    end = text.find("\n{", start)
    task = text.find(f"\n[{json.dumps(only.task_id)}, ", start, end if end > 0 else len(text)) + 1
    found = (_task(text[task : text.index("\n", task)]),) if task else ()
    return (dag._replace(tasks=found),)


def _line_of_dag(dag: Dag) -> str:
    return json.dumps(dag._replace(tasks=())._asdict())


def _line_of_task(task: Task) -> str:
    return json.dumps(task)


def _dags(lines: Iterable[str]) -> Iterator[Dag]:
    dag, tasks = None, []
    for line in lines:
        if line.startswith("["):
            tasks.append(_task(line))
            continue
        if dag:
            yield dag._replace(tasks=tuple(tasks))
        dag, tasks = _dag(line), []
    if dag:
        yield dag._replace(tasks=tuple(tasks))


def _dag(line: str) -> Dag:
    found = json.loads(line)
    dag_id, schedule, requested_by = found["request"]
    return Dag(
        id=found["id"],
        request=DagRequest(dag_id, Schedule(*schedule), requested_by),
        awaits=tuple(Asset(*asset) for asset in found["awaits"]),
        reads=tuple(map(tuple, found["reads"])),
        tasks=(),
        hooks=found["hooks"],
    )


def _task(line: str) -> Task:
    *values, inlets, outlets, doc = json.loads(line)
    plain = (tuple(value) if isinstance(value, list) else value for value in values)
    assets = (tuple(Asset(*asset) for asset in found) for found in (inlets, outlets))
    return Task(*plain, *assets, doc)


def _origin(path: Path, options: Options) -> str:
    """The first line of the plan: what it depends on. Raises OSError if there is no manifest."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        state = os.fstat(file.fileno())
    code = b"".join(file.read_bytes() for file in MADE_BY)
    digest = hashlib.sha256(head + code).hexdigest()
    made_from = {"digest": digest, "size": state.st_size, "modified": state.st_mtime_ns}
    return json.dumps(made_from | options._asdict())
