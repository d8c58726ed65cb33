"""The project's hooks, once for many commands: what the variable DBT_HOOKS says of a command's.

`none` leaves them out. A kind of hook (`on-run-start`, `on-run-end`) has a `dbt build` run those
hooks, and none of its nodes: DBT_HOOKS_OF is a JSON file with the unique ids of the `nodes` that
the hooks are before or after, and `results` of them, as in dbt's run_results.json.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import fields

from dbt import selected_resources
from dbt.artifacts.schemas.run import RunResult, RunResultOutput
from dbt.contracts.graph.manifest import Manifest
from dbt.node_types import RunHookType
from dbt.task.build import BuildTask
from dbt.task.run import RunTask
from dbt_common.exceptions import DbtInternalError

NONE = "none"


def install() -> None:
    """Let this process's commands run the hooks that they are to run."""
    of_kind = RunTask.get_hooks_by_type
    initialize, execute = BuildTask._runtime_initialize, BuildTask.execute_nodes

    def get_hooks_by_type(task: RunTask, kind: RunHookType) -> list:
        return of_kind(task, kind) if os.environ.get("DBT_HOOKS") in (None, "", kind) else []

    RunTask.get_hooks_by_type = get_hooks_by_type
    BuildTask._runtime_initialize = lambda task: (
        select(task, known(task.manifest, told["nodes"])) if (told := alone()) else initialize(task)
    )
    BuildTask.execute_nodes = lambda task: (
        [result(task.manifest, r) for r in known(task.manifest, told["results"])]
        if (told := alone())
        else execute(task)
    )


def alone() -> dict | None:
    """What the hooks are about, where they are to run without nodes."""
    if os.environ.get("DBT_HOOKS") in (None, "", NONE):
        return None
    with open(os.environ["DBT_HOOKS_OF"]) as file:
        return json.load(file)


def select(task: BuildTask, unique_ids: list[str]) -> None:
    """What dbt does with the nodes of a selection, without a graph of them."""
    task.compiler.initialize()
    task.compiler.selected_node_ids = set(unique_ids)
    selected_resources.set_selected_resources(set(unique_ids))
    task._flattened_nodes = [task.manifest.expect(unique_id) for unique_id in unique_ids]
    task.num_nodes = len(unique_ids)


def known(manifest: Manifest, about: list) -> list:
    """The unique ids, or the results, of nodes that this manifest has.

    Tasks are made from a manifest that may be older or newer than the project.
    """
    return [
        item
        for item in about
        if has(manifest, item if isinstance(item, str) else item["unique_id"])
    ]


def has(manifest: Manifest, unique_id: str) -> bool:
    try:
        return bool(manifest.expect(unique_id))
    except DbtInternalError:
        return False


def result(manifest: Manifest, told: Mapping) -> RunResult:
    """What dbt had in memory when it wrote that result, but for the node's compiled SQL."""
    read = RunResultOutput.from_dict(told)
    for step in read.timing:  # in memory dbt's moments are UTC without saying so
        for name in ("started_at", "completed_at"):
            if moment := getattr(step, name):
                setattr(step, name, moment.replace(tzinfo=None))
    own = {field.name for field in fields(RunResult)}
    return RunResult(
        node=manifest.expect(read.unique_id),
        **{name: value for name, value in vars(read).items() if name in own},
    )
