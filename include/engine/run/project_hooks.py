"""The project's hooks as tasks: on-run-start before all others of a DAG, on-run-end after them.

Once per DAG run, with the context that they have in one `dbt build` of the DAG. Only a warm dbt can
run hooks without nodes, and nodes without hooks (warm/project_hooks.py); where it is switched off,
there are no such tasks (see `dags.add_hooks`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from include.engine import settings
from include.engine.plan import cache
from include.engine.plan.records import END, HOOKS, START, Task
from include.engine.run import failures, results, summary
from include.engine.run.operator import DbtOperator

DOC = """
Runs the `{}` hooks of the dbt project and of its packages, once for all tasks of the run, as one
`dbt build` would. One that failed is not tried again: those before it have run.
"""


class Hooks(DbtOperator):
    """Runs the hooks of one `kind`, and no node.

    Those of `on-run-end` run when every other task has ended, whatever became of it, and are told
    of all results (their SQL excepted). As in dbt they run after on-run-start hooks have failed,
    told of nothing, but not where dbt did not come to those.
    """

    final = results.FAILED

    def __init__(self, *, kind: str, **kwargs: Any) -> None:
        ends = {"trigger_rule": "all_done"} if kind == END else {}
        own = {"argv": ("build",), "node": "", "nodes": (), "doc_md": DOC.format(kind), **ends}
        super().__init__(**{**kwargs, **own})
        self.bash_command = f"DBT_HOOKS={kind} {self.bash_command}"
        self.kind = kind

    def _again(self) -> str:
        return f"clear {self.task_id} in Airflow (no command of dbt's runs hooks alone)"

    def _prepare(self, context: Any, config: settings.Settings) -> None:
        """Writes for dbt which nodes the hooks are about, and what became of them."""
        planned = cache.dag_tasks(config, context["ti"].dag_id)
        ended = self._ended(context, planned) if self.kind == END else []
        nodes = self._selected(built_nodes(planned), context)
        if not nodes:
            raise AirflowSkipException("Nothing of this DAG is in this run's selection.")
        told = Path(self._environment["DBT_TARGET_PATH"]).with_name("hooks.json")
        told.write_text(json.dumps({"nodes": sorted(nodes), "results": ended}))
        self._environment["DBT_HOOKS_OF"] = str(told)

    def _ended(self, context: Any, planned: Iterable[Task]) -> list[results.Result]:
        """The results of the run so far; waits, without holding a slot, until all have ended."""
        ti = context["ti"]
        states = summary.task_states(ti, {summary.TASK_ID})
        if waiting := summary.unfinished_tasks(states):
            self.log.info("Still at work: %s", failures.shorten(waiting))
            moment = datetime.now(timezone.utc) + timedelta(seconds=summary.WAIT_SECONDS)
            raise AirflowRescheduleException(moment)
        records = summary.pull_results(ti, states)
        before = next((task.id for task in planned if task.kind == START), None)
        if states.get(before, "success") != "success":
            if before not in records:
                raise AirflowSkipException(f"dbt did not come to the hooks of {before}.")
            return []
        merged = summary.merge_results(ti, planned, states, records, context["params"])
        found = merged[results.RUN_RESULTS]["results"]
        return [result for result in found if not result["unique_id"].startswith("operation.")]


def built_nodes(planned: Iterable[Task]) -> frozenset[str]:
    """What one `dbt build` of the tasks would execute; it checks no freshness of sources."""
    left_out = (*HOOKS, "source")
    return frozenset(node for task in planned if task.kind not in left_out for node in task.nodes)
