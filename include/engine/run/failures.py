"""The last lines of a failed task: what failed, why, in which file, and what to do.

Only a failed task imports this module, and reads the manifest and the whole plan for it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from include.engine import settings
from include.engine.manifest import find
from include.engine.manifest.records import ManifestError
from include.engine.plan import cache
from include.engine.plan.records import END, Task
from include.engine.run import results

NAMES = 5  # how many names of a list are shown, and how many results are shown whole
QUERY_LINES = 40

# A line of the query in a message of Postgres, and a line number of the file in one of Jinja.
_SHOWN = re.compile(r"^\s*LINE \d+: (?:\.\.\.)?(.*?)(?:\.\.\.)?$", re.M)
_PLACE = re.compile(r"LINE (\d+):|\[(\d+):\d+\]|\bline:? (\d+)")  # Postgres, BigQuery, others
_NUMBERED = re.compile(r"^\s*line (\d+)$", re.M)
# An error in dbt's log: all lines up to the next one that begins with a time.
_ERRORS = re.compile(
    r"\[error\] \[\w+\s*\]: (?:\[ERROR\]: )?(?:Encountered an error:\s*)?(.*?)"
    r"(?=^\S*\d\d:\d\d:\d\d|\Z)",
    re.M | re.S,
)

Rows = Mapping[str, str]
"""By unique id of a test, the rows that fail it, as text."""


def lines_for_results(failed: Sequence[results.Result], rows: Rows) -> list[str]:
    """The lines about results that failed; `rows` are the failing rows to show."""
    config = settings.load()
    members = manifest_members(
        find.find_manifest(config, may_be_old=True), [result["unique_id"] for result in failed]
    )
    lines = [
        line
        for result in failed[:NAMES]
        for line in describe(result, members.get(result["unique_id"], {}), config.project_dir, rows)
    ]
    more = [result["unique_id"] for result in failed[NAMES:]]
    return [*lines, f"And {len(more)} more: {shorten(more)}"] if more else lines


def logged_error(folder: Path) -> str:
    """The last error in dbt's log in that folder; "" if there is none."""
    with contextlib.suppress(OSError):
        if errors := _ERRORS.findall((folder / "dbt.log").read_text()):
            return errors[-1].strip()
    return ""


def downstream_line(dag_id: str, task_id: str) -> list[str]:
    """A line with the tasks of the DAG that the failed task holds back, if there are any."""
    try:
        planned = cache.dag_tasks(settings.load(), dag_id)
    except ManifestError:  # the manifest is gone: the other lines are still of use
        return []
    waiting = downstream_tasks(task_id, planned)
    return [f"Held back by it: {shorten(waiting)}"] if waiting else []


def downstream_tasks(task_id: str, planned: Iterable[Task]) -> list[str]:
    """The ids of all tasks downstream of `task_id`, in the order of the plan.

    Without the task of on-run-end hooks, which always runs.
    """
    below = defaultdict(list)
    order = []
    for task in planned:
        if task.kind == END:
            continue
        order.append(task.id)
        for above in task.upstream:
            below[above].append(task.id)
    downstream, todo = set(), deque([task_id])
    while todo:
        new = [name for name in below[todo.popleft()] if name not in downstream]
        downstream.update(new)
        todo.extend(new)
    return [name for name in order if name in downstream]


