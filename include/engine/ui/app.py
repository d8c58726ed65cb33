"""The app that plugins/dbt_docs.py mounts: dbt's documentation site, pages of tasks and of DAGs.

Airflow puts no login before the apps of plugins. So each address asks Airflow's auth manager if the
user may read the code of the DAGs that the page describes. A policy in each answer forbids the
browser to load anything from another host.
"""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import select

from include.engine import settings
from include.engine.manifest import find, records, staleness
from include.engine.plan import cache
from include.engine.plan.dags import Dag
from include.engine.plan.tasks import Task
from include.engine.run import docs_catalog, params, rerun
from include.engine.run.results import EVENT_TIMES
from include.engine.ui import pages, render

NO_CATALOG = {"metadata": {}, "nodes": {}, "sources": {}, "errors": None}


def manifest_path() -> Path:
    """The manifest that the DAGs are made from. Raises ManifestError if there is none."""
    path = find.find_manifest(settings.load())
    if not path.exists():
        raise records.ManifestError(f"No manifest at {path}. {records.MEND}")
    return path


ManifestPath = Annotated[Path, Depends(manifest_path)]


def create() -> FastAPI:
    """The app. This list has each address with its permissions."""
    app = FastAPI(title="dbt", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(records.ManifestError, unreadable)
    code = Depends(requires_access_dag("GET", DagAccessEntity.CODE))
    run = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
    project = Depends(requires_access_project)
    for path, answer, permissions in (
        ("/docs/", docs_page, [project]),
        ("/docs/site", docs_site, [project]),
        ("/dags/{dag_id}", dag_page, [code]),
        ("/dags/{dag_id}/tasks/{task_id}", task_page, [code]),
        ("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", task_page, [code, run]),
    ):
        app.get(path, dependencies=permissions)(answer)
    return app


def requires_access_project(user: GetUserDep, session: SessionDep, path: ManifestPath) -> None:
    """Raises a 403 unless the user may read the code of all DAGs of the dbt project."""
    ours = [dag.id for dag in planned_dags(path)] or [None]
    teams = DagModel.get_dag_id_to_team_name_mapping(ours, session=session)
    requests = [
        {
            "method": "GET",
            "access_entity": DagAccessEntity.CODE,
            "details": DagDetails(id=dag_id, team_name=teams.get(dag_id)),
        }
        for dag_id in ours
    ]
    if not get_auth_manager().batch_is_authorized_dag(requests, user=user):
        raise HTTPException(403, "Forbidden")


def docs_page() -> Response:
    """The page around dbt's site, light or dark as Airflow is."""
    return HTMLResponse(render.page("docs.html"), headers=render.DOCS)


def docs_site(path: ManifestPath) -> Response:
    """dbt's own site, with the manifest and the catalog in it; no address names a file."""
    index = beside(path, "index.html")
    if index is None:
        raise records.ManifestError(f"No documentation site beside {path}. {records.MEND}")
    catalog = json.dumps(docs_catalog.read_catalog(settings.load()) or NO_CATALOG)
    try:
        html, headers = render.docs_site(
            index.read_text(encoding="utf-8"), path.read_text(encoding="utf-8"), catalog
        )
    except ValueError:
        raise records.ManifestError(
            f"The documentation site {index} has no place for data. {records.MEND}"
        ) from None
    return HTMLResponse(html, headers=headers)


def dag_page(dag_id: str, path: ManifestPath, request: Request, session: SessionDep) -> Response:
    """The dbt project that this DAG was made from, and the age of its manifest."""
    dag = next((dag for dag in planned_dags(path) if dag.id == dag_id), None)
    if dag is None:
        raise HTTPException(404, f"{dag_id} has no dbt task.")
    config, known = settings.load(), session.get(DagModel, dag_id)
    others = {other.id: len(other.tasks) for other in planned_dags(path) if other.id != dag_id}
    paused = select(DagModel.dag_id).where(DagModel.dag_id.in_(others), DagModel.is_paused)
    return page(
        request,
        "dag.html",
        tasks=len(dag.tasks),
        schedule=known and (known.timetable_description or known.timetable_summary),
        paused=[(other, others[other]) for other in sorted(session.scalars(paused))],
        stale=staleness.notice(staleness.changed_files(path, config.project_dir)),
        manifest=path,
        age=pages.age(time.time() - path.stat().st_mtime),
        runs=config.runs_folder,
        kept=config.runs_kept,
        catalog=docs_catalog.read_catalog(config) and config.docs_catalog,
        page=pages.dag_page(records.read_manifest(path)),
    )


def task_page(
    dag_id: str, task_id: str, path: ManifestPath, request: Request, session: SessionDep
) -> Response:
    """What dbt knows of the task; for a task of a run, the command has the params of the run."""
    # No argument of this function: FastAPI would also take it from the query, without a permission.
    run_id = request.path_params.get("run_id")
    tasks = [
        task for dag in planned_dags(path, cache.TaskRef(dag_id, task_id)) for task in dag.tasks
    ]
    if not tasks:
        raise HTTPException(404, f"{task_id} of {dag_id} is no dbt task.")
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return page(
        request,
        "task.html",
        command=command(tasks[0], run, session),
        page=pages.task_page(
            records.read_manifest(path), docs_catalog.read_catalog(settings.load()), tasks[0]
        ),
    )


def planned_dags(path: Path, only: cache.TaskRef | None = None) -> tuple[Dag, ...]:
    """The plan that the DAGs are made from, or only the task `only` of it."""
    return cache.load_plan(path, cache.plan_options(settings.load()), only)


def beside(path: Path, name: str) -> Path | None:
    """The newest file of that name in the folders that may hold the manifest."""
    config = settings.load()
    manifests = (path, config.manifest, *config.more_manifests)
    newest = find.newest_file([manifest.with_name(name) for manifest in manifests])
    return newest if newest.exists() else None


def command(task: Task, run: DagRun | None, session: SessionDep) -> str:
    """The line for a shell that repeats the task with the params of that run; "" without dbt."""
    if not task.argv:
        return ""
    conf = (run and run.conf) or {}
    added = event_times(task, run, session) if run and task.microbatch else ()
    argv = (*task.argv, *params.command_arguments(task.argv[0], conf), *added)
    return rerun.shell_line(argv, settings.load().by_make)


def event_times(task: Task, run: DagRun, session: SessionDep) -> tuple[str, ...]:
    """dbt's arguments for what the run builds of a microbatch model: a scheduled run says so."""
    pushed = session.scalar(
        select(XComModel).where(
            XComModel.dag_id == run.dag_id,
            XComModel.run_id == run.run_id,
            XComModel.task_id == task.id,
            XComModel.key == EVENT_TIMES,
        )
    )
    if pushed:
        return tuple(shlex.split(XComModel.deserialize_value(pushed)))
    interval = run.data_interval_start, run.data_interval_end
    return params.batch_arguments(run.conf or {}, run.run_type, *interval)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    root = f"{request.scope['root_path']}/"
    return HTMLResponse(render.page(template, root=root, **values), status, headers=render.PAGE)


def refused(request: Request, error: HTTPException) -> Response:
    """A redirect to Airflow's login for a browser without a login, else a page with the reason."""
    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        login = f"{request.scope.get('app_root_path', '')}/api/v2/auth/login"
        return RedirectResponse(f"{login}?{urlencode({'next': request.url.path})}")
    return page(request, "message.html", error.status_code, message=str(error.detail))


def unreadable(request: Request, error: records.ManifestError) -> Response:
    return page(request, "message.html", 404, message=str(error))
