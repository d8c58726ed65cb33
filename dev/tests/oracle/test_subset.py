"""A subset of the DAG is what dbt resolves when the manifest is built, with syntax of dbt's own."""

from __future__ import annotations

import pytest

from include.engine import settings
from include.engine.manifest import build, records
from include.engine.plan.records import Options
from include.engine.plan.tasks import plan_tasks

FILES = {
    "dbt_project.yml": "{name: shop, profile: shop, models: {shop: {marts: {+tags: [nightly]}}}}",
    "profiles.yml": "{shop: {target: dev, outputs: {dev: {type: postgres, host: none, port: 1,"
    " user: none, password: none, dbname: none, schema: none}}}}",
    "models/staging/raw.sql": "select 1 as id",
    "models/staging/clean.sql": "select id from {{ ref('raw') }}",
    "models/marts/sales.sql": "select id from {{ ref('clean') }}",
    "models/marts/report.sql": "select id from {{ ref('sales') }}",
    "models/other.sql": "select id from {{ ref('clean') }}",
    "selectors.yml": "selectors: [{name: nightly_marts, definition: {intersection: ["
    "{method: tag, value: nightly}, {method: path, value: models/marts, exclude: [report]}]}}]",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> settings.Settings:
    """The settings of a project with a manifest of all of it, in a folder `before`."""
    project = tmp_path_factory.mktemp("shop")
    for name, text in FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    made = settings.load()._replace(
        project_dir=project,
        profiles_dir=project,
        packages=project / "packages",
        manifest=project / "before" / "manifest.json",
    )
    build.build(made)
    return made._replace(manifest=project / "now" / "manifest.json")


def subset(config: settings.Settings, **limits) -> dict[str, tuple[str, ...]]:
    """What each task waits for, in a DAG with these limits."""
    limited = config._replace(**limits)
    build.build(limited)
    found = plan_tasks(records.load_manifest(limited.manifest), Options())
    return {task.id: task.upstream for task in found}


def test_a_selector_of_selectors_yml_limits_the_dag(config):
    assert subset(config, selector="nightly_marts") == {"model.shop.sales": ()}


def test_the_graph_is_walked_by_dbt_and_edges_pass_through_what_is_left_out(config):
    assert subset(config, select="@raw,config.materialized:view", exclude="clean sales") == {
        "model.shop.raw": (),
        "model.shop.other": ("model.shop.raw",),
        "model.shop.report": ("model.shop.raw",),
    }


def test_state_is_compared_with_an_earlier_manifest(config):
    model = config.project_dir / "models/marts/sales.sql"
    model.write_text("select id, 2 as version from {{ ref('clean') }}")
    assert subset(
        config, select="state:modified+", select_state=str(config.project_dir / "before")
    ) == {
        "model.shop.sales": (),
        "model.shop.report": ("model.shop.sales",),
    }


def test_a_selection_of_nothing_is_an_error_and_leaves_the_last_manifest(config):
    before = config.manifest.read_bytes()
    with pytest.raises(build.BuildError, match="leave nothing of the project in"):
        subset(config, select="tag:none")
    assert config.manifest.read_bytes() == before
