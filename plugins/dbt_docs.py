"""dbt in Airflow's UI: its documentation site, and a page of every task and of each DAG. A run that
is marked as failed there leaves its results. And the scheduler gets ready what tasks need.

https://airflow.apache.org/docs/apache-airflow/stable/administration-and-deployment/plugins.html
Airflow imports this file in every task process, too: what the pages need (engine/ui) is imported
by the API server alone, at the first request.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from threading import Thread

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/dbt"


class Pages:
    """The ASGI app, built when it is first asked for something."""

    async def __call__(self, scope, receive, send) -> None:
        await app()(scope, receive, send)


@cache
def app():
    find_engine()
    from include.engine.ui.app import create

    return create()


class Listener:
    """What Airflow calls when a scheduler starts, and for each failed run."""

    @hookimpl
    def on_starting(self, component) -> None:
        """The LocalExecutor forks tasks from the scheduler. (This is called in each task, too.)"""
        if type(component).__name__ == "Job" and sys.argv[1:2] == ["scheduler"]:
            find_engine()
            from include.engine.dag.preload import preload

            preload()

    @hookimpl
    def on_dag_run_failed(self, dag_run, msg: str) -> None:
        """A run that ended by itself has written its results."""
        if "manually" in msg:
            run = dag_run.dag_id, dag_run.run_id
            Thread(target=write_results, args=run, daemon=True).start()


def write_results(dag_id: str, run_id: str) -> None:
    find_engine()
    from include.engine.ui import given_up

    given_up.write_results(dag_id, run_id)


def find_engine() -> None:
    """Beside this file is the engine of the same version, also without a PYTHONPATH."""
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)


def view(name: str, destination: str, route: str, path: str) -> dict[str, str | bool]:
    """A tab or an entry of the navigation. Without a leading slash, `path` is below the base path
    that Airflow is served under; Airflow fills in what is in braces.
    """
    href = f"{PREFIX.removeprefix('/')}/{path}"
    return {"name": name, "destination": destination, "url_route": route, "href": href}


class DbtDocs(AirflowPlugin):
    name = "dbt_docs"
    listeners = [Listener()]  # noqa: RUF012
    fastapi_apps = [{"name": "dbt", "url_prefix": PREFIX, "app": Pages()}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        view("dbt docs", "nav", "dbt-docs", "docs/") | {"nav_top_level": True},
        view("dbt", "dag", "dbt", "dags/{DAG_ID}"),
        view("dbt", "task", "dbt-task", "dags/{DAG_ID}/tasks/{TASK_ID}"),
        view(
            "dbt",
            "task_instance",
            "dbt-task-instance",
            "dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}",
        ),
    ]
