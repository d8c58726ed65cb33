"""Seeded dbt projects that are as nasty as dbt allows: `generate(seed, folder)` writes one.

Every model has the columns `id` and `v`, and its `v` is computed from all of its parents, so that a
wrong order shows in the data or fails. What a seed holds is in `Spec.features` (see features.py):
the first seeds hold one each, the later ones draw them. Only the standard library is used, and
nothing random that the seed does not decide.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dev.tests.oracle.features import FAULTS, FEATURES, graph
from dev.tests.oracle.parts import Check, Node, Project, Unit

SCHEMA = "o"
RAW = "raw"


@dataclass
class Spec:
    """What was generated: arguments for `dbt build` and `dbt ls` that make the subset, options of
    the plan, and the SQL that makes the source tables.
    """

    seed: int
    features: list[str]
    subset: list[str] = field(default_factory=list)
    unit_tests: bool = False
    faults: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)


def generate(seed: int, folder: Path, features: Iterable[str] | None = None) -> Spec:
    """Writes the project of `seed` to `folder` and returns what it holds.

    `features` overrules what the seed would hold; there are no faults then.
    """
    project = Project(seed)
    chosen = _features(project) if features is None else list(features)
    graph(project, 2 if chosen else 6)
    for feature in chosen:
        FEATURES[feature](project)
    if features is None:
        for plant in FAULTS[list(FAULTS)[seed % len(FAULTS)]]:
            plant(project)
    _write(project, folder)
    return Spec(seed, chosen, project.subset, project.unit_tests, project.faults, _setup(project))


def _features(p: Project) -> list[str]:
    """What the seed holds: each feature alone once, in their order, then a few at random."""
    names = [name for name in FEATURES if name != "subset"]
    if p.seed < len(names):
        features = [names[p.seed]]
    else:
        features = p.random.sample(names, p.random.choice((1, 2, 2)))
    return features + ["subset"] * (p.seed % 4 == 3)


def _setup(p: Project) -> list[str]:
    statements = [f"create schema {RAW}"]
    for node in p.nodes:
        if node.kind == "source":
            rows = "".join(f", ({i}, {i * node.number})" for i in (1, 2, 3))[2:]
            table = f"{RAW}.s{node.number}"
            statements.append(f"create table {table} (id int, v bigint)")
            statements.append(f"insert into {table} values {rows}")
    return statements


def _write(p: Project, folder: Path) -> None:
    files: dict[str, object] = {
        "profiles.yml": _profiles(),
        "packages.yml": {"packages": [{"local": f"local/{name}"} for name in p.packages[1:]]},
    }
    if p.selectors:
        files["selectors.yml"] = {"selectors": p.selectors}
    if not p.packages[1:]:
        del files["packages.yml"]
    for package in p.packages:
        prefix = "" if package == "root" else f"dbt_packages/{package}/"
        for path, content in _package(p, package).items():
            files[prefix + path] = content
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        target.write_text(text, encoding="utf-8")


def _profiles() -> dict:
    output = {
        "type": "postgres",
        "host": "{{ env_var('ORACLE_HOST') }}",
        "port": 5432,
        "user": "postgres",
        "password": "",
        "dbname": "{{ env_var('ORACLE_DATABASE') }}",
        "schema": SCHEMA,
        "threads": 1,
    }
    return {"oracle": {"target": "dev", "outputs": {"dev": output}}}


def _package(p: Project, package: str) -> dict[str, object]:
    nodes = [node for node in p.nodes if node.package == package]
    files: dict[str, object] = {"dbt_project.yml": _project(package), "macros/tests.sql": MACROS}
    for node in nodes:
        if node.kind in _FILES:
            path, text = _FILES[node.kind](node)
            files[path] = text
    for check in p.checks:
        if check.package == package and not check.template:
            path = "/".join(filter(None, ("tests", check.folder, f"{check.name}.sql")))
            files[path] = _singular(check)
    schema = _schema(p, package, nodes)
    files["models/schema.yml"] = {k: v for k, v in schema.items() if v}
    functions = [_entry(p, n) for n in nodes if n.kind == "function"]
    if functions:
        files["functions/schema.yml"] = {"functions": functions}
    return files


def _project(package: str) -> dict:
    project = {
        "name": package,
        "version": "1.0",
        "profile": "oracle",
        "flags": {
            "require_resource_names_without_spaces": False,
            "require_source_and_semantic_model_names_without_spaces": False,
            "send_anonymous_usage_stats": False,
        },
    }
    if package != "root":
        del project["flags"]
        for kind in ("models", "seeds", "snapshots"):
            project[kind] = {"+schema": package}
    return project


MACROS = """
{% test outcome(model, rows=0, broken=false, column_name=none) %}
select {{ 'no_such_column' if broken else 'id' }} from {{ model }} where id <= {{ rows }}
{% endtest %}
{% test agrees(model, others, rows=0, broken=false, column_name=none) %}
select {{ 'no_such_column' if broken else 'id' }} from {{ model }} where id <= {{ rows }}
{% for other in others %} union all select id from {{ other }} where false {% endfor %}
{% endtest %}
"""


def _model(node: Node) -> tuple[str, str]:
    name = node.name if node.version is None else f"{node.name}_v{node.version}"
    path = "/".join(filter(None, ("models", node.folder, f"{name}.sql")))
    return path, _select(node)


def _select(node: Node) -> str:
    value = "sum(v)"
    for function in node.functions:
        value = f"{{{{ {function.ref(node.package)} }}}}(cast({value} as bigint))"
    union = " union all ".join(
        f"select id, v from {{{{ {parent.ref(node.package)} }}}}" for parent in node.parents
    )
    union = union or "select g as id, cast(g as bigint) as v from generate_series(1, 3) g"
    broken = ", no_such_function(1) as broken" if node.broken else ""
    return (
        f"select id, cast(mod(cast({value} as bigint) * 31 + {node.number}, 1000003) as bigint)"
        f" as v{broken} from ({union}) u group by id"
    )


def _seed(node: Node) -> tuple[str, str]:
    path = "/".join(filter(None, ("seeds", node.folder, f"{node.name}.csv")))
    rows = "".join(f"{i},{i * node.number}\n" for i in (1, 2, 3))
    return path, "id,v\n" + rows


def _function(node: Node) -> tuple[str, str]:
    body = f"x + {node.number}"
    for function in node.functions:
        body += f" + {{{{ {function.ref(node.package)} }}}}(x)"
    for parent in node.parents:
        body += f" + (select cast(sum(v) as bigint) from {{{{ {parent.ref(node.package)} }}}})"
    return f"functions/{node.name}.sql", f"select {'no_such_column + ' * node.broken}{body}"


_FILES = {"model": _model, "seed": _seed, "function": _function}


def _singular(check: Check) -> str:
    config = {k: v for k, v in check.config.items() if k != "function"}
    header = f"{{{{ config(**{config!r}) }}}}\n" if config else ""
    column = "no_such_column" if check.broken else "id"
    if not check.on:
        return f"{header}select {column} from generate_series(1, {check.rows}) id"
    first, *others = (f"{{{{ {node.ref(check.package)} }}}}" for node in check.on)
    text = f"{header}select {column} from {first} where id <= {check.rows}"
    if function := check.config.get("function"):
        text += f" and {{{{ {function.ref(check.package)} }}}}(v) is null"
    return text + "".join(f" union all select id from {other} where false" for other in others)


def _schema(p: Project, package: str, nodes: list[Node]) -> dict:
    models = [n for n in nodes if n.kind == "model"]
    plain = [_entry(p, n) for n in models if n.version is None]
    families: dict[str, list[Node]] = {}
    for node in models:
        if node.version is not None:
            families.setdefault(node.name, []).append(node)
    tables: dict[str, list[dict]] = {}
    for node in nodes:
        if node.kind == "source":
            entry = {**_entry(p, node), "identifier": f"s{node.number}"}
            tables.setdefault(node.extra["source"], []).append(entry)
    root = package == "root"
    return {
        "models": plain + [_family(p, name, family) for name, family in families.items()],
        "seeds": [_entry(p, n) for n in nodes if n.kind == "seed"],
        "snapshots": [_entry(p, n) for n in nodes if n.kind == "snapshot"],
        "sources": [{"name": s, "schema": RAW, "tables": t} for s, t in tables.items()],
        "exposures": p.exposures if root else [],
        "groups": [{"name": g, "owner": {"email": "x@example.com"}} for g in p.groups if root],
        "unit_tests": [_unit(u) for u in p.units if u.model.package == package],
    }


def _family(p: Project, name: str, family: list[Node]) -> dict:
    versions = []
    for node in family:
        entry = _entry(p, node)
        del entry["name"]
        versions.append({"v": node.version, **entry})
    return {"name": name, "latest_version": family[0].latest, "versions": versions}


def _entry(p: Project, node: Node) -> dict:
    """The node's properties in a schema.yml, with its generic tests."""
    config = dict(node.config)
    entry: dict = {"name": node.name, "config": config}
    if node.kind == "model":
        config["materialized"] = node.materialized
        if node.materialized == "incremental":
            config["unique_key"] = "id"
        if "access" in node.extra:
            config["access"] = node.extra["access"]
    if node.kind == "seed":
        config["column_types"] = {"id": "int", "v": "date" if node.broken else "bigint"}
    if node.kind == "snapshot":
        entry["relation"] = node.parents[0].ref(node.package)
        key = "no_such_column" if node.broken else "id"
        config |= {"strategy": "check", "unique_key": key, "check_cols": "all"}
    if node.kind == "function":
        entry["arguments"] = [{"name": "x", "data_type": "bigint"}]
        entry["returns"] = {"data_type": "bigint"}
    columns: dict[str, list] = {}
    tests: list = []
    for check in p.checks:
        if check.template and check.on[0] is node and check.package == node.package:
            item = _generic(check)
            (columns.setdefault(check.column, []) if check.column else tests).append(item)
    if tests:
        entry["data_tests"] = tests
    if columns:
        entry["columns"] = [{"name": c, "data_tests": t} for c, t in columns.items()]
    return entry


