"""The plan that is kept beside the manifest."""

import json

import pytest

from include import manifest, plan, planfile
from tests.unit.test_manifest import by_id, member, raw

OPTIONS = plan.Options()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "manifest.json"
    nodes = by_id(
        member("model.shop.a"),
        member("model.shop.b", depends_on={"nodes": ["model.shop.a"]}),
        member("test.shop.t.0", depends_on={"nodes": ["model.shop.a"]}),
    )
    path.write_text(json.dumps(raw(nodes=nodes)))
    planfile.write(path, OPTIONS, plan.tasks(manifest.load(path), OPTIONS))
    return path


def test_what_is_read_is_the_plan_of_the_manifest(path):
    assert planfile.read(path, OPTIONS) == plan.tasks(manifest.load(path), OPTIONS)


def test_a_single_task_is_read_alone(path):
    (expected,) = [t for t in plan.tasks(manifest.load(path), OPTIONS) if t.id == "test.shop.a"]
    assert planfile.read(path, OPTIONS, only="test.shop.a") == (expected,)
    assert planfile.read(path, OPTIONS, only="model.shop.a")[0].nodes == ("model.shop.a",)
    assert planfile.read(path, OPTIONS, only="model.shop") == ()


def test_the_plan_of_another_manifest_is_not_used(path):
    changed = json.loads(path.read_text()) | {"metadata": {"invocation_id": "other"}}
    path.write_text(json.dumps(changed))
    assert planfile.read(path, OPTIONS) is None


def test_the_plan_of_a_longer_manifest_is_not_used(path):
    path.write_text(path.read_text() + " " * 5000)
    assert planfile.read(path, OPTIONS) is None


def test_the_plan_made_with_other_options_is_not_used(path):
    assert planfile.read(path, plan.Options(gate_tests=False)) is None


def test_the_first_who_asks_keeps_the_plan_for_the_next(path):
    expected = plan.tasks(manifest.load(path), OPTIONS)
    kept = path.with_name(planfile.NAME)
    kept.unlink()
    assert planfile.tasks(path, OPTIONS) == expected
    assert planfile.read(path, OPTIONS) == expected
    assert planfile.tasks(path, OPTIONS, only="model.shop.b") == (expected[2],)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, kept.name]


def test_a_folder_that_cannot_be_written_costs_the_plan_and_nothing_else(path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(planfile, "write", refuse)
    options = plan.Options(gate_tests=False)
    assert planfile.tasks(path, options) == plan.tasks(manifest.load(path), options)


def test_without_a_plan_or_without_a_manifest_there_is_none(path):
    path.with_name(planfile.NAME).unlink()
    assert planfile.read(path, OPTIONS) is None
    path.unlink()
    assert planfile.read(path, OPTIONS) is None
