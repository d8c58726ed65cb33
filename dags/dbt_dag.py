"""The DAG `dbt_dag`: every dbt model run and tested as an Airflow task of its own, and for models
with another schedule in dbt's YAML the DAGs `dbt_dag__<name>`.

dbt's manifest says what there is and what depends on what (engine/manifest, engine/plan);
this file says it in Airflow's words.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator, TaskGroup, get_parsing_context

from include.engine import settings
from include.engine.dag import timetables
from include.engine.manifest import find
from include.engine.plan import cache
from include.engine.plan.cache import TaskRef
from include.engine.plan.records import HOOKS, Dag, Task
from include.engine.run import params
from include.engine.run.operator import DbtOperator

log = logging.getLogger(__name__)

Folders = tuple[str, ...]
"""The folders of a dbt node, outermost first."""


@contextmanager
def without_collection() -> Iterator[None]:
    """What is made meanwhile is not searched for garbage.

    All operators of a large DAG would be, again and again, and there is none among them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@without_collection()
def build(config: settings.Settings) -> list[DAG]:
    """The DAGs of the manifest that `config` names.

    Raises ManifestError, which Airflow shows as an import error, if the manifest cannot be read.
    """
    # In a task process Airflow says which task it is: the others are not built.
    context = get_parsing_context()
    only = TaskRef(context.dag_id or "", context.task_id) if context.task_id else None
    path = find.find_manifest(config, may_be_old=only is not None)
    planned = plan_of(path, config, only)
    if only and config.manifest_url and not any(dag.tasks for dag in planned):
        planned = plan_of(find.find_manifest(config), config, only)  # a task of a newer manifest
    if only:
        return [make(dag, config) for dag in planned]
    # For those who look at a DAG: a task process makes no page, and reads no profiles.yml.
    from include.engine.dag import doc
    from include.engine.manifest import staleness

    changed = staleness.changed_files(path, config.project_dir)
    if changed:
        log.warning("The manifest at %s is stale: %s", path, staleness.notice(changed))
    tags = ("dbt", *((staleness.TAG,) if changed else ()))
    targets = params.profile_targets(config.project_dir, config.profiles_dir)
    return [
        make(dag, config, staleness.notice(changed) + doc.dag_doc(dag), tags, targets)
        for dag in planned
    ]


def plan_of(path: Path, config: settings.Settings, only: TaskRef | None) -> tuple[Dag, ...]:
    """The plan of the manifest at `path`, or of it the one task `only`."""
    return cache.load_plan(path, cache.plan_options(config), only)


def make(
    planned: Dag,
    config: settings.Settings,
    doc: str | None = None,
    tags: Sequence[str] = ("dbt",),
    targets: Sequence[str] = (),
) -> DAG:
    """One DAG with its tasks, its page `doc`, and `targets` to be chosen from in its form."""
    dag = DAG(
        dag_id=planned.id,
        description="Every dbt model run and tested as its own task",
        doc_md=doc,
        schedule=timetables.airflow_schedule(planned),
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        tags=tags,
        default_args={
            "owner": "dbt",
            # A task is skipped where a run was triggered for others: what is downstream goes on.
            "trigger_rule": "none_failed",
            # The runs of a backfill go side by side: never two that build the same model.
            "max_active_tis_per_dag": 1,
            "retries": config.retries,
            "retry_delay": timedelta(seconds=config.retry_delay),
            "retry_exponential_backoff": 2,
            "max_retry_delay": timedelta(hours=1),
            **callbacks(config),
        },
    )
    add_tasks(dag, planned, config)
    add_last(dag, config)
    # Each task would get a copy of what its DAG has before, to be checked and serialized with it.
    dag.params.update(params.run_params(targets))
    return dag


def callbacks(config: settings.Settings) -> dict[str, Any]:
    """What tasks call at their end, as arguments of an operator; {} while nobody is to be told.

    Raises SettingsError if there is no such notifier.
    """
    if not config.alert_notifier:
        return {}
    from include.engine.run import alerts  # a task process of which nobody is told goes without

    return alerts.callbacks(config)


def add_tasks(dag: DAG, planned: Dag, config: settings.Settings) -> None:
    """Adds an operator for each task, and the edges between them."""
    groups: dict[Folders, TaskGroup] = {(): dag.task_group}
    # One that is given its DAG copies the DAG's defaults and params, once for each of its classes.
    operators = {
        task.id: operator(
            task,
            planned,
            config,
            task_group=task_group(task.group, groups, dag),
            **dag.default_args,
        )
        for task in planned.tasks
    }
    dag.add_tasks(operators.values())
    # Airflow's `>>` looks at every task of the DAG for each edge; these sets are what it fills.
    for task in planned.tasks:
        for upstream in task.upstream:
            if upstream in operators:
                operators[task.id].upstream_task_ids.add(upstream)
                operators[upstream].downstream_task_ids.add(task.id)


def add_last(dag: DAG, config: settings.Settings) -> None:
    """Adds the tasks that come after those of the plan, unless one of the plan's is asked for."""
    if dag.tasks and get_parsing_context().task_id:
        return
    from include.engine.run import docs_catalog, summary  # the process of a model goes without

    docs_catalog.add_catalog_task(dag, config)
    summary.add_summary_task(dag)


def operator(task: Task, planned: Dag, config: settings.Settings, **common: Any) -> BaseOperator:
    """The operator of a task, with arguments that others have in `common`.

    One without a command only publishes: after all went well.
    """
    # Pools limit what is asked of the warehouse: one without a command asks nothing.
    asks = task.argv or task.kind in HOOKS
    pool = {"pool": config.pool} if config.pool else {}
    own = {key: v for key, v in task.overrides.items() if key not in ("pool", "pool_slots")}
    arguments = {
        **common,
        **in_airflow(pool | task.overrides if asks else {"trigger_rule": "all_success"} | own),
        "task_id": task.id,
        "inlets": timetables.map_assets(task.inlets),
        "outlets": timetables.map_assets(task.outlets),
        "doc_md": task.doc or None,
    }
    if task.kind in HOOKS:
        from include.engine.run.project_hooks import Hooks  # the process of a model goes without

        return Hooks(kind=task.kind, connection=config.connection, **arguments)
    if not task.argv:
        return EmptyOperator(**arguments)
    return DbtOperator(
        argv=task.argv,
        node=task.node,
        nodes=task.nodes,
        microbatch=task.microbatch,
        hooks=not planned.hooks,
        connection=config.connection,
        **arguments,
    )


def in_airflow(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What dbt's YAML and the settings say of a task, in Airflow's types."""
    return {
        key: timedelta(seconds=value) if key in ("retry_delay", "execution_timeout") else value
        for key, value in overrides.items()
    }


def task_group(path: Folders, groups: dict[Folders, TaskGroup], dag: DAG) -> TaskGroup:
    """The task group of a dbt folder, inside those around it; task ids stay as they are."""
    if path not in groups:
        groups[path] = TaskGroup(
            group_id="__".join(path).replace(".", "_"),
            group_display_name=path[-1],
            prefix_group_id=False,
            parent_group=task_group(path[:-1], groups, dag),
            dag=dag,
        )
    return groups[path]


for made in build(settings.load()):
    globals()[made.dag_id] = made
