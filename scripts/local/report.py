"""The lines that `make run` prints: pure functions of Airflow's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

# https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/tasks.html#task-instances
FINISHED = {"success", "failed", "upstream_failed", "skipped", "removed"}
ACTIVE = {"scheduled", "queued", "running", "restarting", "deferred"}
BAD = {"failed", "upstream_failed"}


def instant(text: str) -> datetime:
    """A timestamp of Airflow's API."""
    # In Python 3.10, fromisoformat reads no Z, and only fractions of 3 or 6 digits.
    text = text.replace("Z", "+00:00")
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits].ljust(6, '0')[:6]}{tail[digits:]}"
    return datetime.fromisoformat(text)


def seconds(start: str | None, end: str | None) -> float | None:
    """Seconds between two of Airflow's timestamps; None if one is missing."""
    if not (start and end):
        return None
    return (instant(end) - instant(start)).total_seconds()


def changes(before: Mapping[str, str], tasks: Iterable[Mapping]) -> list[Mapping]:
    """The tasks that ended since `before`, also those that wait for a retry, in that order."""
    ended = FINISHED | {"up_for_retry"}
    new = [
        task
        for task in tasks
        if task["state"] in ended and before.get(task["task_id"]) != task["state"]
    ]
    return sorted(new, key=lambda task: (task["end_date"] or "", task["task_id"]))


def progress(task: Mapping, finished: int, total: int) -> str:
    """One line for a task that has just finished."""
    width = len(str(total))
    return f"  {finished:>{width}}/{total}  {_line(task)}"


def in_order(tasks: Iterable[Mapping]) -> list[Mapping]:
    """The tasks in the order of their start. Those that never started come last."""
    return sorted(
        tasks, key=lambda task: (not task["start_date"], task["start_date"] or "", task["task_id"])
    )


def table(tasks: Iterable[Mapping]) -> list[str]:
    """A heading, and a line for each task in the order of their start."""
    return [f"{'state':<16}{'seconds':>7}  task", *map(_line, in_order(tasks))]


def summary(tasks: Iterable[Mapping], took: float) -> str:
    """The number of tasks in each state, and the seconds that the run took."""
    tasks = list(tasks)
    count = Counter(_state(task) for task in tasks)
    states = ", ".join(f"{number} {state}" for state, number in count.most_common())
    return f"{len(tasks)} tasks in {took:.1f} seconds: {states}"


def _line(task: Mapping) -> str:
    return f"{_state(task):<16}{_taken(task):>7}  {task['task_id']}"


def _state(task: Mapping) -> str:
    return task["state"] or "not started"


def _taken(task: Mapping) -> str:
    taken = seconds(task["start_date"], task["end_date"])
    return "" if taken is None else f"{taken:.1f}"
