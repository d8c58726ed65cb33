"""The batches of a microbatch model that a scheduled run builds: no day stays missing."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from dev.tests.conftest import EMPTY, Instance
from include.engine import settings
from include.engine.run import microbatch
from include.engine.run.operator import DbtOperator

ORDERS = "model.jaffle_shop.orders"
DAILY = {"batch_size": "day", "lookback": 1, "begin": "2026-01-01"}


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("built_until", "config", "first"),
    [
        ("2026-03-10T00:00:00+00:00", DAILY, utc(2026, 3, 9)),  # lookback, then the interval
        ("2026-03-10T00:00:00+00:00", DAILY | {"lookback": 3}, utc(2026, 3, 7)),
        ("2026-03-10T00:00:00+00:00", DAILY | {"lookback": 0}, utc(2026, 3, 10)),
        ("2026-03-04T00:00:00+00:00", DAILY, utc(2026, 3, 3)),  # days that a pause has missed
        ("2026-03-11T00:00:00+00:00", DAILY, utc(2026, 3, 9)),  # a run that is cleared
        (None, DAILY, utc(2026, 1, 1)),  # the first run
        (None, DAILY | {"begin": "2026-03-09 12:00:00"}, utc(2026, 3, 9, 12)),
        (None, {}, utc(2026, 3, 10)),  # a manifest that does not have the model
        ("2026-03-10T02:00:00+00:00", {"batch_size": "hour", "lookback": 2}, utc(2026, 3, 9, 22)),
        ("2026-03-10T00:00:00+00:00", {"batch_size": "month", "lookback": 3}, utc(2025, 12, 1)),
        ("2026-03-10T00:00:00+00:00", {"batch_size": "year", "lookback": 1}, utc(2025, 1, 1)),
    ],
)
def test_a_scheduled_run_builds_from_where_the_last_good_one_ended(built_until, config, first):
    interval = utc(2026, 3, 10), utc(2026, 3, 11)
    found = microbatch.scheduled_window(*interval, built_until, config)
    assert found == (first, utc(2026, 3, 11))


@pytest.fixture
def manifest(monkeypatch, tmp_path) -> None:
    """The sample's manifest, with a microbatch model."""
    raw = json.loads(settings.load().manifest.read_bytes())
    raw["nodes"][ORDERS]["config"] |= DAILY
    (tmp_path / "manifest.json").write_text(json.dumps(raw))
    monkeypatch.setenv("DBT_MANIFEST", str(tmp_path / "manifest.json"))


def run(ti: Instance, run_type: str) -> None:
    task = DbtOperator(
        task_id=ORDERS,
        argv=("run", "--select", "orders"),
        node=ORDERS,
        nodes=[ORDERS],
        connection="warehouse",
        microbatch=True,
    )
    interval = {"data_interval_start": utc(2026, 3, 10), "data_interval_end": utc(2026, 3, 11)}
    context = {"params": EMPTY, "ti": ti, "dag_run": SimpleNamespace(run_type=run_type, conf={})}
    task.execute(context | interval)


def test_a_scheduled_run_says_how_far_it_has_built_and_the_next_one_reads_it(dbt, manifest):
    run(ti := Instance(), "scheduled")
    until = "--event-time-end=2026-03-11T00:00:00"
    assert ti.xcoms == {
        "event_times": f"--event-time-start=2026-01-01T00:00:00 {until}",
        "built_until": "2026-03-11T00:00:00+00:00",
    }
    run(ti := Instance(xcoms={"built_until": "2026-03-08T00:00:00+00:00"}), "scheduled")
    assert ti.xcoms["event_times"] == f"--event-time-start=2026-03-07T00:00:00 {until}"


def test_a_backfill_builds_exactly_its_interval_and_says_nothing(dbt, manifest):
    run(ti := Instance(), "backfill")
    assert (dbt / "ran").read_text().split("\0")[-3:-1] == [
        "--event-time-start=2026-03-10T00:00:00",
        "--event-time-end=2026-03-11T00:00:00",
    ]
    assert ti.xcoms == {}


def test_a_scheduled_run_that_fails_says_nothing_of_what_it_built(dbt, manifest):
    (dbt / "code").write_text("1")
    with pytest.raises(Exception, match="exit code 1"):
        run(ti := Instance(), "scheduled")
    assert ti.xcoms.keys() == {"event_times"}
