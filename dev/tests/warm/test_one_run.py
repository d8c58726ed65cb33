"""A command has the time and the id of its DAG run, warm and cold; others have their own."""

from __future__ import annotations

import pytest

from .conftest import make_project
from .test_hooks import POD, write_files

STARTED_AT, INVOCATION = "2026-01-31T23:59:59.123456+00:00", "2f6e7b58-9d0c-5a4f-8d8e-000000000001"
GIVEN = {"DBT_RUN_STARTED_AT": STARTED_AT, "DBT_RUN_INVOCATION_ID": INVOCATION}
FILES = {
    "models/own.sql": """
select '{{ run_started_at }}' as moment, '{{ invocation_id }}' as id,
  '{{ run_started_at.tzname() }}' as zone
""",
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return write_files(make_project(tmp_path_factory.mktemp("own") / "shop"), FILES)


@pytest.mark.parametrize("where", [{}, POD], ids=["warm", "cold"])
def test_commands_of_a_dag_run_share_its_time_and_its_id(warm, own, query, where):
    expected = [("2026-01-31 23:59:59.123456+00:00", INVOCATION, "UTC")]
    for _ in range(2):
        query("drop table if exists shop.own")
        done = warm.run(own, "run", "--select", "own", **GIVEN, **where)
        assert (done.code, done.cold) == (0, bool(where)), done.text
        assert query("select * from shop.own") == expected
        metadata = done.artifact("run_results.json")["metadata"]
        assert metadata["invocation_id"] == INVOCATION
        assert metadata["invocation_started_at"] > STARTED_AT


def test_a_command_of_no_dag_run_has_its_own_though_its_worker_had_another(warm, own, query):
    warm.run(own, "run", "--select", "own", **GIVEN)
    done = warm.run(own, "run", "--select", "own")
    ((moment, found, zone),) = query("select * from shop.own")
    assert done.artifact("run_results.json")["metadata"]["invocation_id"] == found != INVOCATION
    assert (moment > "2026-02", zone) == (True, "UTC")
