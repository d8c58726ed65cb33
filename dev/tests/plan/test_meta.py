"""What dbt's YAML says of Airflow's tasks."""

from __future__ import annotations

import pytest

from dev.tests.manifest.test_records import by_id, member, raw
from include.engine.manifest.records import ManifestError, parse_manifest
from include.engine.plan import meta
from include.engine.plan.records import Options
from include.engine.plan.tasks import plan_tasks


def tasks(airflow, **fields) -> dict[str, dict]:
    """The overrides of each task of a model with a test, whose `meta.airflow` is given."""
    model = member("model.shop.a", config={"meta": {"airflow": airflow}}, **fields)
    test = member("test.shop.t.0", depends_on={"nodes": ["model.shop.a"]})
    groups = {"group.shop.finance": {"name": "finance", "owner": {"name": "Ada"}}}
    found = parse_manifest(raw(nodes=by_id(model, test), groups=groups))
    return {task.id: task.overrides for task in plan_tasks(found, Options())}


def test_what_is_said_of_a_model_holds_for_its_run_and_its_test():
    airflow = {"retries": 4, "pool": "heavy", "priority_weight": 10, "queue": "large"}
    airflow["executor"] = "KubernetesExecutor"
    assert tasks(airflow) == {"model.shop.a": airflow, "test.shop.a": airflow}


def test_run_and_test_may_differ_and_durations_become_seconds():
    airflow = {
        "retries": 4,
        "run": {"execution_timeout": "PT1H30M", "retry_delay": 30},
        "test": {"retries": 0, "execution_timeout": "P1DT1S", "trigger_rule": "all_success"},
    }
    assert tasks(airflow) == {
        "model.shop.a": {"execution_timeout": 5400, "retries": 4, "retry_delay": 30},
        "test.shop.a": {"execution_timeout": 86401, "retries": 0, "trigger_rule": "all_success"},
    }


def test_the_owner_of_dbts_group_owns_the_tasks_unless_another_is_named():
    assert tasks({}, group="finance")["model.shop.a"] == {"owner": "Ada"}
    assert tasks({"owner": "Bob"}, group="finance")["model.shop.a"] == {"owner": "Bob"}


@pytest.mark.parametrize(
    ("airflow", "message"),
    [
        ("daily", "meta.airflow is 'daily'; it takes a mapping."),
        ({"retrys": 1}, "meta.airflow has no key 'retrys'. It takes: retries, retry_delay,"),
        ({"run": {"tests": 1}}, "meta.airflow has no key 'tests'. It takes: retries,"),
        ({"test": 3}, "meta.airflow.test is 3; it takes a mapping of the same keys."),
        (
            {"retries": -1},
            "meta.airflow.retries is -1; it takes a whole number, at most 2147483647.",
        ),
        (
            {"retries": True},
            "meta.airflow.retries is True; it takes a whole number, at most 2147483647.",
        ),
        ({"execution_timeout": "1 hour"}, "is '1 hour'; it takes seconds, or a duration such as"),
        ({"execution_timeout": "PT"}, "is 'PT'; it takes seconds, or a duration such as PT10M."),
        (
            {"pool_slots": 0},
            "meta.airflow.pool_slots is 0; it takes a whole number from 1 to 2147483647.",
        ),
        (
            {"pool": ""},
            "meta.airflow.pool is ''; it takes the name of a pool, at most 256 characters.",
        ),
        ({"trigger_rule": "sometimes"}, "is 'sometimes'; it takes one of all_done,"),
        ({"executor_config": []}, "meta.airflow.executor_config is []; it takes a mapping."),
    ],
)
def test_what_airflow_cannot_be_told_is_an_error_that_names_the_model_and_its_file(
    airflow, message
):
    with pytest.raises(ManifestError) as error:
        tasks(airflow)
    assert str(error.value).startswith("model.shop.a (models/a.sql): ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT10M", 600), ("P1D", 86400), ("P1DT6H", 108000), (90, 90), ("10M", None), (0, None)],
)
def test_durations_are_seconds_or_iso_8601(text, seconds):
    assert meta.parse_duration(text) == seconds
