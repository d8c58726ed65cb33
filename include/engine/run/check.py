"""The first task of a DAG run, where no hooks come first: does dbt work, and the warehouse?

Wrong for all tasks alike are a missing connection, packages or target, a project that does not
parse, a wrong login or database, and what a run was triggered with. That fails here once, before
the others start, and alerts once: in Airflow a task that is upstream_failed calls no callback.
"""

from __future__ import annotations

from typing import Any

from include.engine import settings
from include.engine.plan import cache
from include.engine.run.operator import DbtOperator

DOC = """
Lets dbt read the project and ask the warehouse for the number 1. What would fail all tasks of the
run fails here, once. Fix it and clear this task: all others run then.
"""


class Check(DbtOperator):
    """Runs dbt without a node of the project."""

    HAS_RESULTS = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "node": "", "nodes": (), "doc_md": DOC})

    def _prepare(self, context: Any, config: settings.Settings) -> None:
        """Lets dbt list the selection of the run. Raises AirflowFailException for a wrong one."""
        planned = cache.dag_tasks(config, context["ti"].dag_id)
        self._selected({node for task in planned for node in task.nodes}, context)
        self.wanted = frozenset()
