"""The project's hooks, once for many commands: the variable DBT_HOOKS says which a command runs.

`none` leaves them out. A kind of hook (`on-run-start`, `on-run-end`) has a `dbt build` run those
hooks and none of its nodes. DBT_HOOKS_OF is then a JSON file with the unique ids of the `nodes`
that the hooks are before or after, and the `results` of these, as in dbt's run_results.json.
DBT_HOOKS_EACH names the packages, with commas between them, for which it is the other way round:
their hooks run with each command of nodes, and not with those of hooks.
"""

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import fields

import events
from dbt import selected_resources
from dbt.artifacts.schemas.results import RunStatus
from dbt.artifacts.schemas.run import RunResult, RunResultOutput
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import HookNode
from dbt.node_types import RunHookType
from dbt.task import build
from dbt.task.run import RunTask
from dbt_common.exceptions import DbtInternalError

NONE = "none"
GET_HOOKS_BY_TYPE = RunTask.get_hooks_by_type
SAFE_RUN_HOOKS = RunTask.safe_run_hooks


def install() -> None:
    """Let this process's commands run the hooks that they are to run."""
    RunTask.get_hooks_by_type = get_hooks_by_type
    RunTask.safe_run_hooks = safe_run_hooks
    build.BuildTask = HooksTask


def safe_run_hooks(
    task: RunTask, adapter: object, hook_type: RunHookType, extra_context: dict
) -> RunStatus:
    """RunTask.safe_run_hooks, which at the end opens a session only to commit nothing in it."""
    nothing = hook_type is RunHookType.End and not task.get_hooks_by_type(hook_type)
    well = all(result.status != "error" for result in task.node_results)
    if nothing and well and not events.is_debug_heard():
        return RunStatus.Success
    return SAFE_RUN_HOOKS(task, adapter, hook_type, extra_context)


def get_hooks_by_type(task: RunTask, kind: RunHookType) -> list:
    """RunTask.get_hooks_by_type: copies of the hooks, since a command changes them."""
    hooks = [hook for hook in GET_HOOKS_BY_TYPE(task, kind) if is_wanted(hook, kind)]
    return [pickle.loads(pickle.dumps(hook, pickle.HIGHEST_PROTOCOL)) for hook in hooks]


def is_wanted(hook: HookNode, kind: RunHookType) -> bool:
    """Is this hook, of that kind, one that the command runs?"""
    wanted = os.environ.get("DBT_HOOKS")
    if not wanted:
        return True
    with_each = hook.package_name in os.environ.get("DBT_HOOKS_EACH", "").split(",")
    return with_each if wanted == NONE else wanted == kind and not with_each


class HooksTask(build.BuildTask):
    """`dbt build`, or its hooks alone."""

    def _runtime_initialize(self) -> None:
        if context := hooks_context():
            select(self, known(self.manifest, context["nodes"]))
        else:
            super()._runtime_initialize()

    def execute_nodes(self) -> list:
        if context := hooks_context():
            outputs = known(self.manifest, context["results"])
            return [result(self.manifest, output) for output in outputs]
        return super().execute_nodes()


def hooks_context() -> dict | None:
    """What the hooks are about, where they are to run without nodes."""
    if os.environ.get("DBT_HOOKS") in (None, "", NONE):
        return None
    with open(os.environ["DBT_HOOKS_OF"]) as file:
        return json.load(file)


def select(task: HooksTask, unique_ids: list[str]) -> None:
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


def result(manifest: Manifest, output: Mapping) -> RunResult:
    """What dbt had in memory when it wrote that result, but for the node's compiled SQL."""
    read = RunResultOutput.from_dict(output)
    for step in read.timing:  # in memory dbt's moments are UTC without saying so
        for name in ("started_at", "completed_at"):
            if moment := getattr(step, name):
                setattr(step, name, moment.replace(tzinfo=None))
    own = {field.name for field in fields(RunResult)}
    return RunResult(
        node=manifest.expect(read.unique_id),
        **{name: value for name, value in vars(read).items() if name in own},
    )
