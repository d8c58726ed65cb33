"""When a DAG runs, as Airflow's scheduler reads the schedule."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from include.engine.dag.timetables import airflow_schedule
from include.engine.plan.records import Dag, DagRequest, Task
from include.engine.plan.schedules import parse_schedule

MICROBATCH = Task("model.shop.m", "model", "model.shop.m", (), (), microbatch=True)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=timezone.utc)


def runs(text: str, after: str, count: int, *tasks: Task) -> list[str]:
    """The times, in UTC, of the first runs after a moment, by Airflow's own timetable."""
    request = DagRequest("dbt_dag", parse_schedule(text), "dbt_dag")
    schedule = airflow_schedule(Dag("dbt_dag", request, (), (), tasks))
    dag = DAG("dbt_dag", schedule=schedule, start_date=NEW_YEAR)
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    begin = datetime.fromisoformat(after).replace(tzinfo=timezone.utc)
    times, interval = [], None
    for _ in range(count):
        info = timetable.next_dagrun_info(
            last_automated_data_interval=interval,
            restriction=TimeRestriction(earliest=begin, latest=None, catchup=True),
        )
        interval = info.data_interval
        times.append(f"{info.run_after.astimezone(timezone.utc):%m-%d %H:%M}")
    return times


@pytest.mark.parametrize("tasks", [(), (MICROBATCH,)])
def test_six_in_berlin_is_six_in_berlin_before_and_after_the_clocks_change(tasks):
    at_six = "0 6 * * * Europe/Berlin"
    day = len(tasks)  # a run with a data interval comes at its end
    spring = runs(at_six, "2026-03-27T12:00", 4, *tasks)
    assert spring[: 4 - day] == ["03-28 05:00", "03-29 04:00", "03-30 04:00", "03-31 04:00"][day:]
    autumn = runs(at_six, "2026-10-23T12:00", 4, *tasks)
    assert autumn[: 4 - day] == ["10-24 04:00", "10-25 05:00", "10-26 05:00", "10-27 05:00"][day:]


def test_without_a_time_zone_it_is_utc():
    assert runs("0 6 * * *", "2026-03-27T12:00", 3) == ["03-28 06:00", "03-29 06:00", "03-30 06:00"]


def test_a_preset_has_a_time_zone_too():
    assert runs("@daily Europe/Berlin", "2026-03-28T12:00", 3) == [
        "03-28 23:00",
        "03-29 22:00",
        "03-30 22:00",
    ]
