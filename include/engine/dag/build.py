"""The plan as Airflow's DAGs: what `dags/dbt_dag.py` calls."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from airflow.configuration import conf
from airflow.sdk import DAG, get_parsing_context

from include.engine import settings
from include.engine.dag import operators, timetables
from include.engine.manifest import find
from include.engine.plan import cache
from include.engine.plan.cache import TaskRef
from include.engine.plan.records import DAILY, Dag
from include.engine.run import executors, params

log = logging.getLogger(__name__)


class DbtDag(NamedTuple):
    """What Airflow's DAG is given for one schedule of the dbt project.

    `schedule` is of Airflow's types; `doc_md` is the DAG's page, None in the process of a task;
    `tags` say that the manifest is stale, or that results are not shared; `targets` are the outputs
    of the project's profile.
    """

    dag_id: str
    schedule: Any
    doc_md: str | None
    tags: tuple[str, ...]
    targets: tuple[str, ...]
    plan: Dag

    @property
    def is_paused_upon_creation(self) -> bool | None:
        """False where only assets of this project's other DAGs start the DAG: it then runs as they
        do. None for any other: whether it begins paused is a setting of Airflow.
        """
        builders = dict(self.plan.reads)
        awaited = [builders.get(asset.unique_id) for asset in self.plan.awaits]
        by_them_alone = awaited and all(awaited) and not self.plan.request.schedule.time
        return False if by_them_alone else None

    def add_tasks(self, dag: DAG) -> operators.Tasks:
        """Adds an operator for each task of the plan to `dag`, and the params of a run."""
        config = settings.load()
        with without_collection():
            ends = operators.add_plan(dag, self.plan, config)
        # A task copies the params that its DAG has before it: they come last.
        dag.params.update(params.run_params(self.targets))
        return ends


def dbt_dags(schedule: str | None = DAILY) -> list[DbtDag]:
    """One record for each DAG of the dbt project, `dbt_dag` first.

    `schedule` is that of `dbt_dag`: cron in UTC, a preset such as `@daily`, a duration such as
    `PT6H`, `assets`, `any asset`, a time and assets as in `@daily or assets`; `none` or None:
    it runs when it is triggered.

    Raises ManifestError, which Airflow shows as an import error, if the manifest cannot be read.
    """
    config = settings.load()
    # In a task process Airflow says which task it is: the others are not built.
    context = get_parsing_context()
    only = TaskRef(context.dag_id or "", context.task_id) if context.task_id else None
    options = cache.plan_options(config, schedule or "none")
    path = find.find_manifest(config, may_be_old=only is not None)
    with without_collection():
        plan = cache.load_plan(path, options, only)
        if only and config.manifest_url and not any(dag.tasks for dag in plan):
            # A task of a newer manifest.
            plan = cache.load_plan(find.find_manifest(config), options, only)
    if only:
        return [DbtDag(dag.id, timetables.airflow_schedule(dag), None, (), (), dag) for dag in plan]
    return described(plan, path, config)


def described(plan: Iterable[Dag], path: Path, config: settings.Settings) -> list[DbtDag]:
    """The DAGs with what a person sees of them; a task process makes no page."""
    from include.engine.dag.doc import dag_doc
    from include.engine.manifest import staleness

    changed = staleness.changed_files(path, config.project_dir)
    if changed:
        log.warning("The manifest at %s is stale: %s", path, staleness.notice(changed))
    unshared = executors.unshared_results(config, conf.get("core", "executor"))
    if unshared:
        log.warning("%s", unshared.strip())
    tags = (*((staleness.TAG,) if changed else ()), *((executors.TAG,) if unshared else ()))
    targets = params.profile_targets(config.project_dir, config.profiles_dir)
    notice = staleness.notice(changed) + unshared
    return [
        DbtDag(
            dag.id,
            timetables.airflow_schedule(dag),
            notice + dag_doc(dag),
            tags,
            targets,
            dag,
        )
        for dag in plan
    ]


@contextmanager
def without_collection() -> Iterator[None]:
    """Python's garbage collector is off meanwhile: it would search all operators of a large DAG
    again and again, and none of them is garbage.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
