"""What is to be seen of a run in the cluster: in the warehouse, in Airflow, and on the workers."""

from __future__ import annotations

from dev.tests.faults import project
from dev.tests.faults.cluster import WORKERS, Cluster
from include.engine.run.summary import TASK_ID as RESULTS

SESSIONS = (
    "select query from pg_stat_activity where usename = 'warehouse' and pid <> pg_backend_pid()"
)
IN_TROUBLE = ("up_for_retry", "up_for_reschedule", "failed")
ENDED = ("success", "failed")


class Run:
    """One run of the DAG, in a warehouse that is empty when it begins."""

    def __init__(self, cluster: Cluster, run_id: str) -> None:
        self.cluster = cluster
        self.api = cluster.api
        self.id = run_id

    def begin(self) -> None:
        for statement in project.SETUP:
            self.cluster.ask(statement)
        self.api.trigger(self.id)

    def at_work(self, worker: str) -> set[tuple[str, int]]:
        """The models, with their tries, that this worker has begun and not ended."""
        begun = f"select model, try from audit.events where worker = '{worker}' and event = "
        return set(self.cluster.ask(f"{begun}'begin' except {begun}'end'"))

    def in_trouble(self) -> list[str]:
        """The tasks that have failed, or that a worker did not find in its DAG file."""
        return [
            task["task_id"]
            for task in self.api.tasks(self.id)
            if task["task_id"] != RESULTS
            and (task["try_number"] > 1 or task["state"] in IN_TROUBLE)
        ]

    def state(self) -> str:
        return self.api.run_state(self.id)

    def has_ended(self) -> bool:
        self.cluster.keep_up()
        return self.api.answers() and self.state() in ENDED

    def seconds(self) -> float:
        """How long the run took."""
        return self.api.call("GET", self.api._run(self.id))["duration"]

    def end(self) -> None:
        """End the run, unless it has ended."""
        if not self.has_ended():
            self.api.end_run(self.id)

    def noted(self) -> dict[tuple[str, int, str], tuple[int, bool]]:
        """By model, try and event: how often the model noted it, and if it was always alone."""
        rows = self.cluster.ask(
            "select model, try, event, count(*), bool_and(alone) from audit.events group by 1, 2, 3"
        )
        return {row[:3]: row[3:] for row in rows}

    def successful_tries(self) -> set[tuple[str, int]]:
        """The models, with their tries, that Airflow says have succeeded."""
        return {
            (model, one["try_number"])
            for model in project.MODELS
            for one in self._tries(f"model.tiny.{model}")
            if one["state"] == "success"
        }

    def _tries(self, task_id: str) -> list[dict]:
        path = f"{self.api._run(self.id)}/taskInstances/{task_id}/tries"
        return self.api.call("GET", path)["task_instances"]

    def history(self) -> str:
        """Each task's tries, and what the models have noted, for the message of a failed test."""
        tried = [
            f"{t['task_id']}: {t['state']}, {t['try_number']}" for t in self.api.tasks(self.id)
        ]
        noted = self.cluster.ask(
            "select concat_ws(' ', at, model, try, worker, event, alone)"
            " from audit.events order by at"
        )
        return "\n".join([*tried, *(note for (note,) in noted)])

    def logs(self) -> str:
        """What all tries of all tasks of the run have logged."""
        folder = self.cluster.at.logs / f"dag_id={self.api.dag_id}" / f"run_id={self.id}"
        return "".join(file.read_text() for file in sorted(folder.glob("*/*.log")))

    def left(self) -> dict[str, list]:
        """All that should not be there when the run has ended, by its kind. A warm dbt may stay."""
        warm = [self.cluster.warm_dbt(name) for name in WORKERS]
        folders = [self.cluster.temporary(name) for name in WORKERS]
        things = {
            "sessions": [query for (query,) in self.cluster.ask(SESSIONS)],
            "files": [file.name for folder in folders for file in folder.glob("dbt-*")],
            "commands": [one.pid for processes in warm for one in processes[1:]],
        }
        return {kind: found for kind, found in things.items() if found}
