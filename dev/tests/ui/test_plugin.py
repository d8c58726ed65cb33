"""What plugins/dbt_docs.py adds to Airflow, as Airflow's own loader finds it.

Who may see it, and how it looks, is tested with a server and a browser: dev/tests/browser.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from airflow import plugins_manager

from include.engine import settings

IMPORTED = """
import runpy, sys
runpy.run_path(sys.argv[1])
print(sorted({"fastapi", "markdown_it", "include.engine.ui.app"} & sys.modules.keys()))
"""


@pytest.fixture(scope="module")
def plugin() -> dict:
    """The plugin, as Airflow's REST API tells of it."""
    from airflow import settings as airflow_settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(airflow_settings, "PLUGINS_FOLDER", str(settings.ROOT / "plugins"))
        plugins_manager._get_plugins.cache_clear()
        plugins_manager._get_ui_plugins.cache_clear()
        assert plugins_manager.get_import_errors() == {}
        return next(one for one in plugins_manager.get_plugin_info() if one["name"] == "dbt_docs")


def test_it_adds_an_entry_to_the_navigation_and_a_tab_to_dags_and_tasks(plugin):
    """No address starts with a slash: each is below the base path that Airflow is served under."""
    assert {one["destination"]: one["href"] for one in plugin["external_views"]} == {
        "nav": "dbt/docs/",
        "dag": "dbt/dags/{DAG_ID}",
        "task": "dbt/dags/{DAG_ID}/tasks/{TASK_ID}",
        "task_instance": "dbt/dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}",
    }
    assert [one["url_prefix"] for one in plugin["fastapi_apps"]] == ["/dbt"]


def test_a_task_process_does_not_import_the_pages():
    """Airflow imports plugins wherever a task's templates are rendered."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, str(settings.ROOT / "plugins" / "dbt_docs.py")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_pages_are_found_beside_the_plugin_without_a_pythonpath(tmp_path):
    build = "import runpy, sys; print(runpy.run_path(sys.argv[1])['app']().title)"
    done = subprocess.run(
        [sys.executable, "-c", build, str(settings.ROOT / "plugins" / "dbt_docs.py")],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "dbt"


def test_the_pages_can_be_built_of_what_airflow_brings():
    """What is asked for is in the path, where permissions are asked for: a query says nothing."""
    from include.engine.ui.app import create

    assert {route.path: route.dependant.query_params for route in create().routes} == {
        "/docs/": [],
        "/docs/site": [],
        "/dags/{dag_id}": [],
        "/dags/{dag_id}/tasks/{task_id}": [],
        "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}": [],
    }