def _generic(check: Check) -> dict:
    others = [node.ref(check.package) for node in check.on[1:]]
    arguments: dict = {}
    if check.template in ("outcome", "agrees"):
        arguments = {"rows": check.rows, **({"broken": True} if check.broken else {})}
        if check.template == "agrees":
            arguments["others"] = others
    elif check.template == "relationships":
        arguments = {"to": others[0], "field": "id"}
    elif check.template == "accepted_values":
        arguments = {"values": [1, 2, 3, 40000001, 50000001, 60000001], "quote": False}
    body: dict = {"arguments": arguments} if arguments else {}
    if check.name:
        body["name"] = check.name
    if check.config:
        body["config"] = check.config
    return {check.template: body}


def _unit(unit: Unit) -> dict:
    model = unit.model
    given = []
    for number, parent in enumerate(model.parents, 2):
        rows: object = [{"id": 1, "v": number}]
        entry = {"input": parent.ref(model.package), "rows": rows}
        if parent.ephemeral:
            entry |= {"format": "sql", "rows": f"select 1 as id, cast({number} as bigint) as v"}
        given.append(entry)
    total = sum(range(2, 2 + len(model.parents)))
    value = (total * 31 + model.number) % 1000003 + unit.wrong
    return {
        "name": unit.name,
        "model": model.name,
        "given": given,
        "expect": {"rows": [{"id": 1, "v": value}]},
    }
