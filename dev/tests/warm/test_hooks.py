"""A warm command runs the hooks that DBT_HOOKS says; they are told what dbt tells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import make_project

# Hooks are rendered when the project is parsed, too.
HOOKS = """
on-run-start: "{{ told('start', selected_resources | sort | join(' ')) if execute }}"
on-run-end: "{{ tell(results, schemas, database_schemas) if execute }}"
"""
TELL = """
{% macro told(what, said) %}{% do log(what ~ ' ' ~ said, info=True) %}{% endmacro %}
{% macro tell(results, schemas, database_schemas) %}
  {% do told('end', schemas ~ database_schemas) %}
  {% for result in results %}{% do told('result', tojson(of(result))) %}{% endfor %}
{% endmacro %}
{% macro of(result) %}
  {% set told = result.to_dict() %}
  {% do told.update({'materialized': result.node.config.materialized}) %}
  {% do return(told) %}
{% endmacro %}
"""
SELECT = ("--select", "one", "two", "broken")


@pytest.fixture(scope="module")
def hooked(tmp_path_factory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("hooked") / "shop")
    project = (folder / "dbt_project.yml").read_text().partition("on-run-start")[0]
    (folder / "dbt_project.yml").write_text(project + HOOKS)
    (folder / "macros" / "tell.sql").write_text(TELL)
    return folder


# What dbt makes of a node when it runs it, and writes into no run_results.json; and when a node was
# parsed, since a cold command parses.
COMPILED = frozenset(
    (
        "created_at",
        *("build_path", "compiled", "compiled_code", "compiled_path", "depends_on"),
        *("extra_ctes", "extra_ctes_injected"),
    )
)


def said(text: str) -> dict[str, list]:
    """What hooks have logged, by its first word."""
    words = [line.partition("  ")[2].partition(" ") for line in text.splitlines()]
    found = {key: [said for word, _, said in words if word == key] for key in ("start", "end")}
    results = [json.loads(said) for word, _, said in words if word == "result"]
    for result in results:
        result["node"] = {k: v for k, v in result["node"].items() if k not in COMPILED}
    return found | {"results": results}


POD = {"AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}


@pytest.mark.parametrize(
    ("command", "where"), [("run", {}), ("build", {}), ("test", {}), ("run", POD)]
)
def test_none_leaves_them_out(warm, hooked, command, where):
    """In a pod without a warm server, too."""
    done = warm.run(hooked, command, "--select", "two", DBT_HOOKS="none", **where)
    assert (done.cold, said(done.text)) == (bool(where), {"start": [], "end": [], "results": []})
    assert warm.run(hooked, command, "--select", "one").text.count(" OK hook: ") == 2


@pytest.mark.parametrize("where", [{}, POD], ids=["warm", "cold"])
def test_alone_they_are_told_what_dbt_tells_them(warm, hooked, tmp_path, query, where):
    """The results are those of a real build, as it has written them; no node is executed again, and
    the manifest is that of the build.
    """
    built = warm.run(hooked, "build", *SELECT)
    real = said(built.text.replace(str(built.target), "TARGET"))
    assert [len(found) for found in real.values()] == [1, 1, 5]
    results = built.artifact("run_results.json")["results"]
    nodes = [result for result in results if not result["unique_id"].startswith("operation.")]
    query("drop table if exists shop.two")
    told = tmp_path / "hooks.json"
    told.write_text(
        json.dumps({"nodes": [result["unique_id"] for result in nodes], "results": nodes})
    )
    alone = ""
    for kind in ("on-run-start", "on-run-end"):
        done = warm.run(hooked, "build", DBT_HOOKS=kind, DBT_HOOKS_OF=str(told), **where)
        assert (done.code, done.parsed) == (0, bool(where)), done.text
        found = done.artifact("run_results.json")["results"]
        assert [result["unique_id"] for result in found] == [f"operation.shop.shop-{kind}-0"]
        alone += done.text
    assert said(alone) == real
    assert query("select to_regclass('shop.two')") == [(None,)]


SHARING = {
    "dbt_project.yml": """
name: shop
profile: shop
flags: {send_anonymous_usage_stats: false}
packages-install-path: packages
on-run-end: "{% do log('end of shop', info=True) if execute %}"
""",
    "models/one.sql": "{{ config(meta={'x': 1}) }} select 1 as id",
    "tests/lean.sql": """
{% if execute %}{% do graph['seen'].update({model.name: 1}) %}{% endif %}
select id from {{ ref('one') }} where false
""",
    "packages/lib/dbt_project.yml": """
name: lib
on-run-start: "{{ lib.begin() if execute }}"
on-run-end: "{{ lib.end() if execute }}"
""",
    "packages/lib/macros/lib.sql": """
{% macro begin() %}{% do graph.setdefault('seen', {}) %}{% endmacro %}
{% macro end() %}{% do log('seen ' ~ graph['seen'].keys() | join, info=True) %}{% endmacro %}
""",
    "packages.yml": "packages: [{local: packages/lib}]",
}


@pytest.mark.parametrize("where", [{}, POD], ids=["warm", "cold"])
def test_hooks_of_packages_run_with_each_command_where_others_do_not(warm, tmp_path, where):
    """What a hook has put into dbt's memory, a test and another hook of the command find there.
    The next command of the same worker starts without it.
    """
    shop = write_files(make_project(tmp_path / "shop"), SHARING)
    each = {"DBT_HOOKS_EACH": "lib", **where}
    for _ in range(2):
        for command, node, seen in (("run", "one", "seen"), ("test", "lean", "seen lean")):
            done = warm.run(shop, command, "--select", node, DBT_HOOKS="none", **each)
            assert done.code == 0, done.text
            said = [line.partition("  ")[2].strip() for line in done.text.splitlines()]
            assert [line for line in said if line.startswith(("seen", "end of"))] == [seen]
            ran = {r["unique_id"] for r in done.artifact("run_results.json")["results"]}
            assert {key for key in ran if key.startswith("operation.")} == {
                "operation.lib.lib-on-run-start-0",
                "operation.lib.lib-on-run-end-0",
            }
    told = tmp_path / "hooks.json"
    told.write_text(json.dumps({"nodes": ["model.shop.one"], "results": []}))
    alone = {"DBT_HOOKS": "on-run-end", "DBT_HOOKS_OF": str(told)}
    done = warm.run(shop, "build", **alone, **each)
    ran = [result["unique_id"] for result in done.artifact("run_results.json")["results"]]
    assert ran == ["operation.shop.shop-on-run-end-0"]


def write_files(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
