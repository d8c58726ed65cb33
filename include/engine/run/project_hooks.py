"""The project's hooks as tasks: on-run-start before all others of a DAG, on-run-end after them.

They run once per DAG run, with the context that they have in one `dbt build` of the DAG. Only a
warm dbt can run hooks without nodes, and nodes without hooks (inside/project_hooks.py). If it is
switched off there are no such tasks (`add_hooks` in plan/ends.py). Hooks that share memory with
nodes are left out: they run with each command.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from include.engine import settings
from include.engine.plan import cache
from include.engine.plan.records import CHECK, END, HOOKS, START, Task
from include.engine.run import failures, results, summary
from include.engine.run.operator import DbtOperator

DOC = """
Runs the `{}` hooks of the dbt project and of its packages, once for all tasks of the run, as one
`dbt build` would. A hook that failed is not retried: the hooks before it have already run.
"""


class Hooks(DbtOperator):
    """Runs the hooks of one `kind`, and no node.

    on-run-end hooks run when every other task has ended in whatever state, and get all results
    without their SQL. As in dbt, they also run after a failed on-run-start hook, and then get no
    results; they do not run if dbt never started the on-run-start hooks.
    """

    NOT_RETRIED = results.FAILED

    told: Sequence[results.Result] = ()
    """The results that the hooks get."""

    def __init__(self, *, kind: str, **kwargs: Any) -> None:
        ends = {"trigger_rule": "all_done"} if kind == END else {}
        own = {"argv": ("build",), "node": "", "nodes": (), "doc_md": DOC.format(kind), **ends}
        super().__init__(**{**kwargs, **own})
        self.bash_command = f"DBT_HOOKS={kind} {self.bash_command}"
        self.kind = kind

    def execute(self, context: Any) -> dict[str, Any] | None:
        """End hooks first ask how the run went: they fail for nothing that its first task has."""
        if self.kind == END:
            planned = cache.dag_tasks(settings.load(), context["ti"].dag_id)
            self.told = self._ended(context, planned)
        return super().execute(context)

    def rerun_hint(self) -> str:
        return f"clear {self.task_id} in Airflow (no dbt command runs hooks alone)"

    def _prepare(self, context: Any, config: settings.Settings) -> None:
        """Writes for dbt which nodes the hooks are about, and their results."""
        planned = cache.dag_tasks(config, context["ti"].dag_id)
        nodes = self._selected(built_nodes(planned), context)
        if not nodes:
            raise AirflowSkipException("Nothing of this DAG is in this run's selection.")
        file = Path(self._environment["DBT_TARGET_PATH"]).with_name("hooks.json")
        file.write_text(json.dumps({"nodes": sorted(nodes), "results": self.told}))
        self._environment["DBT_HOOKS_OF"] = str(file)
        self.wanted = frozenset()

    def _ended(self, context: Any, planned: Iterable[Task]) -> list[results.Result]:
        """The results of the run; waits, without a slot, until all other tasks have ended."""
        ti = context["ti"]
        states = summary.planned_states(planned, summary.task_states(ti))
        if waiting := summary.unfinished_tasks(states):
            self.log.info("Still at work: %s", failures.shorten(waiting))
            moment = datetime.now(timezone.utc) + timedelta(seconds=summary.WAIT_SECONDS)
            raise AirflowRescheduleException(moment)
        records = summary.pull_results(ti, states)
        before = next((task.id for task in planned if task.kind in (START, CHECK)), None)
        if states.get(before, "success") != "success":
            if before not in records:
                raise AirflowSkipException(f"{before} ended before dbt ran a hook.")
            return []
        merged = summary.merge_results(ti, planned, states, records, context["params"])
        ended = merged[results.RUN_RESULTS]["results"]
        return [result for result in ended if not result["unique_id"].startswith("operation.")]


def built_nodes(planned: Iterable[Task]) -> frozenset[str]:
    """The nodes that one `dbt build` of the tasks would execute: it checks no source freshness."""
    left_out = (*HOOKS, "source")
    return frozenset(node for task in planned if task.kind not in left_out for node in task.nodes)
