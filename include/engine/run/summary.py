"""The last task of a DAG run: one run_results.json of all its tasks, with the manifest beside it.

It runs after the leaves of the graph, in whatever state they ended, and fails if any task failed:
Airflow takes a run's state from its leaves, so a last task that succeeds would hide a failure. A
leaf may be upstream_failed while another branch still runs; then this task waits, without a slot.

It is no teardown: if a person marks a run as failed, Airflow skips all tasks but the teardown, and
then takes the run's state from the skipped tasks, which is a success.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError

from include.engine import settings
from include.engine.manifest import find
from include.engine.plan import cache
from include.engine.plan.records import CHECK, Task
from include.engine.run import failures, kept_xcoms, one_run, params, results

TASK_ID = "run_results"
LATEST = "latest"
WAIT_SECONDS = 10

# https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/tasks.html#task-instances
FINISHED = frozenset(("success", "failed", "upstream_failed", "skipped", "removed"))

TESTS = ("test", "unit_test")

Results = Mapping[str, Mapping[str, Any]]
"""The artifacts of a run by kind (see `results.merge`)."""

DOC = """
Merges dbt's results of all tasks of the run into one `run_results.json`, as one `dbt build` would
write it, and puts it with the run's manifest into `DBT_RUNS`. Its XCom is the summary of the run.
It fails if any task failed: the run is then failed, too.
"""


class RunResults(BaseSensorOperator):
    """Waits until every other task of the run has ended, then writes the run's results.

    Raises AirflowFailException, which is not retried, if any of them failed.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            task_id=TASK_ID,
            mode="reschedule",
            poke_interval=WAIT_SECONDS,
            trigger_rule="all_done",
            doc_md=DOC,
            # It asks the warehouse nothing, and what failed has been reported by its own task.
            pool="default_pool",
            on_failure_callback=None,
            on_success_callback=None,
            **kwargs,
        )

    def poke(self, context: Any) -> PokeReturnValue | bool:
        ti = context["ti"]
        # Tasks that a person has added after this one wait for it.
        states = task_states(ti, self.get_flat_relative_ids(upstream=False))
        if waiting := unfinished_tasks(states):
            self.log.info("Still at work: %s", failures.shorten(waiting))
            return False
        run = write_results(ti, states, context["params"])
        text = "\n".join(summary_lines(run))
        if failed := sorted(task_id for task_id, state in states.items() if state == "failed"):
            ti.xcom_push("return_value", run)
            raise AirflowFailException(
                f"{len(failed)} of {len(states)} tasks failed: {failures.shorten(failed)}\n{text}"
            )
        self.log.info("%s", text)
        return PokeReturnValue(is_done=True, xcom_value=run)


def task_states(ti: Any, later: Collection[str] = ()) -> dict[str, str | None]:
    """The state of each task of the run, by task id, without `ti` and the tasks in `later`."""
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    left_out = {ti.task_id, *later}
    return {task_id: state for task_id, state in states.items() if task_id not in left_out}


