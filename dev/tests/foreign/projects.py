"""dbt projects as strangers have them: each joins many odd kinds, and dbt builds them all.

HOST and DATABASE in a variable stand for the warehouse of the side that is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dev.tests.shapes.projects import MODEL, yaml


class Foreign(NamedTuple):
    """A project below `folder` of the files. `variables` are exported by the person. `settings` say
    to this repository what `arguments` say to dbt. With the files of `failure` the statuses of
    `wrong` are in the results, by id without hash.
    """

    files: Mapping[str, str]
    failure: Mapping[str, str]
    wrong: Mapping[str, str]
    folder: str = "."
    links: Mapping[str, str] = {}
    variables: Mapping[str, str] = {}
    settings: Mapping[str, str] = {}
    arguments: tuple[str, ...] = ()


def project(name: str, **words: object) -> str:
    """A dbt_project.yml whose profile is not in the folder."""
    quiet = {"send_anonymous_usage_stats": False, **words.pop("flags", {})}
    return yaml({"name": name, "profile": "in_my_home", "flags": quiet, **words})


def properties(*names: str, **more: object) -> str:
    """Properties of models whose `id` is unique."""
    unique = {"columns": [{"name": "id", "data_tests": ["unique"]}]}
    return yaml({"models": [{"name": name, **unique} for name in names], **more})


TWICE = "select 1 as id union all select 1 as id\n"

# Any alphabet; folders that collide, are deep, or have a name of the engine's; JSON among dbt's
# output; a default selector, without which the project does not build; owners as long as can be.
DEEP = "/".join(letter * 54 for letter in "abcde")
DAILY = [{"method": "fqn", "value": "*"}, {"exclude": [{"method": "tag", "value": "weekly"}]}]
ERP = {
    "name": "erp",
    "schema": "analytics",
    "tables": [{"name": "Aufträge", "identifier": "early"}],
}
NAMES = Foreign(
    files={
        "dbt_project.yml": project(
            "names", flags={"log_format": "json"}, models={"names": {"+materialized": "table"}}
        ),
        "selectors.yml": yaml(
            {"selectors": [{"name": "daily", "default": True, "definition": {"union": DAILY}}]}
        ),
        "macros/say.sql": "{% macro say() %}{{ print('{\"hello\": 1}') }}{{ print('[') }}"
        "{% endmacro %}",
        "seeds/Kundenaufträge.csv": "id,größe\n1,10\n2,20\n",
        "models/日本語名モデル.sql": "{{ say() }} select id from {{ ref('Kundenaufträge') }}",
        "models/Finance Reports (old)/q1.sql": "select * from {{ ref('日本語名モデル') }}",
        "models/a/b/inner.sql": "select * from {{ ref('q1') }}",
        "models/a__b/joined.sql": "select * from {{ ref('inner') }}",
        "models/run_results/kept.sql": MODEL,
        "models/on_run_start/early.sql": MODEL,
        f"models/{DEEP}/deep.sql": "select * from {{ ref('kept') }}",
        "models/reads.sql": "-- {{ ref('early') }}\nselect * from {{ source('erp', 'Aufträge') }}",
        "models/weekly.sql": "{{ config(tags='weekly') }} select * from nowhere_at_all",
        "models/_properties.yml": properties("日本語名モデル", "inner", "joined", sources=[ERP]),
        **{
            f"models/owned/owned_{number}.sql": "{{ config(materialized='view', meta={'airflow': "
            f"{{'owner': 'team {number} {'of many words ' * 17}'}}}}) }}}} {MODEL}"
            for number in range(9)
        },
    },
    failure={"models/a/b/inner.sql": TWICE},
    wrong={
        "test.names.unique_inner_id": "fail",
        "model.names.joined": "skipped",
        "test.names.unique_joined_id": "skipped",
    },
)

# Packages that are kept in the repository, though dbt could not get them; a link to a file outside
# and one to nothing; folders of other names; variables that only a command line gives; a model that
# does not compile and is excluded; variables of the person's own that begin with PG and PYTHON.
VENDORED = Foreign(
    folder="analytics",
    files={
        "analytics/dbt_project.yml": project(
            "vendored",
            **{
                "model-paths": ["sql"],
                "seed-paths": ["data"],
                "target-path": "build/dbt",
                "on-run-start": "create table if not exists {{ target.schema }}.at_start (id int)",
                "models": {"vendored": {"+enabled": "{{ var('on') }}"}},
            },
        ),
        "analytics/packages.yml": yaml(
            {"packages": [{"git": "https://127.0.0.1:9/tools.git", "revision": "1.0.0"}]}
        ),
        "analytics/dbt_packages/tools/dbt_project.yml": "{name: tools, version: 1.0.0}",
        "analytics/dbt_packages/tools/macros/one.sql": "{% macro one() %}1{% endmacro %}",
        "analytics/dbt_packages/tools/models/from_tools.sql": "select {{ tools.one() }} as id",
        "analytics/dbt_packages/tools/models/properties.yml": properties("from_tools"),
        "analytics/data/prices.csv": "id,price\n1,10\n2,\n",
        "analytics/sql/logs/logged.sql": "select * from {{ ref('from_tools') }}",
        "analytics/sql/priced.sql": "select id, coalesce(price, {{ var('price') }}) as price, "
        "'{{ env_var('PGREGION') }}{{ env_var('PYTHON_STAGE') }}' as stage "
        "from {{ ref('prices') }} left join {{ ref('logged') }} using (id)",
        "analytics/sql/bad.sql": "{{ exceptions.raise_compiler_error('no') if execute }}",
        "analytics/sql/_properties.yml": properties("priced", "shared"),
        "shared/shared.sql": "select * from {{ ref('priced') }}",
    },
    links={"analytics/sql/shared.sql": "../../shared/shared.sql", "analytics/old": "/nowhere/x"},
    variables={"PGREGION": "eu", "PYTHON_STAGE": "live"},
    settings={"DBT_EXCLUDE": "bad", "DBT_VARS": '{"on": true, "price": 5}'},
    arguments=("--exclude", "bad", "--vars", '{"on": true, "price": 5}'),
    failure={"analytics/sql/logs/logged.sql": "select nothing from {{ ref('from_tools') }}"},
    wrong={
        "model.vendored.logged": "error",
        "model.vendored.priced": "skipped",
        "model.vendored.shared": "skipped",
        "test.vendored.unique_priced_id": "skipped",
        "test.vendored.unique_shared_id": "skipped",
    },
)

# The tests of a package: the package is the folder around them, and `dbt deps` left a loop.
# The profile is the project's own, with variables of its own.
PACKAGE = Foreign(
    folder="integration_tests",
    files={
        "dbt_project.yml": "{name: tools, version: 1.0.0}",
        "macros/schema.sql": "{% macro generate_schema_name(name, node) %}"
        "{{ target.schema }}{{ '_' ~ name if name }}{% endmacro %}",
        "macros/no_rows.sql": "{% test no_rows(model) %}select * from {{ model }}{% endtest %}",
        "models/of_tools.sql": MODEL,
        "integration_tests/dbt_project.yml": yaml(
            {
                "name": "its_tests",
                "profile": "ci",
                "flags": {"send_anonymous_usage_stats": False},
                "dispatch": [{"macro_namespace": "dbt", "search_order": ["tools", "dbt"]}],
            }
        ),
        "integration_tests/profiles.yml": "ci: {target: pg, outputs: {pg: {threads: 2, "
        "type: postgres, port: 5432, user: postgres, password: none, "
        "host: \"{{ env_var('CI_HOST') }}\", dbname: "
        "\"{{ env_var('CI_DATABASE') }}\", schema: ci}}}\n",
        "integration_tests/packages.yml": "packages: [{local: ../}]",
        "integration_tests/models/empty.sql": "{{ config(schema='marts', alias='nothing') }} "
        "select * from {{ ref('of_tools') }} where false",
        "integration_tests/models/after.sql": "select count(*) as id from {{ ref('empty') }}",
        "integration_tests/models/_properties.yml": yaml(
            {"models": [{"name": "empty", "data_tests": ["tools.no_rows"]}]}
        ),
        "integration_tests/tests/some.sql": "select * from {{ ref('after') }} where id > 0",
    },
    links={"integration_tests/dbt_packages/tools": "../.."},
    variables={"CI_HOST": "HOST", "CI_DATABASE": "DATABASE"},
    failure={"integration_tests/models/empty.sql": "select * from {{ ref('of_tools') }}"},
    wrong={
        "test.its_tests.tools_no_rows_empty_": "fail",
        "model.its_tests.after": "skipped",
        "test.its_tests.some": "skipped",
    },
)

# Every kind of node: versions, snapshots, unit tests, exposures, an ephemeral and an incremental
# model, a warning, failures that are stored, one that is disabled, a test over two models.
ORDERS = {
    "name": "orders",
    "latest_version": 2,
    "versions": [{"v": 1}, {"v": 2}],
    "columns": [
        {"name": "id", "data_tests": ["unique", {"not_null": {"config": {"severity": "warn"}}}]}
    ],
}
DOUBLES = {
    "name": "doubles",
    "model": "totals",
    "given": [{"input": "ref('orders', v=2)", "rows": [{"id": 1, "price": 2}]}],
    "expect": {"rows": [{"id": 1, "twice": 4}]},
}
READS = ["ref('last')"]
BOARD = {"name": "board", "type": "dashboard", "owner": {"name": "Jo"}, "depends_on": READS}
KINDS = Foreign(
    files={
        "dbt_project.yml": project("kinds", data_tests={"+store_failures": True}),
        "seeds/raw.csv": "id,price,at\n1,10,2024-01-01\n2,20,2024-01-02\n,5,2024-01-03\n",
        "snapshots/history.yml": yaml(
            {
                "snapshots": [
                    {
                        "name": "history",
                        "relation": "ref('raw')",
                        "config": {
                            "unique_key": "price",
                            "strategy": "timestamp",
                            "updated_at": "at",
                            "schema": "snapshots",
                        },
                    }
                ]
            }
        ),
        "models/between.sql": "{{ config(materialized='ephemeral') }} select id, price "
        "from {{ ref('history') }}",
        "models/orders_v1.sql": "select id from {{ ref('between') }}",
        "models/orders_v2.sql": "{{ config(materialized='incremental', unique_key='id') }} "
        "select id, price from {{ ref('between') }} "
        "{% if is_incremental() %}where id > 9{% endif %}",
        "models/totals.sql": "select id, price * 2 as twice from {{ ref('orders') }}",
        "models/seen.sql": "{{ config(materialized='materialized_view') }} "
        "select * from {{ ref('orders', v=1) }}",
        "models/last.sql": "{{ config(materialized='table') }} select t.* "
        "from {{ ref('totals') }} t join {{ ref('seen') }} using (id)",
        "models/off.sql": "{{ config(enabled=false) }} select * from {{ ref('last') }}",
        "models/_properties.yml": yaml(
            {
                "models": [ORDERS, {"name": "last", "columns": [{"name": "id"}]}],
                "unit_tests": [DOUBLES],
                "exposures": [BOARD],
            }
        ),
        "tests/same.sql": "select 1 from {{ ref('totals') }} t join {{ ref('seen') }} s using (id) "
        "where t.twice < 0",
    },
    settings={"DBT_UNIT_TESTS": "true"},
    failure={"models/totals.sql": "select id, price * 3 as twice from {{ ref('orders') }}"},
    wrong={
        "unit_test.kinds.totals.doubles": "fail",
        "model.kinds.totals": "skipped",
        "model.kinds.last": "skipped",
        "test.kinds.same": "skipped",
    },
)

ALL = {"names": NAMES, "vendored": VENDORED, "package": PACKAGE, "kinds": KINDS}
