"""What Airflow's UI shows of a task and of the DAG, out of dbt's manifest (plugins/dbt_docs.py).

Looked up when a page is asked for: descriptions and SQL are in no serialized DAG. Pure functions
over decoded JSON; `raw` is a manifest, `catalog` what `dbt docs generate` found in the warehouse,
`{}` where nobody has asked it (https://docs.getdbt.com/reference/artifacts/dbt-artifacts).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from include.engine.plan.tasks import Task

Json = Mapping[str, Any]

# Where a member of the graph stands in a manifest, by the first word of its unique id.
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
# dbt's documentation site has pages of these (their addresses: `#!/<kind>/<unique id>`).
_WITH_PAGE = frozenset(
    (
        *("analysis", "exposure", "metric", "model", "saved_query", "seed"),
        *("semantic_model", "snapshot", "source", "test", "unit_test"),
    )
)
# Of every generic test; what is left are its own arguments.
_MODEL_AND_COLUMN = frozenset(("model", "column_name"))


@dataclass(frozen=True)
class Link:
    """Another member of dbt's graph; `docs` is its place in dbt's documentation site, or empty."""

    unique_id: str
    kind: str
    name: str
    docs: str


@dataclass(frozen=True)
class Column:
    """`tests` are the names of the data tests on it; `type` is empty where nobody knows it."""

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
    """What a task runs. `facts` are pairs of a label and a short text, none of them empty; `tests`
    are the names of data tests on no single column; `sql` is the compiled SQL, or the model's own
    where `compiled` is False.
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
    """`nodes` of a task that runs something, `tests` of one that tests, with what they `test`."""

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


def task_page(raw: Json, catalog: Json, task: Task) -> TaskPage:
    """The page of a task of the plan that was made of the same manifest."""
    if task.kind in _TESTS:
        tests = tuple(test(member(raw, unique_id)) for unique_id in task.nodes)
        above = {parent for one in task.nodes for parent in parents(member(raw, one))}
        return TaskPage(task, (), tests, links(raw, above))
    # A task that only publishes executes nothing.
    built = task.nodes or (task.node,)
    return TaskPage(task, tuple(node(raw, catalog, one) for one in built), (), ())


def dag_page(raw: Json) -> DagPage:
    """The page of the DAG of a manifest."""
    project = raw["metadata"].get("project_name") or ""
    overview = raw["docs"].get(f"doc.{project}.__overview__") or {}
    enabled = list(members(raw))
    counts = Counter(one["resource_type"] for one in enabled)

    def of(kind: str) -> tuple[Node, ...]:
        ids = sorted(one["unique_id"] for one in enabled if one["resource_type"] == kind)
        return tuple(node(raw, {}, unique_id) for unique_id in ids)

    return DagPage(
        project=project,
        description=overview.get("block_contents") or "",
        counts=tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))),
        built=raw["metadata"].get("generated_at") or "",
        dbt=raw["metadata"].get("dbt_version") or "",
        sources=of("source"),
        exposures=of("exposure"),
    )


def members(raw: Json) -> Iterator[Json]:
    """Every member of dbt's graph."""
    for section in ("nodes", *_SECTIONS.values()):
        yield from (raw.get(section) or {}).values()


def member(raw: Json, unique_id: str) -> Json:
    """The member with that id. Raises KeyError."""
    return raw[_SECTIONS.get(unique_id.partition(".")[0], "nodes")][unique_id]


def link(one: Json) -> Link:
    version = one.get("version")
    name = (
        one["name"] if one["resource_type"] != "source" else f"{one['source_name']}.{one['name']}"
    )
    kind, unique_id = one["resource_type"], one["unique_id"]
    return Link(
        unique_id=unique_id,
        kind=kind,
        name=name if version is None else f"{name}.v{version}",
        docs=f"#!/{kind}/{unique_id}" if kind in _WITH_PAGE else "",
    )


def links(raw: Json, unique_ids: Iterable[str]) -> tuple[Link, ...]:
    """Links to those of the ids that are in the graph, sorted."""
    return tuple(link(member(raw, one)) for one in sorted(set(unique_ids)) if is_member(raw, one))


def is_member(raw: Json, unique_id: str) -> bool:
    section = _SECTIONS.get(unique_id.partition(".")[0], "nodes")
    return unique_id in (raw.get(section) or {})


def parents(one: Json) -> list[str]:
    return (one.get("depends_on") or {}).get("nodes") or []