def planned_states(
    planned: Iterable[Task], states: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The states of dbt's own tasks: a person may have added others to the DAG."""
    return {task.id: states[task.id] for task in planned if task.id in states}


def unfinished_tasks(states: Mapping[str, str | None]) -> list[str]:
    """The ids of the tasks that have not ended, sorted."""
    return sorted(task_id for task_id, state in states.items() if state not in FINISHED)


def write_results(ti: Any, states: Mapping[str, str], entered: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the results of the run of `ti`, whose other tasks ended in these states.

    Returns the run's summary, with the folder of the results.
    """
    config = settings.load()
    manifest = find.find_manifest(config, may_be_old=True)
    planned = cache.dag_tasks(config, ti.dag_id)
    states = planned_states(planned, states)
    records = pull_results(ti, states)
    artifacts = merge_results(ti, planned, states, records, entered)
    files = {f"{name}.json": json.dumps(artifact) for name, artifact in artifacts.items()}
    ran = artifacts[results.RUN_RESULTS]["results"]
    files["manifest.json"] = json.dumps(
        results.with_run_relations(json.loads(manifest.read_bytes()), ran)
    )
    folder = write_files(config.runs_folder, ti.dag_id, ti.run_id, files, config.runs_kept)
    kept_xcoms.remove_old(config, ti.dag_id)
    start = one_run.first_start(records.values())
    stopped = [
        task.id for task in planned if task.kind == CHECK and states.get(task.id) == "failed"
    ]
    short = summary(artifacts, stopped)
    return short | {"folder": folder, "paused": paused_dags(ti, config), **start}


def paused_dags(ti: Any, config: settings.Settings) -> dict[str, int]:
    """The number of tasks in each other DAG of the project that is paused, by DAG id.

    Airflow pauses a new DAG: models that move into one are built by no run until it is switched on.
    """
    if not hasattr(ti, "get_dag"):  # Airflow below 3.3
        return {}
    manifest = find.find_manifest(config, may_be_old=True)
    paused = {}
    for dag in cache.load_plan(manifest, cache.plan_options(config)):
        with contextlib.suppress(AirflowRuntimeError):  # Airflow has not read it yet
            if dag.id != ti.dag_id and ti.get_dag(dag.id).is_paused:
                paused[dag.id] = len(dag.tasks)
    return paused


def merge_results(
    ti: Any,
    planned: Iterable[Task],
    states: Mapping[str, str],
    records: Mapping[str, Mapping[str, Any]],
    entered: Mapping[str, Any],
) -> Results:
    """The results of the run of `ti`, from the states and the XComs (`records`) of its tasks."""
    others = missing_results(planned, states, records)
    invocation = results.invocation_id(ti.dag_id, ti.run_id)
    return results.merge(list(records.values()), others, build_arguments(entered), invocation)


def pull_results(ti: Any, states: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    """By task id, the XCom of each task that ran and has one."""
    ran = [task_id for task_id, state in states.items() if state in ("success", "failed")]
    return kept_xcoms.pull(settings.load(), ti, ran)


def missing_results(
    planned: Iterable[Task], states: Mapping[str, str], records: Mapping[str, Any]
) -> list[results.Result]:
    """Results for nodes that were held back, for lost tasks, and for tasks marked as success."""
    missing = []
    for task in planned:
        state = states.get(task.id)
        if state == "upstream_failed":
            missing += [results.missing_result(node, "skipped") for node in task.nodes]
        elif state == "failed" and task.id not in records:
            why = f"The task {task.id} ended without a result of dbt; its log says why."
            missing += [results.missing_result(node, "error", why) for node in task.nodes]
        elif state == "success":
            missing += marked_results(records.get(task.id) or {})
    return missing


def marked_results(record: Mapping[str, Any]) -> list[results.Result]:
    """The results of a task that failed and was marked as success afterwards, as successes."""
    if record.get("artifact") != results.RUN_RESULTS:
        return []
    return [
        {
            **result,
            "status": "pass" if result["unique_id"].partition(".")[0] in TESTS else "success",
            "message": "Marked as success in Airflow.",
        }
        for result in record["results"]
        if result["status"] in results.FAILED
    ]


def build_arguments(entered: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the one `dbt build` that equals the run: `dbt retry` uses them again."""
    names = ("target", "full_refresh", "event_time_start", "event_time_end")
    options = {name: entered[name] for name in names if entered.get(name)}
    words = (*params.selection_arguments(entered), *params.command_arguments("build", entered))
    return options | {
        "vars": entered.get("vars") or {},
        "invocation_command": " ".join(("dbt build", *words)),
    }


def summary(artifacts: Results, stopped: Iterable[str] = ()) -> dict[str, Any]:
    """The run in short: the worst status, the number of nodes by status, and dbt's message for
    each failure and each warning. `stopped` are tasks that failed and have no result of dbt.
    """
    every = [result for artifact in artifacts.values() for result in artifact["results"]]
    failed = [result for result in every if result["status"] in results.FAILED]
    failed += [results.missing_result(task_id, "error", "Its log says why.") for task_id in stopped]
    warned = [result for result in every if result["status"] == "warn"]
    return {
        "status": results.worst(result["status"] for result in (*every, *failed)),
        "nodes": dict(Counter(result["status"] for result in every).most_common()),
        "failed": {result["unique_id"]: results.message(result) for result in failed},
        "warnings": {result["unique_id"]: results.message(result) for result in warned},
    }


def summary_lines(run: Mapping[str, Any]) -> list[str]:
    """A summary as lines of a log."""
    return [
        ", ".join(f"{count} {status}" for status, count in run["nodes"].items()),
        *(f"failed: {node}: {message}" for node, message in run["failed"].items()),
        *(f"warning: {node}: {message}" for node, message in run["warnings"].items()),
        *(
            f"{dag_id} is paused: {count} tasks do not run"
            for dag_id, count in run["paused"].items()
        ),
        f"The results: {run['folder']}",
    ]


def write_files(runs: str, dag_id: str, run_id: str, files: Mapping[str, str], kept: int) -> str:
    """Writes the files of a run below `runs`, and again as `latest`; returns the run's folder.

    The folders of the last `kept` runs of the DAG stay, older ones are removed.
    """
    from airflow.sdk import ObjectStoragePath  # slow to import

    folder = ObjectStoragePath(runs if "://" in runs else f"file://{runs}") / f"dag_id={dag_id}"
    # As in Airflow's own log folders; quoted, since a run id may hold any character.
    own = folder / f"run_id={quote(run_id, safe=':+')}"
    for written in (own, folder / LATEST):
        written.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (written / name).write_text(text)
    old = sorted(folder.glob("run_id=*/run_results.json"), key=lambda file: file.stat().st_mtime)
    for file in old[: -max(kept, 1)]:
        file.parent.rmdir(recursive=True)
    return str(own).removeprefix("file://")
