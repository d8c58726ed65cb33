"""What a person may enter when triggering a run, and that nothing of it is executed or rendered."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset
from airflow.sdk.api.datamodels._generated import DagRunType
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dev.tests.conftest import EMPTY, Instance
from include.engine import settings
from include.engine.run import params
from include.engine.run.operator import DbtOperator

NASTY = [
    "a b",
    "tag:nightly,+orders+ @x",
    "$(touch owned)",
    "`touch owned`",
    "; touch owned",
    "a\ntouch owned\n",
    "'; touch owned; '",
    '"; touch owned; "',
    "{{ 7 * 7 }} {% raw %}",
    "--profiles-dir",
    "-x --target other",
    "< /dev/null",
    "smörgåsbord \u202e 模型",
    "\\",
    "!!",
    "*",
]


def test_the_form_offers_what_dbt_takes_and_the_targets_of_the_profile(dag):
    fields = {name: dag.params.get_param(name).schema for name in dag.params}
    text = {"type": ["null", "string"]}
    assert fields == {
        "select": text,
        "exclude": text,
        "full_refresh": {"type": "boolean"},
        "vars": {"type": ["null", "object"]},
        "event_time_start": text,
        "event_time_end": text,
        "target": {"enum": [None, "dev", "prod"]},
    }


def test_tasks_have_no_copies_of_the_dags_params(dag):
    """They would be most of the serialized DAG, and checking them most of the time it takes."""
    assert {len(task.params) for task in dag.tasks} == {0}


def test_an_empty_form_adds_nothing():
    assert params.selection_arguments(EMPTY) == ()
    assert {verb: params.command_arguments(verb, EMPTY) for verb in ("run", "test")} == {
        "run": (),
        "test": (),
    }


def test_each_command_gets_the_options_that_it_has():
    entered = EMPTY | {
        "full_refresh": True,
        "vars": {"day": "2026-01-31"},
        "event_time_start": "2026-01-01",
        "event_time_end": "2026-02-01",
        "target": "dev",
    }
    both = ('--vars={"day": "2026-01-31"}', "--target=dev")
    times = ("--event-time-start=2026-01-01", "--event-time-end=2026-02-01")
    assert {verb: params.command_arguments(verb, entered) for verb in ("run", "seed", "test")} == {
        "run": (*both, "--full-refresh", *times),
        "seed": (*both, "--full-refresh"),
        "test": both,
    }


def test_a_profile_that_cannot_be_read_offers_any_target(tmp_path):
    assert params.profile_targets(tmp_path, tmp_path) == ()
    (tmp_path / "dbt_project.yml").write_text("profile: [")
    assert params.profile_targets(tmp_path, tmp_path) == ()
    assert params.run_params(())["target"].schema == {"type": ["null", "string"]}


def execute(context: dict | None = None, arguments: dict | None = None, **entered) -> DbtOperator:
    """Runs a task of the model `shop.a` as Airflow would, in a run with these params."""
    usual = {
        "task_id": "a",
        "argv": ("run", "--select", "a"),
        "node": "model.shop.a",
        "nodes": ["model.shop.a"],
        "connection": "warehouse",
        "outlets": [Asset("model.shop.a")],
    }
    task = DbtOperator(**(usual | (arguments or {})))
    task.execute({"params": EMPTY | entered, "ti": Instance()} | (context or {}))
    return task


@pytest.mark.parametrize("value", NASTY)
def test_what_is_entered_reaches_dbt_as_it_is_and_nothing_else_does(dbt, value):
    (dbt / "listed").write_text('Found 1 model\n{"unique_id": "model.shop.a"}\n')
    before = set(dbt.iterdir())
    execute(select=value, vars={"v": value}, target=value, event_time_start=value)
    assert (dbt / "ran").read_text().split("\0")[:-1] == [
        *("run", "--select", "a"),
        *(f"--vars={json.dumps({'v': value})}", f"--target={value}", f"--event-time-start={value}"),
    ]
    assert set(dbt.iterdir()) - before == {dbt / "ran"}


def test_a_task_that_is_not_selected_is_skipped_and_runs_nothing(dbt):
    (dbt / "listed").write_text('{"unique_id": "model.jaffle_shop.orders"}\n')
    with pytest.raises(AirflowSkipException, match="Not in this run's selection: --select=b"):
        execute(select="b")
    assert not (dbt / "ran").exists()


LS = "dbt ls --log-format text --output json --output-keys unique_id"


def test_a_selection_of_nothing_fails_with_what_dbt_says(dbt):
    (dbt / "listed").write_text("No nodes selected!\n")
    with pytest.raises(AirflowFailException) as error:
        execute(select="it's none")
    assert str(error.value) == (
        f"{LS} '--select=it'\"'\"'s none' selects nothing:\nNo nodes selected!\n"
    )
    assert not (dbt / "ran").exists()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Parsing Error\n  no such ref", AirflowFailException),
        ("[Errno 28] No space left on device", AirflowException),
    ],
)
def test_a_dbt_that_cannot_list_the_selection_says_why(dbt, message, kind):
    (dbt / "listed").write_text(message)
    (dbt / "code").write_text("2")
    with pytest.raises(AirflowException) as error:
        execute(select="a")
    assert (type(error.value), str(error.value)) == (
        kind,
        f"dbt could not list the selection (exit code 2): {LS} --select=a\n{message}",
    )


@pytest.mark.parametrize("text", ["state:modified+", "+result:error,tag:a", "a source_status:b"])
def test_a_comparison_with_an_earlier_run_is_refused(dbt, text):
    with pytest.raises(AirflowFailException, match="compares with the artifacts of an earlier run"):
        execute(exclude=text)


def test_a_selection_of_nothing_in_this_dag_fails_and_names_where_it_is(dbt):
    (dbt / "listed").write_text('{"unique_id": "model.shop.new"}\n')
    with pytest.raises(AirflowFailException) as error:
        execute(select="new")
    assert str(error.value).splitlines() == [
        "dbt_dag runs nothing of this selection: --select=new",
        "  No DAG runs model.shop.new. If a task should, the manifest is older: "
        f"{settings.load().manifest}. Build it with: make manifest",
    ]


def test_a_key_that_is_no_param_is_refused_with_what_was_meant(dbt, dag):
    context = {"dag_run": SimpleNamespace(conf={"selct": "a"}), "dag": dag}
    with pytest.raises(AirflowFailException) as error:
        execute(context)
    assert str(error.value) == (
        "This run was triggered with 'selct', which is no param of the DAG. "
        "Did you mean 'select'? It takes: event_time_end, event_time_start, exclude, "
        "full_refresh, select, target, vars"
    )
    assert not (dbt / "ran").exists()


def test_a_task_publishes_its_asset_if_all_that_it_stands_for_is_in_the_run(dbt):
    """A test whose model is not built in the run refreshes nothing; nor does another target."""
    assert [asset.name for asset in execute().outlets] == ["model.shop.a"]
    (dbt / "listed").write_text('{"unique_id": "model.shop.a"}\n')
    assert [asset.name for asset in execute(select="a").outlets] == ["model.shop.a"]
    assert execute(target="dev").outlets == []
    (dbt / "listed").write_text('{"unique_id": "test.shop.t.0"}\n')
    test = {"nodes": ["test.shop.t.0"]}
    assert execute(arguments=test, select="t").outlets == []
    (dbt / "listed").write_text('{"unique_id": "test.shop.t.0"}\n{"unique_id": "model.shop.a"}\n')
    assert [a.name for a in execute(arguments=test, select="a t").outlets] == ["model.shop.a"]


DAY = datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=1)))
INTERVAL = {"data_interval_start": DAY, "data_interval_end": DAY + timedelta(days=1)}
WINDOW = ["--event-time-start=2026-02-28T23:00:00", "--event-time-end=2026-03-01T23:00:00"]


@pytest.mark.parametrize(
    ("microbatch", "run_type", "interval", "entered", "added"),
    [
        (True, "scheduled", INTERVAL, {}, WINDOW),
        (True, "backfill", INTERVAL, {}, WINDOW),
        (False, "scheduled", INTERVAL, {}, []),
        (True, "manual", INTERVAL, {}, []),
        (True, "asset_triggered", {}, {}, []),
        (True, "scheduled", INTERVAL | {"data_interval_end": DAY}, {}, []),
        (True, "backfill", INTERVAL, {"full_refresh": True}, ["--full-refresh"]),
        (
            True,
            "backfill",
            INTERVAL,
            {"event_time_start": "2026-01-01", "event_time_end": "2026-01-02"},
            ["--event-time-start=2026-01-01", "--event-time-end=2026-01-02"],
        ),
    ],
)
def test_a_microbatch_model_is_built_for_the_data_interval_of_its_run_in_utc(
    dbt, microbatch, run_type, interval, entered, added
):
    context = {"dag_run": SimpleNamespace(run_type=DagRunType(run_type)), **interval}
    execute(context, {"microbatch": microbatch}, **entered)
    assert (dbt / "ran").read_text().split("\0")[:-1] == ["run", "--select", "a", *added]
