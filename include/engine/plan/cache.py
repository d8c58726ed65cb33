"""The plan as a file beside the manifest. The first parse writes it, later parses read it.

Airflow parses the DAG file in every task process, and such a process needs one task of the plan.

The first line says what the plan was made from: a plan of another manifest, of other options or of
another version of this project is not used. Each further line is `<DAG id> TAB <task id> TAB
<JSON>`, with an empty task id in the line of the DAG itself. Ids hold no tab and no line break, and
JSON writes both as escapes: so the line of one task is found without decoding the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from include.engine.manifest import find
from include.engine.plan.records import Asset, Dag, DagRequest, Options, Schedule, Task
from include.engine.settings import Settings

NAME = "plan.jsonl"
# dbt writes `metadata` first, with an id of the invocation. Head, size and time are enough to tell
# one manifest from another.
_HEAD_BYTES = 4096

_PLAN = Path(__file__).parent

_READ_BY = (_PLAN.with_name("manifest") / name for name in ("hooks.py", "records.py"))

MADE_BY = (*sorted(_PLAN.glob("*.py")), *_READ_BY)
"""The code that makes a plan."""

# Of the code that this process has: files may change while it runs.
_CODE = hashlib.sha256(b"".join(file.read_bytes() for file in MADE_BY)).digest()

_UNWRITTEN: dict[Path, tuple[str, tuple[Dag, ...]]] = {}
"""By manifest, the origin and the plan that this process could not write."""


class TaskRef(NamedTuple):
    """One task of one DAG."""

    dag_id: str
    task_id: str


def plan_options(config: Settings, schedule: str | None = None) -> Options:
    """The options of the plan that the settings, and the DAG file's `schedule`, ask for."""
    given = {name: getattr(config, name) for name in Options._fields if name != "schedule"}
    return Options(**given, schedule=schedule)


def dag_tasks(config: Settings, dag_id: str) -> tuple[Task, ...]:
    """All tasks of one DAG, by the manifest that the settings name; () if it is not in there.

    Raises ManifestError as `manifest.load` and `plan_dags` do.
    """
    planned = load_plan(find.find_manifest(config, may_be_old=True), plan_options(config))
    return next((dag.tasks for dag in planned if dag.id == dag_id), ())


def load_plan(path: Path, options: Options, only: TaskRef | None = None) -> tuple[Dag, ...]:
    """The plan of the manifest at `path`. With `only`, the DAG of that task with no other task; ()
    if there is no such DAG.

    With a schedule of None it is the plan that the DAG file asked for last.

    Raises ManifestError as `manifest.load` and `plan_dags` do.
    """
    kept = read_plan(path, options, only)
    if kept is not None:
        return kept
    from include.engine.manifest import records
    from include.engine.plan.dags import (
        plan_dags,  # a task process finds the plan in the file and does not import this
    )

    planned = plan_dags(records.load_manifest(path), options)
    if options.schedule is not None:
        try:
            write_plan(path, options, planned)
        except OSError:  # a read-only folder: each process plans for itself, and keeps it
            _UNWRITTEN[path] = _origin(path, options), planned
    return planned if only is None else _only(planned, only)


def _only(planned: Iterable[Dag], only: TaskRef) -> tuple[Dag, ...]:
    """The DAG of the one task, with that task alone."""
    return tuple(
        dag._replace(tasks=tuple(task for task in dag.tasks if task.id == only.task_id))
        for dag in planned
        if dag.id == only.dag_id
    )


def write_plan(path: Path, options: Options, planned: Iterable[Dag]) -> None:
    """Writes the plan of the manifest at `path` beside it, replacing an older one at once."""
    lines = [_origin(path, options)]
    for dag in planned:
        lines.append(_line(dag.id, "", dag._replace(tasks=())))
        lines += [_line(dag.id, task.id, task) for task in dag.tasks]
    unfinished = path.with_name(f".{NAME}-{uuid.uuid4().hex}")
    try:
        unfinished.write_text("\n".join(lines) + "\n")
        unfinished.replace(path.with_name(NAME))
    finally:
        unfinished.unlink(missing_ok=True)


def read_plan(path: Path, options: Options, only: TaskRef | None = None) -> tuple[Dag, ...] | None:
    """What `load_plan` returns, from the file, or from what this process could not write; None
    where there is no such plan of this manifest.
    """
    origin, planned = _UNWRITTEN.get(path, ("", ()))
    try:
        if _is_of(origin, path, options):
            return planned if only is None else _only(planned, only)
        text = path.with_name(NAME).read_text()
        if not _is_of(text.partition("\n")[0], path, options):
            return None
    except OSError:
        return None
    if only is None:
        return _dags(text.split("\n")[1:-1])
    return _dags([*_find_line(text, only.dag_id, ""), *_find_line(text, *only)])


def _line(dag_id: str, task_id: str, record: Dag | Task) -> str:
    return f"{dag_id}\t{task_id}\t{json.dumps(record)}"


def _find_line(text: str, dag_id: str, task_id: str) -> list[str]:
    """The one line of that task, or [] if there is none."""
    start = text.find(f"\n{dag_id}\t{task_id}\t") + 1
    return [text[start : text.index("\n", start)]] if start else []


def _dags(lines: Iterable[str]) -> tuple[Dag, ...]:
    dags: list[Dag] = []
    tasks: dict[str, list[Task]] = defaultdict(list)
    for line in lines:
        dag_id, task_id, record = line.split("\t")
        if task_id:
            tasks[dag_id].append(_task(record))
        else:
            dags.append(_dag(record))
    return tuple(dag._replace(tasks=tuple(tasks[dag.id])) for dag in dags)


def _dag(record: str) -> Dag:
    """The DAG, without its tasks."""
    dag_id, (requested_id, schedule, requested_by), awaits, reads, _, hooks = json.loads(record)
    return Dag(
        id=dag_id,
        request=DagRequest(requested_id, Schedule(*schedule), requested_by),
        awaits=tuple(Asset(*asset) for asset in awaits),
        reads=tuple(map(tuple, reads)),
        tasks=(),
        hooks=None if hooks is None else tuple(hooks),
    )


def _task(record: str) -> Task:
    *values, inlets, outlets, doc = json.loads(record)
    plain = (tuple(value) if isinstance(value, list) else value for value in values)
    assets = (tuple(Asset(*asset) for asset in listed) for listed in (inlets, outlets))
    return Task(*plain, *assets, doc)


def _is_of(origin: str, path: Path, options: Options) -> bool:
    """Whether a plan of that origin is one of this manifest and these options."""
    if options.schedule is None and origin:
        options = options._replace(schedule=json.loads(origin)["schedule"])
    return origin == _origin(path, options)


def _origin(path: Path, options: Options) -> str:
    """The first line of the plan: what it depends on. Raises OSError if there is no manifest."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        state = os.fstat(file.fileno())
    digest = hashlib.sha256(head + _CODE).hexdigest()
    made_from = {"digest": digest, "size": state.st_size, "modified": state.st_mtime_ns}
    return json.dumps(made_from | options._asdict())
