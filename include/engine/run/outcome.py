"""What a task whose command has failed, or has not run all of its nodes, ends with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
)
from airflow.sdk.log import redact

from include.engine import settings
from include.engine.manifest.listing import LIST, listed_ids
from include.engine.run import failures, params, results, retries, unbuilt
from include.engine.run.masking import mask_results

if TYPE_CHECKING:
    from include.engine.run.operator import DbtOperator


def failure(
    task: DbtOperator, folder: Path, context: Any, error: AirflowException
) -> AirflowException:
    """The exception for a command that failed; also pushes the results that there are.

    A test that failed on its data ("fail") fails again on a retry, so it has none: NOT_RETRIED.
    What dbt could not execute ("error") is retried unless its message says that the same would
    fail again (run/retries.py).
    """
    artifact = results.read(folder / "target")
    if artifact:
        context["ti"].xcom_push("return_value", task.record(mask_results(artifact), context))
    failed = [
        result for result in artifact.get("results", ()) if result["status"] in results.FAILED
    ]
    message = failures.logged_error(folder / "logs") or task.ended.output
    if failed:
        lines = failures.lines_for_results(failed, failing_rows(task, failed, context))
    else:
        lines = [str(error), *(f"  {line}" for line in message.splitlines())]
    lines += [*unbuilt.stale_lines(settings.load()), *advice(task, context)]
    kind = AirflowFailException if is_final(task, failed, message) else AirflowException
    return kind(redact("\n".join(lines)))


def is_final(task: DbtOperator, failed: Sequence[results.Result], message: str) -> bool:
    """Whether no retry can help; `message` is the error of a command without results."""
    if not failed:
        return retries.is_permanent(message)
    return all(
        result["status"] in task.NOT_RETRIED or retries.is_permanent(results.message(result))
        for result in failed
    )


def advice(task: DbtOperator, context: Any) -> Iterator[str]:
    """The last lines of a failure: the tasks that it holds back, and how to run it again."""
    yield from failures.downstream_line(context["ti"].dag_id, task.task_id)
    yield f"Run it again: {task.rerun_hint()}"


def failing_rows(
    task: DbtOperator, failed: Sequence[results.Result], context: Any
) -> dict[str, str]:
    """By unique id, the rows that fail a test, as dbt prints them; {} if none are wanted."""
    rows = {}
    if wanted := settings.load().failing_rows:
        for result in failed:
            query = failures.failing_rows_query(result)
            if result["status"] == "fail" and query:
                argv = ("dbt", "--quiet", "show", f"--inline={query}", f"--limit={wanted}")
                rows[result["unique_id"]] = redact(task.output(argv, context).stdout.strip())
    return rows


def require_results(task: DbtOperator, artifact: Mapping[str, Any], context: Any) -> None:
    """Fails a task whose command succeeded and yet did not run all of the task's nodes.

    Another try may run on another machine, or with a newer manifest. Nodes that the params of
    the run disable are left out, as in `dbt build`; the task skips if they are all that it has.
    """
    task.outlets = []
    ran = results.node_ids(artifact)
    missing = task.wanted - ran
    listed = listed_nodes(task, context)
    disabled = disabled_nodes(task, missing - listed, context)
    if missing == disabled and not ran & task.wanted:
        raise AirflowSkipException("The params of this run disable it.")
    if lost := missing - disabled:
        lines = unbuilt.explain(lost, listed, ran - task.wanted)
        with_errors = unbuilt.add_errors(artifact, lost, redact("\n".join(lines)))
        context["ti"].xcom_push("return_value", task.record(with_errors, context))
        raise AirflowException(redact("\n".join((*lines, *advice(task, context)))))


def disabled_nodes(task: DbtOperator, unknown: Set[str], context: Any) -> Set[str]:
    """The nodes of `unknown` that dbt knows in a run without variables and target."""
    if not unknown or not params.shared_arguments(context["params"]):
        return frozenset()
    return unknown & listed_nodes(task, {"params": {}})


def listed_nodes(task: DbtOperator, context: Any) -> set[str]:
    """The unique ids of all nodes that dbt has in this run."""
    return listed_ids(task.output(("dbt", *LIST), context).stdout)
