"""What the pages of Airflow's UI say, out of manifests small enough to read."""

from __future__ import annotations

import pytest

from include.engine.plan.ends import FIRST
from include.engine.plan.records import Task
from include.engine.ui import pages, records
from include.engine.ui.records import Column, Link, Node

ORDERS = Link("model.shop.orders", "model", "orders", "#!/model/model.shop.orders")
PAYMENTS = Link("source.shop.pay.all", "source", "pay.all", "#!/source/source.shop.pay.all")
REPORT = Link("exposure.shop.report", "exposure", "report", "#!/exposure/exposure.shop.report")
UNIQUE = "test.shop.unique_orders_id.1"
RELATED = "test.shop.relationships_lines_order.2"


def task(kind: str, *nodes: str) -> Task:
    return Task("a task", kind, nodes[0], (), (), ("run",), nodes)


@pytest.fixture
def raw() -> dict:
    """Orders are read from payments and feed a report; two tests read them, one is on them."""
    return {
        "metadata": {
            "project_name": "shop",
            "generated_at": "2026-01-02T03:04:05.678Z",
            "dbt_version": "1.12.6",
        },
        "docs": {
            "doc.shop.__overview__": {"block_contents": "# The shop"},
            "doc.dbt.__overview__": {"block_contents": "dbt's own"},
        },
        "groups": {"group.shop.money": {"name": "money", "owner": {"email": "m@shop.example"}}},
        "nodes": {
            "model.shop.orders": {
                "unique_id": "model.shop.orders",
                "resource_type": "model",
                "name": "orders",
                "description": "All *orders*.",
                "config": {"materialized": "table", "group": "money", "tags": ["daily"]},
                "tags": ["daily", "core"],
                "relation_name": '"w"."a"."orders"',
                "original_file_path": "models/orders.sql",
                "depends_on": {"nodes": ["source.shop.pay.all"]},
                "columns": {"id": {"name": "id", "description": "Its key.", "data_type": "int"}},
                "raw_code": "select {{ 1 }}",
                "compiled_code": "\nselect 1\n",
            },
            UNIQUE: {
                "unique_id": UNIQUE,
                "resource_type": "test",
                "name": "unique_orders_id",
                "attached_node": "model.shop.orders",
                "column_name": "ID",
                "config": {"severity": "WARN", "where": "id > 3", "limit": None},
                "test_metadata": {"name": "unique", "kwargs": {"column_name": "ID", "model": "m"}},
                "original_file_path": "models/orders.yml",
                "depends_on": {"nodes": ["model.shop.orders"]},
                "raw_code": "{{ test_unique() }}",
                "compiled_code": "select 2",
            },
            RELATED: {
                "unique_id": RELATED,
                "resource_type": "test",
                "name": "relationships_lines_order",
                "attached_node": "model.shop.lines",
                "column_name": "order_id",
                "test_metadata": {
                    "name": "relationships",
                    "kwargs": {"to": "ref('orders')", "field": "id", "values": [1, "b"]},
                },
                "depends_on": {"nodes": ["model.shop.orders", "model.shop.lines"]},
            },
        },
        "sources": {
            "source.shop.pay.all": {
                "unique_id": "source.shop.pay.all",
                "resource_type": "source",
                "source_name": "pay",
                "name": "all",
                "freshness": {
                    "warn_after": {"count": 36, "period": "hour"},
                    "error_after": {"count": None, "period": None},
                },
            }
        },
        "exposures": {
            "exposure.shop.report": {
                "unique_id": "exposure.shop.report",
                "resource_type": "exposure",
                "name": "report",
                "type": "dashboard",
                "owner": {"name": "Ann", "email": "ann@shop.example"},
                "url": "https://bi.example/report",
                "depends_on": {"nodes": ["model.shop.orders"]},
            }
        },
        "child_map": {"model.shop.orders": [UNIQUE, RELATED, "exposure.shop.report"]},
    }


def test_a_models_page_has_what_dbt_knows_of_it(raw):
    assert pages.task_page(raw, {}, task("model", "model.shop.orders")).nodes == (
        Node(
            link=ORDERS,
            description="All *orders*.",
            facts=(
                ("materialization", "table"),
                ("relation", '"w"."a"."orders"'),
                ("owner", "m@shop.example"),
                ("group", "money"),
                ("file", "models/orders.sql"),
                ("tags", "daily, core"),
            ),
            columns=(Column("id", "int", "Its key.", ("unique",)),),
            tests=(),
            reads=(PAYMENTS,),
            feeds=(REPORT,),
            sql="select 1",
            compiled=True,
        ),
    )


