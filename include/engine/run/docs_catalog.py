"""The catalog: column types and table sizes from the warehouse, for dbt's documentation.

A last task of `dbt_dag` runs `dbt docs generate` and writes the catalog to DBT_DOCS_CATALOG. The
API server, which shows it, may be another machine than the worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, ObjectStoragePath, get_parsing_context

from include.engine import settings
from include.engine.plan.records import BASE, END
from include.engine.run.environment import dbt_environment, require_dbt
from include.engine.run.operator import DbtOperator
from include.engine.run.project_hooks import Hooks

TASK_ID = "docs_catalog"

ARGV = ("docs", "generate", "--no-compile")

DOC = """
Asks the warehouse for the columns and sizes of all tables, as `dbt docs generate` does, and writes
the answer to `DBT_DOCS_CATALOG`. dbt's documentation and the pages of tasks show it.
"""


class Catalog(DbtOperator):
    """Runs `dbt docs generate` and writes its catalog.json to `DBT_DOCS_CATALOG`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(argv=ARGV, node="", nodes=(), doc_md=DOC, **kwargs)

    def execute(self, context: Any) -> None:
        config = settings.load()
        require_dbt(config.dbt_executable)
        with TemporaryDirectory(prefix="dbt-") as folder:
            self._environment = dbt_environment(config, self.connection, Path(folder))
            BashOperator.execute(self, context)
            catalog = Path(folder, "target", "catalog.json").read_bytes()
        file = ObjectStoragePath(config.docs_catalog)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(catalog)
        self.log.info("The catalog is at %s", file)


def add_catalog_task(dag: DAG, config: settings.Settings) -> None:
    """Adds the task, if it is wanted, after the leaves of the DAG and before on-run-end hooks.

    It has the DAG's trigger rule: it does not run after a failure, and so does not hide it.
    """
    wanted = dag.dag_id == BASE and config.docs_catalog
    if not wanted or get_parsing_context().task_id not in (None, TASK_ID):
        return
    ends = {t.task_id: t for t in dag.tasks if isinstance(t, Hooks) and t.kind == END}
    leaves = [
        task
        for task in dag.tasks
        if task.task_id not in ends and task.downstream_task_ids <= ends.keys()
    ]
    last = Catalog(task_id=TASK_ID, connection=config.connection, dag=dag)
    for before, after in (*((leaf, last) for leaf in leaves), *((last, e) for e in ends.values())):
        before.downstream_task_ids.add(after.task_id)
        after.upstream_task_ids.add(before.task_id)


def read_catalog(config: settings.Settings) -> Mapping[str, Any]:
    """The catalog that the task wrote last; {} if there is none."""
    if not config.docs_catalog:
        return {}
    try:
        return json.loads(ObjectStoragePath(config.docs_catalog).read_bytes())
    except FileNotFoundError:
        return {}
