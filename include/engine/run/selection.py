"""Which nodes a run was triggered for: dbt itself says what its selection contains."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from subprocess import CompletedProcess
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.engine import settings
from include.engine.manifest import find
from include.engine.manifest.listing import LIST, listed_ids
from include.engine.plan import cache
from include.engine.plan.records import HOOKS
from include.engine.run import params, retries

# Methods that compare with artifacts of an earlier run, after graph operators
# (https://docs.getdbt.com/reference/node-selection/methods).
_COMPARES = r"(?:^|[\s,+@])(state|result|source_status):"

RunDbt = Callable[[Sequence[str]], CompletedProcess]
"""Runs a dbt command with the params of the run."""


def selected_nodes(entered: Mapping[str, Any], run_dbt: RunDbt) -> frozenset[str]:
    """The unique ids in the selection of the run.

    Raises AirflowFailException if the selection contains nothing, or cannot be made in Airflow.
    """
    selection = params.selection_arguments(entered)
    texts = " ".join(argument.partition("=")[2] for argument in selection)
    if compares := re.search(_COMPARES, texts):
        raise AirflowFailException(
            f"`{compares[1]}:` compares with the artifacts of an earlier run, and a run in Airflow "
            "has none. Select by name, tag or path here, or use dbt by hand: "
            f"make dbt ARGS='build {shlex.join(selection)} --state …'"
        )
    argv = ("dbt", *LIST, *selection)
    listed = run_dbt(argv)
    if listed.returncode:
        kind = AirflowFailException if retries.is_permanent(listed.stdout) else AirflowException
        raise kind(
            f"dbt could not list the selection (exit code {listed.returncode}): "
            f"{shlex.join(argv)}\n{listed.stdout}"
        )
    if not (nodes := frozenset(listed_ids(listed.stdout))):
        raise AirflowFailException(f"{shlex.join(argv)} selects nothing:\n{listed.stdout}")
    return nodes


def require_in_dag(selected: frozenset[str], dag_id: str, entered: Mapping[str, Any]) -> None:
    """Raises AirflowFailException, with the right DAG, if this one runs nothing of a selection."""
    config = settings.load()
    manifest = find.find_manifest(config, may_be_old=True)
    by_dag = {
        dag.id: {node for task in dag.tasks if task.kind not in HOOKS for node in task.nodes}
        for dag in cache.load_plan(manifest, cache.plan_options(config))
    }
    if selected & by_dag.get(dag_id, set()):
        return
    from include.engine.run import failures  # only a task that fails imports it

    selection = shlex.join(params.selection_arguments(entered))
    lines = [f"{dag_id} runs nothing of this selection: {selection}"]
    for other in sorted(by_dag):
        if here := sorted(selected & by_dag[other]):
            lines.append(f"  {other} runs {failures.shorten(here)}: trigger that DAG.")
    if nowhere := sorted(selected.difference(*by_dag.values())):
        lines.append(
            f"  No DAG runs {failures.shorten(nowhere)}. If a task should, the manifest is older: "
            f"{manifest}. Build it with: make manifest"
        )
    raise AirflowFailException("\n".join(lines))
