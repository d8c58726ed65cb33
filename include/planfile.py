"""The plan as a file beside the manifest, kept by the first parse for those that follow: Airflow
parses the DAG file again in every task process, and there only one task of the plan is asked for.

One line of JSON for each task after a first line that says what the plan was made from. A plan of
another manifest, of other options or of another version of this project is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from include import manifest, overrides, plan, selection
from include.plan import Options, Task

NAME = "plan.jsonl"
# dbt writes `metadata` first, with an id of the invocation: the head, the size and the time tell
# one manifest from another without reading it.
_HEAD_BYTES = 4096


def tasks(path: Path, options: Options, only: str | None = None) -> tuple[Task, ...]:
    """The plan of the manifest at `path`, or of it the task with the id `only` (or none).

    Raises ManifestError as `manifest.load` does.
    """
    kept = read(path, options, only)
    if kept is not None:
        return kept
    planned = plan.tasks(manifest.load(path), options)
    with contextlib.suppress(OSError):  # a read-only folder: each parse plans for itself
        write(path, options, planned)
    return planned if only is None else tuple(task for task in planned if task.id == only)


def write(path: Path, options: Options, planned: Iterable[Task]) -> None:
    """Writes the plan of the manifest at `path` beside it, replacing an older one at once."""
    lines = [_origin(path, options), *map(_line, planned)]
    unfinished = path.with_name(f".{NAME}-{uuid.uuid4().hex}")
    try:
        unfinished.write_text("\n".join(lines) + "\n")
        unfinished.replace(path.with_name(NAME))
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, options: Options, only: str | None = None) -> tuple[Task, ...] | None:
    """What `tasks` returns, from the file; None where there is no such plan of this manifest."""
    try:
        text = path.with_name(NAME).read_text()
        if not text.startswith(_origin(path, options) + "\n"):
            return None
    except OSError:
        return None
    if only is None:
        return tuple(map(_task, text.splitlines()[1:]))
    start = text.find(f"\n[{json.dumps(only)}, ") + 1
    return (_task(text[start : text.index("\n", start)]),) if start else ()


def _line(task: Task) -> str:
    *values, overridden = (getattr(task, field.name) for field in fields(Task))
    return json.dumps([*values, dict(overridden)])


def _task(line: str) -> Task:
    task_id, kind, *lists, overridden = json.loads(line)
    return Task(task_id, kind, *map(tuple, lists), overridden)


def _origin(path: Path, options: Options) -> str:
    """The first line of the plan: what it depends on. Raises OSError if there is no manifest."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        state = os.fstat(file.fileno())
    code = b"".join(
        Path(module.__file__).read_bytes() for module in (manifest, overrides, plan, selection)
    )
    digest = hashlib.sha256(head + code).hexdigest()
    made_from = {"digest": digest, "size": state.st_size, "modified": state.st_mtime_ns}
    return json.dumps(made_from | asdict(options))
