"""Which event times of a microbatch model a run builds, in UTC.

dbt builds `lookback` batches before the present again, and at first all since `begin`. A scheduled
run does the same with its data interval: no day stays missing after a pause or a failure.
https://docs.getdbt.com/docs/build/incremental-microbatch
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from include.engine import settings
from include.engine.manifest import find
from include.engine.run.results import BUILT_UNTIL

BATCHES = ("hour", "day", "month", "year")


def scheduled_window(
    start: datetime, end: datetime, built_until: str | None, config: Mapping[str, Any]
) -> tuple[datetime, datetime]:
    """The event times of a scheduled run with the data interval from `start` to `end`.

    It begins where the last good run ended, else at the model's `begin`, and `lookback` batches
    earlier: never after the interval's own start, never before `begin`.
    """
    begin = instant(config.get("begin"))
    last = instant(built_until) or begin or start
    size = config.get("batch_size")
    first = min(last, start.astimezone(timezone.utc))
    if size in BATCHES:
        first = earlier(first, size, int(config.get("lookback", 1)))
    return (max(first, begin) if begin else first), end


def instant(value: Any) -> datetime | None:
    """A moment in UTC out of a text or a date in ISO 8601, where UTC may be left out."""
    if not value:
        return None
    moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc).astimezone(timezone.utc)


def earlier(moment: datetime, size: str, batches: int) -> datetime:
    """The start of the batch with that moment, or of one so many batches earlier."""
    fields = ("hour", "minute", "second", "microsecond")
    if size == "hour":
        return moment.replace(**dict.fromkeys(fields[1:], 0)) - timedelta(hours=batches)
    day = moment.replace(**dict.fromkeys(fields, 0))
    if size == "day":
        return day - timedelta(days=batches)
    months = day.year * 12 + day.month - 1 - batches * (12 if size == "year" else 1)
    year, month = divmod(months, 12)
    return day.replace(year=year, month=1 if size == "year" else month + 1, day=1)


def window_since_last_run(
    node: str, ti: Any, start: datetime, end: datetime
) -> tuple[datetime, datetime]:
    """`scheduled_window` of the run of `ti`, by the manifest and by the XComs of earlier runs."""
    manifest = find.find_manifest(settings.load(), may_be_old=True)
    config = json.loads(manifest.read_bytes())["nodes"].get(node, {}).get("config", {})
    # -1 stands for a task that is not mapped: without it Airflow answers with those of all runs.
    built_until = ti.xcom_pull(key=BUILT_UNTIL, include_prior_dates=True, map_indexes=-1)
    return scheduled_window(start, end, built_until, config)
