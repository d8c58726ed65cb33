"""dbt's results: of one command, and merged to those of a run."""

import json

import pytest

from include.engine.run import results

SCHEMA = "https://schemas.getdbt.com/dbt/run-results/v6.json"


def result(unique_id: str, status: str, **different) -> dict:
    return results.missing_result(unique_id, status) | different


def timed(start: int, end: int) -> list[dict]:
    at = "2026-01-01T00:00:{:02}.500000Z".format
    return [{"name": "execute", "started_at": at(start), "completed_at": at(end)}]


def record(*found: dict, second: int = 0, artifact: str = "run_results") -> dict:
    metadata = {
        "dbt_schema_version": SCHEMA,
        "dbt_version": "1.12.6",
        "generated_at": f"2026-01-01T00:00:{second:02}Z",
        "invocation_id": str(second),
        "invocation_started_at": f"2026-01-01T00:00:{second:02}Z",
        "env": {},
    }
    return results.as_xcom({"artifact": artifact, "metadata": metadata, "results": list(found)})


def test_a_tasks_result_is_the_worst_status_the_seconds_and_dbts_results_without_sql():
    passed = result("test.a", "pass", execution_time=0.25, compiled_code="select 1")
    warned = result("test.b", "warn", execution_time=0.5)
    assert results.as_xcom(
        {"artifact": "run_results", "metadata": {}, "results": [passed, warned]}
    ) == {
        "status": "warn",
        "execution_time": 0.75,
        "artifact": "run_results",
        "metadata": {},
        "results": [
            {key: value for key, value in one.items() if key != "compiled_code"}
            for one in (passed, warned)
        ],
    }


def test_where_dbt_left_nothing_there_is_no_result(tmp_path):
    assert results.read(tmp_path) == {}
    (tmp_path / "run_results.json").write_text('{"metadata": ')
    assert results.read(tmp_path) == {}
    (tmp_path / "sources.json").write_text(json.dumps({"metadata": {}, "results": []}))
    assert results.read(tmp_path) == {"artifact": "sources", "metadata": {}, "results": []}


def test_results_are_merged_as_one_command_would_have_left_them():
    first = record(result("model.a", "success", timing=timed(1, 3)), second=4)
    second = record(result("test.a", "fail", timing=timed(5, 9)), second=10)
    skipped = result("model.b", "skipped")
    merged = results.merge([first, second], [skipped], {"vars": {}}, "the id")
    assert merged == {
        "run_results": {
            "metadata": {
                **second["metadata"],
                "invocation_id": "the id",
                "invocation_started_at": "2026-01-01T00:00:04Z",
            },
            "results": [
                result("model.a", "success", timing=timed(1, 3)),
                result("test.a", "fail", timing=timed(5, 9)),
                skipped,
            ],
            "elapsed_time": 8.0,
            "args": {"which": "build", "vars": {}},
        }
    }


def test_what_ran_in_every_command_is_told_once_and_as_it_failed():
    hook = "operation.shop.shop-on-run-start-0"
    commands = [record(result(hook, status)) for status in ("success", "error", "success")]
    (told,) = results.merge(commands, [], {}, "r")["run_results"]["results"]
    assert (told["unique_id"], told["status"]) == (hook, "error")


def test_freshness_is_an_artifact_of_its_own():
    stale = {"unique_id": "source.a", "status": "warn"}
    merged = results.merge([record(stale, artifact="sources")], [], {}, "r")
    assert (merged["sources"]["results"], merged["run_results"]["results"]) == ([stale], [])
    assert "args" not in merged["sources"]
    assert merged["run_results"]["metadata"]["dbt_schema_version"] == SCHEMA


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"message": "Database Error\n  no\n  compiled code at /tmp/x.sql"},
            "Database Error\n  no",
        ),
        ({"message": None}, "skipped"),
        ({"error": "no such table"}, "no such table"),
        ({"message": 'no\n  LINE 1: select "x"\n      ^'}, 'no\n  LINE 1: select "x"\n      ^'),
        ({"message": "no\n  LINE 1: select 'pass...\n         ^\nmore"}, "no\nmore"),
        ({"message": "no\n  LINE 1: ...word' from a\n         ^"}, "no\n"),
        (
            {
                "max_loaded_at_time_ago_in_s": 9000.0,
                "criteria": {
                    "warn_after": {"count": 1, "period": "hour"},
                    "error_after": {"count": None, "period": None},
                },
            },
            "The newest row is 2.5 hours old (warn after 1 hour(s))",
        ),
        (
            {
                "max_loaded_at_time_ago_in_s": 3614.6 * 3600,
                "criteria": {"error_after": {"count": 3, "period": "day"}},
            },
            "The newest row is 151 days old (error after 3 day(s))",
        ),
    ],
)
def test_a_message_holds_no_lost_folder_and_no_half_of_a_query(found, said):
    assert results.message({"status": "skipped"} | found) == said.rstrip("\n")


def node(database: str, schema: str, alias: str) -> dict:
    return {"database": database, "schema": schema, "alias": alias, "raw_code": "select 1"}


def test_the_manifest_of_a_run_has_the_places_of_the_run():
    """Where each node was built; one that was not, where the others of its schema were."""
    built = {
        "model.a": node("", "dev", "a"),
        "model.b": node("", "dev", "b"),
        "model.c": node("", "raw", "c"),
        "model.d": node("", "raw", "d"),
        "model.e": node("", "raw", "e"),
        "model.f": node("", "none", "f"),
    }
    ran = [
        result("model.a", "success", relation_name='"db"."prod"."a ""1"""'),
        result("model.c", "success", relation_name="`db`.`one`.`c`"),
        result("model.d", "success", relation_name="db.two.D"),
        result("test.a", "pass", relation_name=None),
        result("model.f", "error", relation_name="two.parts"),
    ]
    assert results.with_run_relations({"metadata": {}, "nodes": built}, ran) == {
        "metadata": {},
        "nodes": {
            "model.a": node("db", "prod", 'a "1"'),
            "model.b": node("db", "prod", "b"),
            "model.c": node("db", "one", "c"),
            "model.d": node("db", "two", "D"),
            "model.e": node("", "raw", "e"),
            "model.f": node("", "none", "f"),
        },
    }
