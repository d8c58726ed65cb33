"""One dbt project in several DAGs, between a loader and a report, through Airflow's scheduler.

A DAG loads orders and triggers `dbt_dag` (staging) by asset, though nobody announces its other
source. When all of staging is refreshed, it triggers `dbt_dag__marts`, whose exposure triggers a
report. A microbatch model has a DAG of its own with a daily schedule, which is backfilled. All
of it with the real dbt on the embedded Postgres.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import pytest

from dev.tests import sample
from dev.tests.scheduled.installation import CLEAN, dag_arguments, write_project
from scripts.local import airflow, ports, postgres, processes
from scripts.local.api import Api
from scripts.local.environment import airflow_environment, load_secrets
from scripts.local.paths import Paths, installation_paths

HERE = Path(__file__).parent
TODAY = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
LATELY = [TODAY - timedelta(days=number) for number in range(6, 0, -1)]
"""The last six days."""

FILES = {
    "dbt_project.yml": """
name: tiny
profile: tiny
flags: {send_anonymous_usage_stats: false}
models:
  +materialized: table
  tiny: {marts: {+meta: {airflow: {schedule: assets, dag: marts}}}}
""",
    "models/all.yml": """
sources:
  - name: raw
    schema: raw
    tables:
      - name: orders
        config:
          loaded_at_field: _loaded_at
          freshness: {error_after: {count: 1, period: hour}}
      - name: shops
models:
  - name: stg_orders
    columns: [{name: id, data_tests: [unique]}]
  - name: revenue
    columns: [{name: total, data_tests: [{accepted_values: {arguments: {values: [30, 60]}}}]}]
exposures:
  - name: report
    type: analysis
    owner: {name: Ada}
    depends_on: [ref('revenue')]
""",
    "models/stg_orders.sql": "select id, amount from {{ source('raw', 'orders') }}",
    "models/stg_shops.sql": "select id from {{ source('raw', 'shops') }}",
    "models/marts/revenue.sql": """
select sum(amount) as total from {{ ref('stg_orders') }}
where exists (select * from {{ ref('stg_shops') }})
""",
    "models/daily/visits.sql": """
{{ config(
    materialized='incremental', incremental_strategy='microbatch', unique_key='id',
    event_time='seen_at', batch_size='day', begin='BEGIN',
    meta={'airflow': {'schedule': '@daily', 'dag': 'daily'}},
) }}
select id, seen_at, clock_timestamp() as built_at from {{ ref('hits') }}
""".replace("BEGIN", f"{LATELY[2]:%Y-%m-%d}"),
    "models/daily/rebuilt.sql": """
{{ config(meta={'airflow': {'dag': 'daily'}}) }}
select count(*) as visits from {{ ref('visits') }}
""",
    "seeds/hits.csv": "id,seen_at\n"
    + "".join(f"{day},2026-03-{day:02} 12:00:00\n" for day in range(1, 11))
    + "".join(f"{100 + n},{day:%Y-%m-%d} 12:00:00\n" for n, day in enumerate(LATELY)),
    "seeds/hits.yml": """
seeds:
  - name: hits
    config:
      event_time: seen_at
      column_types: {seen_at: timestamp}
      meta: {airflow: {dag: daily}}
""",
}


@pytest.fixture(scope="module")
def at(tmp_path_factory) -> Paths:
    return installation_paths(str(tmp_path_factory.mktemp("pipeline") / "state"))


@pytest.fixture(scope="module")
def environment(at, tmp_path_factory) -> dict[str, str]:
    """The environment of an Airflow that has the DAGs of this folder besides the project's."""
    project = write_project(tmp_path_factory.mktemp("tiny project"), "pipeline", FILES)
    bundles = [
        {"name": name, "classpath": LOCAL, "kwargs": {"path": str(path)}}
        for name, path in (("project", sample.DAGS), ("around", HERE / "pipeline"))
    ]
    given = airflow_environment(
        CLEAN, at, load_secrets(at), ports.free_port(9300), "up", os.cpu_count() or 2
    )
    return given | {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_MANIFEST": str(tmp_path_factory.mktemp("manifest") / "manifest.json"),
        **dag_arguments(schedule="@yearly or any asset", retries=0),
        "DBT_SOURCE_FRESHNESS": "true",
    }


LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"


@pytest.fixture(scope="module")
def api(at, environment) -> Iterator[Api]:
    keys = load_secrets(at)
    build = [sys.executable, "-m", "include.engine.manifest.build"]
    subprocess.run(build, env=environment, check=True)
    try:
        postgres.start(at, keys, "up")
        airflow.migrate(at, keys, environment)
        since = datetime.now(timezone.utc)
        found = Api(int(environment["AIRFLOW__API__PORT"]))
        airflow.start(at, found, environment, "up")
        there = airflow.wait_until_parsed(at, found, since, "up")
        assert there == ["dbt_dag", "dbt_dag__daily", "dbt_dag__marts"]
        around = {"loader", "report"}
        until(lambda: around <= {dag["dag_id"] for dag in dags(found)})
        found.unpause(*there, *around)
        yield found
    finally:
        airflow.stop(at)
        processes.stop_all_with(f"{at.warm}{os.sep}")
        postgres.stop(at)