def test_the_warehouse_adds_types_sizes_and_columns_that_nobody_described(raw):
    columns = {"ID": {"name": "ID", "type": "BIGINT"}, "NEW": {"name": "NEW", "type": "TEXT"}}
    stats = {
        "has_stats": {"id": "has_stats", "label": "Has Stats?", "value": True, "include": False},
        "row_count": {"id": "row_count", "label": "Row Count", "value": 7.0, "include": True},
    }
    catalog = {"nodes": {"model.shop.orders": {"columns": columns, "stats": stats}}}
    (node,) = pages.task_page(raw, catalog, task("model", "model.shop.orders")).nodes
    assert node.columns == (
        Column("id", "BIGINT", "Its key.", ("unique",)),
        Column("NEW", "TEXT", "", ()),
    )
    assert node.facts[-1] == ("row count", "7.0")


def test_what_the_build_could_not_compile_is_shown_as_it_was_written(raw):
    del raw["nodes"]["model.shop.orders"]["compiled_code"]
    (node,) = pages.task_page(raw, {}, task("model", "model.shop.orders")).nodes
    assert (node.sql, node.compiled) == ("select {{ 1 }}", False)


def test_a_test_tasks_page_has_each_test_with_its_arguments(raw):
    page = pages.task_page(raw, {}, task("test", UNIQUE, RELATED))
    assert page.tested == (ORDERS,)  # the other model is not in this manifest
    assert page.tests == (
        records.Test(
            link=Link(UNIQUE, "test", "unique", f"#!/test/{UNIQUE}"),
            column="ID",
            facts=(("where", "id > 3"), ("file", "models/orders.yml")),
            severity="warn",
            description="",
            sql="select 2",
        ),
        records.Test(
            link=Link(RELATED, "test", "relationships", f"#!/test/{RELATED}"),
            column="order_id",
            facts=(("to", "ref('orders')"), ("field", "id"), ("values", '[1, "b"]')),
            severity="error",
            description="",
            sql="",
        ),
    )


def test_a_unit_tests_page_has_its_rows(raw):
    raw["unit_tests"] = {
        "unit_test.shop.orders.sums": {
            "unique_id": "unit_test.shop.orders.sums",
            "resource_type": "unit_test",
            "name": "sums",
            "given": [{"rows": [{"id": 1}]}],
            "expect": {"rows": []},
            "depends_on": {"nodes": ["model.shop.orders"]},
        }
    }
    (found,) = pages.task_page(raw, {}, task("unit_test", "unit_test.shop.orders.sums")).tests
    assert found.facts == (("given", '[{"rows": [{"id": 1}]}]'), ("expect", '{"rows": []}'))


def test_a_dags_page_has_the_project_its_sources_and_exposures(raw):
    page = pages.dag_page(raw)
    assert (page.project, page.description, page.built, page.dbt) == (
        *("shop", "# The shop"),
        *("2026-01-02T03:04:05.678Z", "1.12.6"),
    )
    assert page.counts == (("test", 2), ("exposure", 1), ("model", 1), ("source", 1))
    assert [(one.link, one.facts) for one in (*page.sources, *page.exposures)] == [
        (PAYMENTS, (("freshness", "warns after 36 hours"),)),
        (
            REPORT,
            (
                ("owner", "Ann <ann@shop.example>"),
                ("type", "dashboard"),
                ("url", "https://bi.example/report"),
            ),
        ),
    ]


def test_a_version_of_a_model_is_named_with_it(raw):
    raw["nodes"]["model.shop.orders"] |= {"version": 2}
    assert pages.link(raw["nodes"]["model.shop.orders"]).name == "orders.v2"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(59, "less than a minute"), (60, "1 minute"), (7300, "2 hours"), (90000, "1 day")],
)
def test_an_age_is_said_in_one_unit(seconds, said):
    assert pages.age(seconds) == said


def test_the_first_task_of_a_run_has_no_node_on_its_page(raw):
    assert pages.task_page(raw, {}, FIRST) == records.TaskPage(FIRST, (), (), ())
