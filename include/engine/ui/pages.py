"""The pages of a task and of a DAG in Airflow's UI, from dbt's manifest (plugins/dbt_docs.py).

They are made at each request: descriptions and SQL are in no serialized DAG. Pure functions
over decoded JSON; `raw` is a manifest, `catalog` the catalog of `dbt docs generate`, `{}` if
there is none (https://docs.getdbt.com/reference/artifacts/dbt-artifacts).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from include.engine.plan.tasks import Task
from include.engine.ui.records import Column, DagPage, Link, Node, TaskPage, Test

Json = Mapping[str, Any]

# The section of a manifest for a member of the graph, by the first word of its unique id.
_SECTIONS = {
    "exposure": "exposures",
    "function": "functions",
    "metric": "metrics",
    "saved_query": "saved_queries",
    "semantic_model": "semantic_models",
    "source": "sources",
    "unit_test": "unit_tests",
}
_TESTS = ("test", "unit_test")
# dbt's documentation site has pages for these (their addresses: `#!/<kind>/<unique id>`).
_WITH_PAGE = frozenset(
    (
        *("analysis", "exposure", "metric", "model", "saved_query", "seed"),
        *("semantic_model", "snapshot", "source", "test", "unit_test"),
    )
)
# Arguments of every generic test; all others are the test's own.
_MODEL_AND_COLUMN = frozenset(("model", "column_name"))


def task_page(raw: Json, catalog: Json, task: Task) -> TaskPage:
    """The page of a task of this manifest's plan."""
    if task.kind in _TESTS:
        tests = tuple(test(member(raw, unique_id)) for unique_id in task.nodes)
        tested = {parent for node_id in task.nodes for parent in parents(member(raw, node_id))}
        return TaskPage(task, (), tests, links(raw, tested))
    # A task that only publishes executes nothing, and the one that comes first has no node.
    built = task.nodes or filter(None, (task.node,))
    return TaskPage(task, tuple(node(raw, catalog, node_id) for node_id in built), (), ())


def dag_page(raw: Json) -> DagPage:
    """The page of the DAG of a manifest."""
    project = raw["metadata"].get("project_name") or ""
    overview = raw["docs"].get(f"doc.{project}.__overview__") or {}
    enabled = list(members(raw))
    counts = Counter(entry["resource_type"] for entry in enabled)

    def members_of_kind(kind: str) -> tuple[Node, ...]:
        ids = sorted(entry["unique_id"] for entry in enabled if entry["resource_type"] == kind)
        return tuple(node(raw, {}, unique_id) for unique_id in ids)

    return DagPage(
        project=project,
        description=overview.get("block_contents") or "",
        counts=tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
        built=raw["metadata"].get("generated_at") or "",
        dbt=raw["metadata"].get("dbt_version") or "",
        sources=members_of_kind("source"),
        exposures=members_of_kind("exposure"),
    )


def members(raw: Json) -> Iterator[Json]:
    """Every member of dbt's graph."""
    for section in ("nodes", *_SECTIONS.values()):
        yield from (raw.get(section) or {}).values()


def member(raw: Json, unique_id: str) -> Json:
    """The member with that id. Raises KeyError."""
    return raw[_SECTIONS.get(unique_id.partition(".")[0], "nodes")][unique_id]


def link(entry: Json) -> Link:
    version = entry.get("version")
    name = (
        entry["name"]
        if entry["resource_type"] != "source"
        else f"{entry['source_name']}.{entry['name']}"
    )
    kind, unique_id = entry["resource_type"], entry["unique_id"]
    return Link(
        unique_id=unique_id,
        kind=kind,
        name=name if version is None else f"{name}.v{version}",
        docs=f"#!/{kind}/{unique_id}" if kind in _WITH_PAGE else "",
    )


def links(raw: Json, unique_ids: Iterable[str]) -> tuple[Link, ...]:
    """Links to the ids that are in the graph, sorted."""
    known = sorted(unique_id for unique_id in set(unique_ids) if is_member(raw, unique_id))
    return tuple(link(member(raw, unique_id)) for unique_id in known)


def is_member(raw: Json, unique_id: str) -> bool:
    section = _SECTIONS.get(unique_id.partition(".")[0], "nodes")
    return unique_id in (raw.get(section) or {})


def parents(entry: Json) -> list[str]:
    return (entry.get("depends_on") or {}).get("nodes") or []