def dags(api: Api) -> list[dict]:
    return api.call("GET", "/api/v2/dags?limit=100")["dags"]


def until(done: Callable[[], object], seconds: float = 180):
    """What `done` returns, once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def runs(api: Api, dag_id: str) -> list[dict]:
    """The runs of a DAG, the oldest first."""
    return api.call("GET", f"/api/v2/dags/{dag_id}/dagRuns?limit=100&order_by=run_after")[
        "dag_runs"
    ]


def ended(api: Api, dag_id: str, number: int, seconds: float = 180) -> str:
    """The state of the run with this number (from 1), once it has one to stay."""

    def state():
        found = [run["state"] for run in runs(api, dag_id)][number - 1 : number]
        return found and found[0] in ("success", "failed") and found[0]

    return until(state, seconds)


def states(api: Api, dag_id: str) -> dict[str, str]:
    """The states of the tasks of a DAG's last run, but for the first, which asks whether dbt
    works, and the last, which merges the results.
    """
    run_id = runs(api, dag_id)[-1]["dag_run_id"]
    found = {task["task_id"]: task["state"] for task in Api.tasks(of(api, dag_id), run_id)}
    assert found.pop("check_dbt") == "success"
    found.pop("run_results")
    return found


def of(api: Api, dag_id: str) -> Api:
    other = Api(api.port, dag_id)
    other.token = api.token
    return other


def load(api: Api, **params) -> None:
    conf = {"conf": params, "logical_date": None}
    api.call("POST", "/api/v2/dags/loader/dagRuns", conf)


def ask(at: Paths, statement: str) -> list[tuple]:
    with postgres.cursor(at, load_secrets(at), "warehouse") as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


STAGING = (
    "source.tiny.raw.orders",
    "model.tiny.stg_orders",
    "test.tiny.stg_orders",
    "model.tiny.stg_shops",
)


def test_by_time_staging_runs_though_nothing_was_loaded(api):
    assert ended(api, "dbt_dag", 1) == "failed"
    assert [run["run_type"] for run in runs(api, "dbt_dag")] == ["scheduled"]
    assert [runs(api, dag_id) for dag_id in ("dbt_dag__marts", "report")] == [[], []]


def test_what_a_loader_brings_goes_through_dbt_to_a_report(api, at):
    """Loader, staging, marts and report are four DAGs; each is triggered by the one before it."""
    load(api)
    assert ended(api, "report", 1) == "success"
    assert [run["run_type"] for run in runs(api, "report")] == ["asset_triggered"]
    assert states(api, "dbt_dag") == dict.fromkeys(STAGING, "success")
    assert states(api, "dbt_dag__marts") == dict.fromkeys(
        ("model.tiny.revenue", "test.tiny.revenue", "exposure.tiny.report"), "success"
    )
    assert ask(at, "select total from pipeline.revenue") == [(30,)]


def test_a_report_does_not_run_on_a_mart_whose_test_has_failed(api):
    load(api, amount=11)
    assert ended(api, "dbt_dag__marts", 2) == "failed"
    assert states(api, "dbt_dag__marts") == {
        "model.tiny.revenue": "success",
        "test.tiny.revenue": "failed",
        "exposure.tiny.report": "upstream_failed",
    }
    assert len(runs(api, "report")) == 1


def test_a_stale_source_holds_back_what_reads_it(api):
    """And with it the DAG that waits for all of its models, though others were refreshed."""
    load(api, age="2 hours")
    assert ended(api, "dbt_dag", 4) == "failed"
    assert states(api, "dbt_dag") == {
        "source.tiny.raw.orders": "failed",
        "model.tiny.stg_orders": "upstream_failed",
        "test.tiny.stg_orders": "upstream_failed",
        "model.tiny.stg_shops": "success",
    }
    assert len(runs(api, "dbt_dag__marts")) == 2


def test_any_system_may_say_by_airflows_api_that_a_source_was_loaded(api, at):
    ask(at, "update raw.orders set amount = 20, _loaded_at = now() returning 1")
    query = "/api/v2/assets?name_pattern=source.tiny.raw.orders"
    (asset,) = api.call("GET", query)["assets"]
    api.call("POST", "/api/v2/assets/events", {"asset_id": asset["id"]})
    assert ended(api, "report", 2) == "success"
    assert ask(at, "select total from pipeline.revenue") == [(60,)]


def test_a_run_of_a_selection_without_the_model_publishes_nothing(api):
    before = len(runs(api, "dbt_dag__marts"))
    number = len(runs(api, "dbt_dag")) + 1
    wanted = {"conf": {"select": "test_type:generic"}, "logical_date": None}
    api.call("POST", "/api/v2/dags/dbt_dag/dagRuns", wanted)
    assert ended(api, "dbt_dag", number) == "success"
    skipped = dict.fromkeys(STAGING, "skipped")
    assert states(api, "dbt_dag") == skipped | {"test.tiny.stg_orders": "success"}
    time.sleep(3)  # the scheduler looks for assets each half second
    assert len(runs(api, "dbt_dag__marts")) == before


def visits(at: Paths, since: datetime) -> dict[int, datetime]:
    """By number, when each of the late visits was built, if it was after `since`."""
    rows = ask(at, "select id, built_at from pipeline.visits where id >= 100")
    return {number: moment for number, moment in rows if moment > since}


def daily(api: Api, run_id: str, key: str) -> str:
    """An XCom of the microbatch model in a run."""
    path = f"dagRuns/{quote(run_id, safe='')}/taskInstances/model.tiny.visits/xcomEntries/{key}"
    return api.call("GET", f"/api/v2/dags/dbt_dag__daily/{path}?stringify=false")["value"]


def test_the_first_scheduled_run_builds_all_batches_since_begin(api, at):
    """Its interval is yesterday alone."""
    assert ended(api, "dbt_dag__daily", 1) == "success"
    (first,) = runs(api, "dbt_dag__daily")
    interval = first["data_interval_start"][:10], first["data_interval_end"][:10]
    assert (first["run_type"], interval) == (
        "scheduled",
        (f"{LATELY[-1]:%Y-%m-%d}", f"{TODAY:%Y-%m-%d}"),
    )
    assert visits(at, TODAY).keys() == {102, 103, 104, 105}
    run_id = first["dag_run_id"]
    assert daily(api, run_id, "event_times") == (
        f"--event-time-start={LATELY[2]:%Y-%m-%dT%H:%M:%S} "
        f"--event-time-end={TODAY:%Y-%m-%dT%H:%M:%S}"
    )
    assert daily(api, run_id, "built_until") == TODAY.isoformat()


def test_a_scheduled_run_builds_what_was_missed_since_the_last_good_one_and_lookback(api, at):
    """As if a run of three days ago had been the last: its XCom says how far that has built."""
    (first,) = runs(api, "dbt_dag__daily")
    path = "/api/v2/dags/dbt_dag__daily"
    older = {"dag_run_id": "older", "logical_date": LATELY[-4].isoformat()}
    older["conf"] = {"exclude": "visits"}
    api.call("POST", f"{path}/dagRuns", older)
    until(lambda: of(api, "dbt_dag__daily").run_state("older") == "success")
    entry = {"key": "built_until", "value": LATELY[-2].isoformat(), "map_index": -1}
    task = "dagRuns/older/taskInstances/model.tiny.visits/xcomEntries"
    api.call("POST", f"{path}/{task}", entry)
    since = datetime.now(timezone.utc)
    again = {"dag_run_id": first["dag_run_id"], "task_ids": ["model.tiny.visits"]}
    body = again | {"dry_run": False, "only_failed": False, "include_downstream": True}
    api.call("POST", f"{path}/clearTaskInstances", body)
    until(lambda: visits(at, since))
    until(lambda: of(api, "dbt_dag__daily").run_state(first["dag_run_id"]) == "success")
    # The day before yesterday was missing, and the day before that is built again.
    assert visits(at, since).keys() == {103, 104, 105}


def test_a_backfill_of_five_days_builds_their_five_batches_once_each(api, at, environment):
    """And nothing of other days; models that are not microbatch are built in each run as ever."""
    days = ["--from-date", "2026-03-03", "--to-date", "2026-03-07"]
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", "dbt_dag__daily"]
    subprocess.run([*command, *days], env=environment, check=True, timeout=120)
    until(lambda: len(runs(api, "dbt_dag__daily")) == 7)
    until(lambda: {run["state"] for run in runs(api, "dbt_dag__daily")} == {"success"}, 400)
    found = [run for run in runs(api, "dbt_dag__daily") if run["run_type"] == "backfill"]
    assert sorted(run["data_interval_start"][:10] for run in found) == [
        f"2026-03-{day:02}" for day in range(3, 8)
    ]
    # A batch that is built twice has its rows replaced: each still has the time of its own run.
    built = ask(at, "select id, built_at from pipeline.visits where id < 100 order by id")
    assert [number for number, _ in built] == [3, 4, 5, 6, 7]
    for number, moment in built:
        (run,) = [r for r in found if r["data_interval_start"].startswith(f"2026-03-{number:02}")]
        start, end = (datetime.fromisoformat(run[key]) for key in ("start_date", "end_date"))
        assert start <= moment <= end
    assert ask(at, "select visits from pipeline.rebuilt") == [(9,)]
