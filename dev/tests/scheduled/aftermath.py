"""What a run leaves behind, as a person on call looks for it: states, messages, assets, results."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

from scripts.local.api import Api
from scripts.local.paths import Paths


def states(api: Api, run_id: str) -> dict[str, str]:
    """The state of each task of the run."""
    return {task["task_id"]: task["state"] for task in api.tasks(run_id)}


def tries(api: Api, run_id: str, *task_ids: str) -> list[int]:
    """How often each of these tasks was tried."""
    numbers = {task["task_id"]: task["try_number"] for task in api.tasks(run_id)}
    return [numbers[task_id] for task_id in task_ids]


def published(api: Api, run_id: str) -> set[str]:
    """The names of the assets that the tasks of the run have published."""
    query = urlencode({"source_dag_id": api.dag_id, "source_run_id": run_id, "limit": 100})
    events = api.call("GET", f"/api/v2/assets/events?{query}")["asset_events"]
    return {event["name"] for event in events}


def last_words(at: Paths, run_id: str, task_id: str, dag_id: str = "dbt_dag") -> list[str]:
    """The lines of the exception that ended the last try of the task."""
    folder = at.logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    log = sorted(folder.glob("*.log"))[-1].read_text()
    details = [
        line["error_detail"] for line in map(json.loads, log.splitlines()) if "error_detail" in line
    ]
    return details[-1][0]["exc_value"].splitlines()


def messages(runs: Path, run_id: str) -> dict[str, str | None]:
    """The message of each node in the run_results.json of the run."""
    file = runs / "dag_id=dbt_dag" / f"run_id={run_id}" / "run_results.json"
    return {r["unique_id"]: r["message"] for r in json.loads(file.read_bytes())["results"]}


def said(at: Paths, run_id: str, task_id: str) -> str:
    """The logs of all tries of the task, as text."""
    folder = at.logs / "dag_id=dbt_dag" / f"run_id={run_id}" / f"task_id={task_id}"
    return "".join(log.read_text() for log in sorted(folder.glob("*.log")))


def results(runs: Path, run_id: str, dag_id: str = "dbt_dag") -> dict[str, str]:
    """The status of each node in the run_results.json of the run."""
    file = runs / f"dag_id={dag_id}" / f"run_id={run_id}" / "run_results.json"
    found = json.loads(file.read_bytes())["results"]
    return {result["unique_id"]: result["status"] for result in found}