def node(raw: Json, catalog: Json, unique_id: str) -> Node:
    """What is known of the member with that id."""
    one = member(raw, unique_id)
    below = (raw.get("child_map") or {}).get(unique_id) or ()
    tests = tests_on(raw, unique_id)
    seen = {**(catalog.get("nodes") or {}), **(catalog.get("sources") or {})}.get(unique_id) or {}
    compiled = one.get("compiled_code")
    return Node(
        link=link(one),
        description=one.get("description") or "",
        facts=tuple(facts(raw, one, seen)),
        columns=columns(one, seen, tests),
        tests=tuple(sorted(tests.get("", ()))),
        reads=links(raw, parents(one)),
        feeds=links(raw, (child for child in below if child.partition(".")[0] not in _TESTS)),
        sql=(compiled or one.get("raw_code") or "").strip(),
        compiled=bool(compiled),
    )


def facts(raw: Json, one: Json, seen: Json) -> Iterator[tuple[str, str]]:
    """Pairs of a label and a text, for what has one."""
    config = one.get("config") or {}
    group = group_of(raw, config.get("group") or one.get("group"))
    labelled = {
        "materialization": config.get("materialized"),
        "relation": one.get("relation_name"),
        "owner": person(one.get("owner") or group.get("owner") or {}),
        "group": group.get("name"),
        "file": one.get("original_file_path"),
        "tags": ", ".join(one.get("tags") or ()),
        "type": one.get("type"),
        "url": one.get("url"),
        "freshness": freshness(one.get("freshness") or {}),
    }
    yield from ((label, str(text)) for label, text in labelled.items() if text)
    for stat in (seen.get("stats") or {}).values():
        if stat.get("include") and stat["id"] != "has_stats":
            yield stat["label"].lower(), str(stat["value"])


def group_of(raw: Json, name: str | None) -> Json:
    return next((one for one in (raw.get("groups") or {}).values() if one["name"] == name), {})


def person(owner: Json) -> str:
    """Name and address, as far as they are there."""
    name, email = owner.get("name"), owner.get("email")
    return f"{name} <{email}>" if name and email else name or email or ""


def freshness(rule: Json) -> str:
    """When dbt warns of old rows, and when it calls them an error."""
    limits = {"warns": rule.get("warn_after"), "fails": rule.get("error_after")}
    return ", ".join(
        f"{word} after {limit['count']} {limit['period']}s"
        for word, limit in limits.items()
        if limit and limit.get("count")
    )


def columns(one: Json, seen: Json, tests: Mapping[str, list[str]]) -> tuple[Column, ...]:
    """Those that are documented, then those that only the warehouse knows."""
    # A warehouse may have names in capitals: Snowflake's does.
    known = {name.lower(): column for name, column in (seen.get("columns") or {}).items()}
    documented = {name.lower(): column for name, column in (one.get("columns") or {}).items()}
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
    """The names of the data tests of that node by column, in small letters; "" for no column."""
    found: dict[str, list[str]] = {}
    for child in (raw.get("child_map") or {}).get(unique_id) or ():
        one = member(raw, child) if child.startswith("test.") and is_member(raw, child) else {}
        # A relationships test is a child of both its models, and is on a column of one.
        if one and one.get("attached_node") in (unique_id, None):
            column = (one.get("column_name") or "").lower()
            found.setdefault(column, []).append(test(one).link.name)
    return found


def test(one: Json) -> Test:
    """One test of the manifest, with its arguments."""
    metadata = one.get("test_metadata") or {}
    given = metadata.get("kwargs") or {}
    name = metadata.get("name") or one["name"]
    config = one.get("config") or {}
    conditions = {"where": config.get("where"), "limit": config.get("limit")}
    # A unit test has what is given and what is expected.
    rows = {key: one.get(key) for key in ("given", "expect") if one["resource_type"] != "test"}
    arguments = {key: value for key, value in given.items() if key not in _MODEL_AND_COLUMN}
    found = {**arguments, **conditions, **rows, "file": one.get("original_file_path")}
    return Test(
        link=Link(one["unique_id"], one["resource_type"], name, link(one).docs),
        column=one.get("column_name") or "",
        facts=tuple((key, text(value)) for key, value in found.items() if value is not None),
        severity=str(config.get("severity") or "error").lower(),
        description=one.get("description") or "",
        sql=(one.get("compiled_code") or one.get("raw_code") or "").strip(),
    )


def age(seconds: float) -> str:
    """How long that is, in its largest unit: `3 hours`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if number := int(seconds // length):
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
