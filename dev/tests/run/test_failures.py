"""The last lines of a failed task."""

import json

import pytest

from include.engine.plan.records import Task
from include.engine.run import failures, results

YAML = """\
models:
  - name: other
    columns:
      - name: id
        data_tests: [unique]
  - name: orders
    data_tests:
      - expression
    columns:
      - name: other
      - name: id
        data_tests:
          - unique
          - accepted_values:
              name: chosen
              arguments: {values: [1]}
          - accepted_values:
              arguments: {values: [2]}
sources:
  - name: raw
    tables:
      - name: payments
        columns:
          - name: id
            data_tests: [not_null]
"""


def declared(
    name: str, column: str | None, on: str = "model.shop.orders", called: str = "t"
) -> dict:
    return {
        "name": called,
        "column_name": column,
        "attached_node": on if on.startswith("model") else None,
        "depends_on": {"nodes": [on]},
        "test_metadata": {"name": name},
    }


@pytest.mark.parametrize(
    ("member", "line"),
    [
        (declared("unique", "id"), 13),
        (declared("unique", "id", "model.shop.other"), 5),
        (declared("accepted_values", "id"), 14),
        (declared("accepted_values", "id", called="chosen"), 15),
        (declared("expression", None), 8),
        (declared("not_null", "id", "source.shop.raw.payments"), 25),
        (declared("gone", "id"), 11),
        (declared("gone", None, "model.shop.gone"), None),
    ],
)
def test_a_test_is_found_in_its_yaml_or_what_it_tests_is(member, line):
    assert failures.line_in_yaml(member, YAML) == line


def test_yaml_that_cannot_be_read_has_no_lines():
    assert failures.line_in_yaml(declared("unique", "id"), "a: [") is None


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("LINE 14:   nope\n    ^", 3),
        ("  LINE 14: ...pe, id ...\n    ^", 4),
        ("LINE 14: from", None),  # twice in the file
        ("division by zero", None),
        ("Compilation Error\n  expected token\n    line 2\n      {{ x }}", 2),
    ],
)
def test_a_message_leads_to_the_line_of_the_file(said, line):
    source = "select id,\n  -- from\n  nope\n  pe, id , a\nfrom b\n"
    assert failures.line_in_sql(said, source) == line


def task(task_id: str, *upstream: str) -> Task:
    return Task(id=task_id, kind="model", node=task_id, upstream=upstream, group=())


def test_what_is_held_back_is_all_that_is_downstream():
    planned = [
        task("a"),
        task("b", "a"),
        task("c"),
        task("d", "b", "c"),
        task("e", "a"),
        task("f", "e"),
    ]
    assert failures.downstream_tasks("a", planned) == ["b", "d", "e", "f"]
    assert failures.downstream_tasks("d", planned) == []


def test_end_hooks_are_held_back_by_nothing():
    planned = [task("a"), task("b", "a"), task("on_run_end", "b")._replace(kind="on-run-end")]
    assert failures.downstream_tasks("a", planned) == ["b"]


def test_a_failed_test_is_told_with_its_file_its_query_and_where_its_rows_are(tmp_path):
    (tmp_path / "orders.yml").write_text(YAML)
    result = results.missing_result("test.shop.t", "fail", "Got 2 results") | {
        "relation_name": '"db"."audit"."t"',
        "compiled_code": "\n\nselect id\n\nfrom orders\n",
    }
    member = declared("unique", "id") | {
        "resource_type": "test",
        "original_file_path": "orders.yml",
    }
    assert list(failures.describe(result, member, tmp_path, {"test.shop.t": "| id |\n| 1 |"})) == [
        "test.shop.t: fail",
        "  Got 2 results",
        "  File: orders.yml:13",
        '  The failing rows are in "db"."audit"."t"',
        "  | id |",
        "  | 1 |",
        "  The query:",
        "    select id",
        "    from orders",
    ]


def test_a_node_that_the_manifest_does_not_know_is_told_as_dbt_tells_it(tmp_path):
    result = results.missing_result("operation.shop.x", "error", "Database Error\n  no")
    assert list(failures.describe(result, {}, tmp_path, {})) == [
        "operation.shop.x: error",
        "  Database Error",
        "    no",
    ]


def test_a_long_query_is_told_up_to_a_number_of_lines():
    lines = list(failures.query_lines("\n".join(f"line {n}" for n in range(100))))
    assert len(lines) == failures.QUERY_LINES + 2
    assert lines[-1] == "    … and 60 more lines"


@pytest.mark.parametrize(
    "message",
    [
        "no such column\n  LINE 84:   line 80\n            ^",  # dbt's statement is longer
        "Unrecognized name at [80:3]",
        "000904: SQL compilation error: error line 80 at position 2",
    ],
)
def test_a_long_query_is_shown_around_the_error(message):
    sql = "\n\n".join(f"  line {n}" for n in range(1, 101)).replace("\n\n", "\n")
    lines = list(failures.query_lines(sql, message))
    assert lines[:3] == ["  The query:", "    … 59 lines", "      line 60"]
    assert lines[-2:] == ["      line 99", "    … and 1 more lines"]


LOG = """\
18:21:29.426755 [info ] [MainThread]: Running with dbt=1.12.6
18:21:29.626691 [error] [MainThread]: [ERROR]: Encountered an error:
Compilation Error in model orders (models/orders.sql)
  unexpected '}'
18:21:29.656691 [debug] [MainThread]: Command failed
"""


def test_the_error_of_a_command_without_results_is_the_last_one_in_dbts_log(tmp_path):
    assert failures.logged_error(tmp_path) == ""
    (tmp_path / "dbt.log").write_text(LOG)
    assert failures.logged_error(tmp_path) == (
        "Compilation Error in model orders (models/orders.sql)\n  unexpected '}'"
    )


def test_only_what_is_asked_for_is_taken_from_the_manifest(tmp_path):
    path = tmp_path / "manifest.json"
    assert failures.manifest_members(path, ["model.a"]) == {}
    path.write_text(
        json.dumps({"nodes": {"model.a": {"n": 1}, "b": {}}, "sources": {"s": {"n": 2}}})
    )
    assert failures.manifest_members(path, ["model.a", "s", "none"]) == {
        "model.a": {"n": 1},
        "s": {"n": 2},
    }
