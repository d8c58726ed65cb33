"""Which hooks share memory with nodes, by what Jinja reads in them and in the macros they reach."""

from __future__ import annotations

import pytest

from include.engine.manifest.hooks import sharing_packages


def manifest(hook: str, recorded: tuple[str, ...] = (), **macros: str) -> dict:
    """A decoded manifest with a hook of the project `shop`. A macro's name begins with its package
    and `__`; it calls the macros whose names are in its text, as dbt lists them.
    """
    ids = {f"macro.{name.replace('__', '.', 1)}": text for name, text in macros.items()}
    short = {key.rpartition(".")[2]: key for key in ids}
    return {
        "metadata": {"project_name": "shop"},
        "nodes": {
            "operation.shop.shop-on-run-start-0": {
                "resource_type": "operation",
                "package_name": "shop",
                "raw_code": hook,
                "depends_on": {"macros": list(recorded)},
            },
            "model.shop.one": {"resource_type": "model", "package_name": "shop"},
        },
        "macros": {
            key: {
                "macro_sql": text,
                "depends_on": {
                    "macros": [other for name, other in short.items() if f"{name}(" in text]
                },
            }
            for key, text in ids.items()
        },
    }


@pytest.mark.parametrize(
    "text",
    [
        "{% do graph.update({'x': {}}) %}",
        "{{ graph.setdefault('x', {}) }}",
        "{% do graph['x'].append(1) %}",
        "{% do graph.get('x').a.update({}) %}",
        "{% set mine = graph.setdefault('x', []) %}{% set same = mine %}{% do same.append(1) %}",
        "{% if execute %}{% for x in y %}{% do graph.pop('x') %}{% endfor %}{% endif %}",
        "{% do selected_resources.append('x') %}",
        "{% do dbt_metadata_envs.update({'x': 1}) %}",
        # Put there by a node, for this hook to find.
        "insert into t values ({{ graph['x'] }})",
        "{{ graph.get('x', {}) }}",
        "{{ graph.x | length }}",
    ],
)
def test_a_hook_shares_memory_if_it_changes_what_lives_or_reads_what_dbt_never_puts_there(text):
    assert sharing_packages(manifest(text)) == {"shop"}


@pytest.mark.parametrize(
    "text",
    [
        "insert into audit values ('graph.update({})')",
        "{# {% do graph.update({}) %} #} select 1",
        "{% for node in graph.nodes.values() %}{% do log(node.name) %}{% endfor %}",
        "{{ graph['sources'].values() | list }}{{ graph.get('exposures') }}",
        "{% set mine = [] %}{% for n in graph.nodes %}{% do mine.append(n) %}{% endfor %}",
        "{% set mine = graph.copy() %}{% do mine.update({'x': 1}) %}",
        "{% set graphs = {} %}{% do graphs.update({'x': 1}) %}{{ selected_resources | sort }}",
        "grant usage on schema x to public",
        "{% this is no Jinja",
    ],
)
def test_all_others_share_none(text):
    assert sharing_packages(manifest(text)) == frozenset()


@pytest.mark.parametrize(
    ("hook", "recorded"),
    [
        ("{{ begin() }}", ()),
        ("{{ shop.begin() }}", ()),
        ("{% if execute %}{{ lib.outer() }}{% endif %}", ()),
        ("{{ adapter.dispatch('outer', 'lib')() }}", ("macro.lib.outer",)),
    ],
)
def test_the_macros_that_a_hook_reaches_are_read_too(hook, recorded):
    macros = {
        "shop__begin": "{% macro begin() %}{% do lib.outer() %}{% endmacro %}",
        "lib__outer": "{% macro outer() %}{{ inner() }}{% endmacro %}",
        "lib__inner": "{% macro inner() %}{% do graph.update({'x': {}}) %}{% endmacro %}",
        "lib__begun": "{% macro begun() %}select 1{% endmacro %}",
    }
    assert sharing_packages(manifest(hook, recorded, **macros)) == {"shop"}
    quiet = macros | {"lib__inner": "{% macro inner() %}{{ graph.nodes }}{% endmacro %}"}
    assert sharing_packages(manifest(hook, recorded, **quiet)) == frozenset()


def test_a_macro_of_another_package_with_the_name_of_a_called_one_is_not_meant():
    macros = {
        "shop__begin": "{% macro begin() %}select 1{% endmacro %}",
        "lib__begin": "{% macro begin() %}{% do graph.update({}) %}{% endmacro %}",
    }
    raw = manifest("{{ begin() }}", **macros)
    raw["macros"]["macro.shop.begin"]["depends_on"]["macros"] = []
    assert sharing_packages(raw) == frozenset()


def test_an_object_that_lives_may_be_given_to_the_macro_that_changes_it():
    put = "{% macro put(place) %}{% do place.update({'x': 1}) %}{% endmacro %}"
    assert sharing_packages(manifest("{% do put(graph) %}", shop__put=put)) == {"shop"}
    assert sharing_packages(manifest("{% do put({}) %}", shop__put=put)) == frozenset()


@pytest.mark.parametrize("kind", ["materialization x, default", "test x(model)", "snapshot x"])
def test_blocks_of_dbt_are_read(kind):
    text = f"{{% {kind} %}}{{% do graph.update({{}}) %}}{{% end{kind.split()[0]} %}}"
    raw = manifest("select 1", ("macro.shop.x",), shop__x=text)
    assert sharing_packages(raw) == {"shop"}


def test_a_project_without_hooks_shares_none():
    assert sharing_packages({"nodes": {}}) == sharing_packages({}) == frozenset()
