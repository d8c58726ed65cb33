"""The schedules of plan/schedules.py as Airflow's timetables.

A run of a DAG with microbatch models has a data interval that ends when the run starts: that is the
window of these models, and what a backfill asks for. Any other DAG has the timetables that Airflow
itself makes of a cron text: a run has the time at which it starts. Cron is in UTC unless it names a
time zone: then `0 6 * * *` is six o'clock there, in summer and in winter.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from airflow.sdk import (
    Asset,
    AssetAll,
    AssetAny,
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
)
from airflow.sdk.exceptions import AirflowTimetableInvalid

from include.engine.plan import records
from include.engine.plan.duration import parse_duration


def airflow_schedule(dag: records.Dag) -> Any:
    """The `schedule` of Airflow's DAG. Raises ValueError, naming the node that asked for it."""
    time, assets = _time(dag), dag.request.schedule.assets
    if not assets:
        return time
    condition = (AssetAny if assets == "any" else AssetAll)(*map_assets(dag.awaits))
    return AssetOrTimeSchedule(timetable=time, assets=condition) if time else condition


def map_assets(assets: Iterable[records.Asset]) -> list[Asset]:
    """The assets as Airflow's."""
    return [Asset(name=asset.name, uri=asset.uri) for asset in assets]


def _time(dag: records.Dag) -> Any:
    text = dag.request.schedule.time
    if not text or text in records.ALONE:
        return text or None
    intervals = any(task.microbatch for task in dag.tasks)
    if text.startswith("P"):
        delta = DeltaDataIntervalTimetable if intervals else DeltaTriggerTimetable
        return delta(timedelta(seconds=parse_duration(text) or 0))
    cron = CronDataIntervalTimetable if intervals else CronTriggerTimetable
    timetable = cron(text, timezone=dag.request.schedule.timezone or "UTC")
    try:
        timetable.validate()
    except AirflowTimetableInvalid as error:
        raise ValueError(
            f"{dag.request.requested_by}: the schedule {text!r} is not cron: {error}"
        ) from None
    return timetable