def node(raw: Json, catalog: Json, unique_id: str) -> Node:
    """The member with that id, with what the warehouse knows of it."""
    entry = member(raw, unique_id)
    children = (raw.get("child_map") or {}).get(unique_id) or ()
    tests = tests_on(raw, unique_id)
    in_warehouse = {**(catalog.get("nodes") or {}), **(catalog.get("sources") or {})}.get(
        unique_id
    ) or {}
    compiled = entry.get("compiled_code")
    return Node(
        link=link(entry),
        description=entry.get("description") or "",
        facts=tuple(facts(raw, entry, in_warehouse)),
        columns=columns(entry, in_warehouse, tests),
        tests=tuple(sorted(tests.get("", ()))),
        reads=links(raw, parents(entry)),
        feeds=links(raw, (child for child in children if child.partition(".")[0] not in _TESTS)),
        sql=(compiled or entry.get("raw_code") or "").strip(),
        compiled=bool(compiled),
    )


def facts(raw: Json, entry: Json, in_warehouse: Json) -> Iterator[tuple[str, str]]:
    """Pairs of a label and a text, for what has entry."""
    config = entry.get("config") or {}
    group = group_of(raw, config.get("group") or entry.get("group"))
    labelled = {
        "materialization": config.get("materialized"),
        "relation": entry.get("relation_name"),
        "owner": person(entry.get("owner") or group.get("owner") or {}),
        "group": group.get("name"),
        "file": entry.get("original_file_path"),
        "tags": ", ".join(entry.get("tags") or ()),
        "type": entry.get("type"),
        "url": entry.get("url"),
        "freshness": freshness(entry.get("freshness") or {}),
    }
    yield from ((label, str(text)) for label, text in labelled.items() if text)
    for stat in (in_warehouse.get("stats") or {}).values():
        if stat.get("include") and stat["id"] != "has_stats":
            yield stat["label"].lower(), str(stat["value"])


def group_of(raw: Json, name: str | None) -> Json:
    return next(
        (entry for entry in (raw.get("groups") or {}).values() if entry["name"] == name), {}
    )


def person(owner: Json) -> str:
    """Name and address, as far as they are known."""
    name, email = owner.get("name"), owner.get("email")
    return f"{name} <{email}>" if name and email else name or email or ""


def freshness(rule: Json) -> str:
    """The age of the newest row at which dbt warns, and the age at which it fails."""
    limits = {"warns": rule.get("warn_after"), "fails": rule.get("error_after")}
    return ", ".join(
        f"{word} after {limit['count']} {limit['period']}s"
        for word, limit in limits.items()
        if limit and limit.get("count")
    )


def columns(entry: Json, in_warehouse: Json, tests: Mapping[str, list[str]]) -> tuple[Column, ...]:
    """The documented columns, then the columns that only the warehouse knows."""
    # A warehouse may have names in capitals, as Snowflake does.
    known = {name.lower(): column for name, column in (in_warehouse.get("columns") or {}).items()}
    documented = {name.lower(): column for name, column in (entry.get("columns") or {}).items()}
    undocumented = {key: column for key, column in known.items() if key not in documented}
    return tuple(
        Column(
            name=column["name"],
            type=known.get(key, {}).get("type") or column.get("data_type") or "",
            description=column.get("description") or "",
            tests=tuple(sorted(tests.get(key, ()))),
        )
        for key, column in (documented | undocumented).items()
    )


def tests_on(raw: Json, unique_id: str) -> dict[str, list[str]]:
    """The names of the node's data tests by column, in lower case; "" for no column."""
    names: dict[str, list[str]] = {}
    for child in (raw.get("child_map") or {}).get(unique_id) or ():
        entry = member(raw, child) if child.startswith("test.") and is_member(raw, child) else {}
        # A relationships test is a child of both its models, and is on a column of only the first.
        if entry and entry.get("attached_node") in (unique_id, None):
            column = (entry.get("column_name") or "").lower()
            names.setdefault(column, []).append(test(entry).link.name)
    return names


def test(entry: Json) -> Test:
    """A test of the manifest, with its arguments."""
    metadata = entry.get("test_metadata") or {}
    arguments = metadata.get("kwargs") or {}
    name = metadata.get("name") or entry["name"]
    config = entry.get("config") or {}
    conditions = {"where": config.get("where"), "limit": config.get("limit")}
    # A unit test has given rows and expected rows.
    rows = {key: entry.get(key) for key in ("given", "expect") if entry["resource_type"] != "test"}
    own = {key: value for key, value in arguments.items() if key not in _MODEL_AND_COLUMN}
    values = {**own, **conditions, **rows, "file": entry.get("original_file_path")}
    return Test(
        link=Link(entry["unique_id"], entry["resource_type"], name, link(entry).docs),
        column=entry.get("column_name") or "",
        facts=tuple((key, text(value)) for key, value in values.items() if value is not None),
        severity=str(config.get("severity") or "error").lower(),
        description=entry.get("description") or "",
        sql=(entry.get("compiled_code") or entry.get("raw_code") or "").strip(),
    )


def age(seconds: float) -> str:
    """That time in its largest unit: `3 hours`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if number := int(seconds // length):
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