def manifest_members(manifest: Path, wanted: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The `wanted` members of the manifest in that file, by unique id; {} if it is unreadable."""
    try:
        raw = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return {}
    sections = ("nodes", "sources", "functions", "saved_queries", "unit_tests")
    return {key: raw[name][key] for name in sections for key in wanted if key in raw.get(name, ())}


def describe(
    result: results.Result, member: Mapping[str, Any], project: Path, rows: Rows
) -> Iterator[str]:
    """The lines about one result: node, status, message, file, failing rows and query."""
    name = result["unique_id"]
    yield f"{name}: {result['status']}"
    yield from (f"  {line}" for line in results.message(result).splitlines())
    if member.get("original_file_path"):
        yield f"  File: {file_and_line(member, result.get('message') or '', project)}"
    if member.get("resource_type") == "test" and result.get("relation_name"):
        yield f"  The failing rows are in {result['relation_name']}"
    yield from (f"  {line}" for line in rows.get(name, "").splitlines())
    yield from query_lines(result.get("compiled_code") or "", results.message(result))


def query_lines(sql: str, message: str = "") -> Iterator[str]:
    """The compiled query without empty lines; of a long one, the lines around the error."""
    numbered = [(n, line.rstrip()) for n, line in enumerate(sql.splitlines(), 1) if line.strip()]
    lines = [line for _, line in numbered]
    if not lines:
        return
    wrong = line_in_query(message, sql) or 0
    before = sum(number < wrong for number, _ in numbered)
    first = max(0, min(before - QUERY_LINES // 2, len(lines) - QUERY_LINES))
    last = first + QUERY_LINES
    yield "  The query:"
    if first:
        yield f"    … {first} lines"
    yield from (f"    {line}" for line in lines[first:last])
    if len(lines) > last:
        yield f"    … and {len(lines) - last} more lines"


def line_in_query(message: str, sql: str) -> int | None:
    """The line of the compiled query that the database's message is about; None if unknown.

    dbt may put a statement around the query, so a line that the message shows is searched by its
    text, next to its number.
    """
    if not (place := _PLACE.search(message)):
        return None
    number = int(next(filter(None, place.groups())))
    shown = _SHOWN.search(message)
    text = shown[1].strip() if shown else ""
    same = [n for n, line in enumerate(sql.splitlines(), 1) if text and text in line]
    return min(same, key=lambda n: abs(n - number), default=number)


def failing_rows_query(result: results.Result) -> str:
    """The query of a test's failing rows, for dbt: where they are stored, or the test itself."""
    if result.get("relation_name"):
        return f"select * from {result['relation_name']}"
    sql = result.get("compiled_code")
    return f"{{% raw %}}{sql}{{% endraw %}}" if sql else ""


def shorten(names: Sequence[str]) -> str:
    """The first of these names, and how many more there are."""
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


def file_and_line(member: Mapping[str, Any], message: str, project: Path) -> str:
    """The file of a node, relative to its package, with the line if it is known."""
    path = member["original_file_path"]
    try:
        source = (project / path).read_text()
    except OSError:  # the file of a package, or of another project than the manifest's
        return path
    in_yaml = path.endswith((".yml", ".yaml"))
    line = line_in_yaml(member, source) if in_yaml else line_in_sql(message, source)
    return f"{path}:{line}" if line else path


def line_in_sql(message: str, source: str) -> int | None:
    """The line of a file that a message of dbt or of the database is about; None if unknown.

    A database counts lines of the compiled query, so its line is searched in the file by its text.
    """
    if named := _NUMBERED.search(message):
        return int(named[1])
    shown = _SHOWN.search(message)
    if not shown or not shown[1].strip():
        return None
    numbers = [n for n, line in enumerate(source.splitlines(), 1) if shown[1].strip() in line]
    return numbers[0] if len(numbers) == 1 else None


def line_in_yaml(member: Mapping[str, Any], source: str) -> int | None:
    """The line of the YAML that declares a test, else of what it tests; None if unknown."""
    parents = (member.get("depends_on") or {}).get("nodes") or ("..",)
    tested = (member.get("attached_node") or parents[0]).split(".")
    test = (member.get("test_metadata") or {}).get("name")
    try:
        closest = root = yaml.compose(source)
    except yaml.YAMLError:
        return None
    for name in (tested[3 if tested[0] == "source" else 2], member.get("column_name")):
        closest = next((node for node in _walk(closest) if _is_named(node, name)), closest)
    inside = list(_walk(closest))
    declared = [node for node in inside if _is_named(node, member["name"])]
    used = [node for node in inside if isinstance(node, yaml.ScalarNode) and node.value == test]
    closest = next(iter((*declared, *used)), closest)
    return None if closest is root else closest.start_mark.line + 1


def _is_named(node: yaml.Node, name: str | None) -> bool:
    return isinstance(node, yaml.MappingNode) and any(
        key.value == "name" and value.value == name for key, value in node.value
    )


def _walk(node: yaml.Node) -> Iterator[yaml.Node]:
    """The node and all below it, keys too, in the order of the file."""
    yield node
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            for part in item if isinstance(item, tuple) else (item,):
                yield from _walk(part)
