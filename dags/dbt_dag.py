"""The DAG `dbt_dag`: every dbt model run and tested as an Airflow task of its own.

dbt's manifest says what there is and what depends on what (include/manifest.py, include/plan.py);
this file says it in Airflow's words.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TaskGroup, get_parsing_context

from include import locate, plan, planfile, settings, staleness, trigger
from include.dbt_operator import DbtOperator

log = logging.getLogger(__name__)

Folders = tuple[str, ...]
"""The folders of a dbt node, outermost first."""

DOC = """
Every dbt model as a task of its own, wired as dbt's own graph: {counts}.

A task `model.<package>.<name>` runs a model, `test.<package>.<name>` tests it. What depends on a
model waits for both. To run a failed model again once it is mended, clear its task: it and what is
downstream of it run, nothing else.
"""


def build(config: settings.Settings) -> DAG:
    """The DAG of the manifest that `config` names.

    Raises ManifestError, which Airflow shows as an import error, if the manifest cannot be read.
    """
    # In a task process Airflow says which task it is: the others are not built.
    only = get_parsing_context().task_id
    path = locate.manifest(config, may_be_old=only is not None)
    planned = tasks_of(path, config, only)
    if only and config.manifest_url and not planned:
        planned = tasks_of(locate.manifest(config), config, only)  # a task of a newer manifest
    changed = () if only else staleness.changed(path, config.project_dir)
    if changed:
        log.warning("The manifest at %s is stale: %s", path, staleness.notice(changed))
    dag = DAG(
        dag_id="dbt_dag",
        description="Every dbt model run and tested as its own task",
        doc_md=staleness.notice(changed) + DOC.format(counts=counts(planned)),
        schedule="@daily",
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        max_active_runs=1,
        # Only a form offers targets: a task process reads no profiles.yml.
        params=trigger.form(
            () if only else trigger.targets(config.project_dir, config.profiles_dir)
        ),
        tags=["dbt", *([staleness.TAG] if changed else [])],
        default_args={
            "owner": "dbt",
            # A task is skipped where a run was triggered for others: what is downstream goes on.
            "trigger_rule": "none_failed",
            "retries": config.retries,
            "retry_delay": timedelta(seconds=config.retry_delay),
            "retry_exponential_backoff": 2,
            "max_retry_delay": timedelta(hours=1),
        },
    )
    add_tasks(dag, planned, config)
    return dag


def tasks_of(path: Path, config: settings.Settings, only: str | None) -> tuple[plan.Task, ...]:
    """The plan of the manifest at `path`, or of it the one task `only`."""
    options = plan.Options(
        gate_tests=config.gate_tests,
        unit_tests=config.unit_tests,
        source_freshness=config.source_freshness,
        saved_queries=config.saved_queries,
    )
    return planfile.tasks(path, options, only)


def add_tasks(dag: DAG, planned: tuple[plan.Task, ...], config: settings.Settings) -> None:
    """Adds an operator for each task, and the edges between them."""
    groups: dict[Folders, TaskGroup] = {(): dag.task_group}
    operators = {
        task.id: DbtOperator(
            task_id=task.id,
            argv=task.argv,
            nodes=task.nodes,
            **operator_arguments(task.overrides, config),
            connection=config.connection,
            dag=dag,
            task_group=task_group(task.group, groups, dag),
        )
        for task in planned
    }
    # Airflow's `>>` looks at every task of the DAG for each edge; these sets are what it fills.
    for task in planned:
        for upstream in task.upstream:
            if upstream in operators:
                operators[task.id].upstream_task_ids.add(upstream)
                operators[upstream].downstream_task_ids.add(task.id)


def operator_arguments(overrides: Mapping[str, Any], config: settings.Settings) -> dict[str, Any]:
    """What dbt's YAML and the settings say of a task, in Airflow's types."""
    pool = {"pool": config.pool} if config.pool else {}
    return pool | {
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


def counts(planned: tuple[plan.Task, ...]) -> str:
    """How many tasks there are of each kind, in words."""
    found = Counter(task.kind for task in planned)
    return ", ".join(f"{number} {kind} tasks" for kind, number in sorted(found.items()))


dag = build(settings.load())
