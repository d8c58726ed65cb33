"""The plan that is kept beside the manifest."""

import json
import subprocess
import sys

import pytest

from dev.tests.manifest.test_records import by_id, member, raw
from include.engine import settings
from include.engine.manifest import records
from include.engine.plan import cache
from include.engine.plan.cache import TaskRef
from include.engine.plan.dags import plan_dags
from include.engine.plan.records import Dag, Options

OPTIONS = Options()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "manifest.json"
    nodes = by_id(
        member("model.shop.a"),
        member(
            "model.shop.b",
            depends_on={"nodes": ["model.shop.a"]},
            config={"meta": {"airflow": {"schedule": "@weekly", "retries": 4}}},
        ),
        member("test.shop.t.0", depends_on={"nodes": ["model.shop.a"]}),
        member("operation.shop.shop-on-run-start-0"),
    )
    path.write_text(json.dumps(raw(nodes=nodes)))
    cache.write_plan(path, OPTIONS, planned(path))
    return path


def planned(path, options=OPTIONS) -> tuple[Dag, ...]:
    return plan_dags(records.load_manifest(path), options)


def alone(dag_id: str, task_id: str, dags: tuple[Dag, ...]) -> tuple[Dag, ...]:
    (dag,) = [dag for dag in dags if dag.id == dag_id]
    return (dag._replace(tasks=tuple(task for task in dag.tasks if task.id == task_id)),)


def test_what_is_read_is_the_plan_of_the_manifest(path):
    assert cache.read_plan(path, OPTIONS) == planned(path)
    assert [dag.id for dag in planned(path)] == ["dbt_dag", "dbt_dag__weekly"]


def test_a_single_task_is_read_alone(path):
    for dag_id, task_id in (
        ("dbt_dag", "test.shop.a"),
        ("dbt_dag__weekly", "model.shop.b"),
        ("dbt_dag__weekly", "on_run_start"),
    ):
        expected = alone(dag_id, task_id, planned(path))
        assert [task.id for task in expected[0].tasks] == [task_id]
        assert cache.read_plan(path, OPTIONS, TaskRef(dag_id, task_id)) == expected
    for dag_id, task_id in (("dbt_dag", "model.shop.b"), ("dbt_dag__weekly", "model.shop")):
        assert cache.read_plan(path, OPTIONS, TaskRef(dag_id, task_id)) == alone(
            dag_id, task_id, planned(path)
        )
    assert cache.read_plan(path, OPTIONS, TaskRef("dbt_dag__gone", "model.shop.a")) == ()


def test_the_plan_of_another_manifest_is_not_used(path):
    changed = json.loads(path.read_text()) | {"metadata": {"invocation_id": "other"}}
    path.write_text(json.dumps(changed))
    assert cache.read_plan(path, OPTIONS) is None


def test_the_plan_of_a_longer_manifest_is_not_used(path):
    path.write_text(path.read_text() + " " * 5000)
    assert cache.read_plan(path, OPTIONS) is None


def test_all_code_that_makes_a_plan_tells_it_from_that_of_another_version():
    imported = (
        "import sys, include.engine.plan.cache, include.engine.plan.dags; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", imported],
        cwd=settings.ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    modules = {name for name in done.stdout.split() if name.startswith("include.")}
    # Where the manifest is, and what is asked for, is told by the file's first line.
    packages = {name for name in modules if (settings.ROOT / name.replace(".", "/")).is_dir()}
    made_by = {
        ".".join(file.relative_to(settings.ROOT).with_suffix("").parts) for file in cache.MADE_BY
    }
    assert made_by - {"include.engine.plan.__init__"} == modules - packages - {
        "include.engine.manifest.find",
        "include.engine.settings",
    }


def test_the_plan_of_another_version_of_the_code_is_not_used(path, monkeypatch):
    monkeypatch.setattr(cache, "_CODE", b"1")
    cache.write_plan(path, OPTIONS, planned(path))
    assert cache.read_plan(path, OPTIONS) == planned(path)
    monkeypatch.setattr(cache, "_CODE", b"2")
    assert cache.read_plan(path, OPTIONS) is None


def test_the_plan_made_with_other_options_is_not_used(path):
    assert cache.read_plan(path, Options(gate_tests=False)) is None


def test_the_first_who_asks_keeps_the_plan_for_the_next(path):
    expected = planned(path)
    kept = path.with_name(cache.NAME)
    only = TaskRef("dbt_dag__weekly", "model.shop.b")
    kept.unlink()
    assert cache.load_plan(path, OPTIONS, only) == alone(*only, expected)
    assert cache.read_plan(path, OPTIONS) == expected
    assert cache.load_plan(path, OPTIONS) == expected
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, kept.name]


def test_a_folder_that_cannot_be_written_costs_the_plan_and_nothing_else(path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(cache, "write_plan", refuse)
    options = Options(gate_tests=False)
    assert cache.load_plan(path, options) == planned(path, options)


def test_without_a_plan_or_without_a_manifest_there_is_none(path):
    path.with_name(cache.NAME).unlink()
    assert cache.read_plan(path, OPTIONS) is None
    path.unlink()
    assert cache.read_plan(path, OPTIONS) is None
