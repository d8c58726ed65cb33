"""The catalog: column types and table sizes from the warehouse, for dbt's documentation.

A last task of `dbt_dag` runs `dbt docs generate` and writes the catalog to DBT_DOCS_CATALOG. The
API server, which shows it, may be another machine than the worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import ObjectStoragePath

from include.engine import settings
from include.engine.run import params
from include.engine.run.environment import dbt_environment, require_dbt
from include.engine.run.operator import DbtOperator
from include.engine.run.process import shell_command
from include.engine.run.try_folder import try_folder

TASK_ID = "docs_catalog"

ARGV = ("docs", "generate", "--no-compile")

DOC = """
Asks the warehouse for the columns and sizes of all tables, as `dbt docs generate` does, and writes
the answer to `DBT_DOCS_CATALOG`. dbt's documentation and the pages of tasks show it.
"""


class Catalog(DbtOperator):
    """Runs `dbt docs generate` and writes its catalog.json to `DBT_DOCS_CATALOG`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(task_id=TASK_ID, argv=ARGV, node="", nodes=(), doc_md=DOC, **kwargs)

    def execute(self, context: Any) -> None:
        config = settings.load()
        require_dbt(config.dbt_executable)
        with try_folder() as folder:
            self._environment = dbt_environment(config, self.connection, folder)
            if added := params.shared_arguments({}):  # the page shows what is usual, not one run
                self.bash_command = shell_command((*ARGV, *added))
            BashOperator.execute(self, context)
            catalog = (folder / "target" / "catalog.json").read_bytes()
        file = ObjectStoragePath(config.docs_catalog)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(catalog)
        self.log.info("The catalog is at %s", file)


def read_catalog(config: settings.Settings) -> Mapping[str, Any]:
    """The catalog that the task wrote last; {} if there is none."""
    if not config.docs_catalog:
        return {}
    try:
        return json.loads(ObjectStoragePath(config.docs_catalog).read_bytes())
    except FileNotFoundError:
        return {}
