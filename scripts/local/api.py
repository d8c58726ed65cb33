"""The calls of Airflow's REST API that are needed here.

https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from urllib.parse import quote

from scripts.local.paths import LocalError
from scripts.local.ports import LOOPBACK

DAG_ID = "dbt_dag"


class Api:
    """Airflow's REST API on this machine, where every user is an administrator.

    Calls that are about one DAG are about `dag_id`.
    """

    def __init__(self, port: int, dag_id: str = DAG_ID) -> None:
        self.port = port
        self.dag_id = dag_id
        self.url = f"http://{LOOPBACK}:{port}"
        self.token = ""
        self.open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def call(self, method: str, path: str, body: object = None):
        """The decoded answer. Raises LocalError, with Airflow's message, if it refuses."""
        try:
            return self._ask(method, path, body)
        except urllib.error.HTTPError as error:
            words = error.read().decode(errors="replace")
            raise LocalError(f"Airflow answered {error.code} to {method} {path}: {words}") from None
        except (OSError, HTTPException) as error:
            raise LocalError(f"Airflow does not answer at {self.url}: {error}") from None

    def _ask(self, method: str, path: str, body: object = None):
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"},
        )
        with self.open(request, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def answers(self) -> bool:
        """Whether the API for tasks answers. Its first answer takes seconds."""
        try:
            self._ask("GET", "/execution/health")
        except (OSError, ValueError, HTTPException):
            return False
        return True

    def healthy(self, names: tuple[str, ...]) -> bool:
        """Whether these parts of Airflow are healthy; False while there is no answer."""
        if not self.answers():
            return False
        try:
            health = self._ask("GET", "/api/v2/monitor/health")
        except (OSError, ValueError, HTTPException):
            return False
        return all((health.get(name) or {}).get("status") == "healthy" for name in names)

    def log_in(self) -> None:
        self.token = self.call("GET", "/auth/token")["access_token"]

    def dags(self) -> list[dict]:
        """The DAGs of this project that Airflow knows."""
        query = f"dag_id_pattern={DAG_ID}&exclude_stale=true&limit=1000"
        dags = self.call("GET", f"/api/v2/dags?{query}")["dags"]
        return [d for d in dags if d["dag_id"] == DAG_ID or d["dag_id"].startswith(f"{DAG_ID}__")]

    def parse_again(self) -> None:
        """Have Airflow read the DAG file now."""
        for dag in self.dags()[:1]:
            self.call("PUT", f"/api/v2/parseDagFile/{dag['file_token']}")

    def import_errors(self) -> list[dict]:
        return self.call("GET", "/api/v2/importErrors")["import_errors"]

    def make_pools(self, dag_ids: Iterable[str], slots: int) -> list[str]:
        """Make each pool that a task of these DAGs names, unless it exists. Returns their names."""
        existing = {pool["name"] for pool in self.call("GET", "/api/v2/pools?limit=1000")["pools"]}
        named = {
            task["pool"]
            for dag_id in dag_ids
            for task in self.call("GET", f"/api/v2/dags/{dag_id}/tasks")["tasks"]
        }
        missing = sorted(named - existing)
        for name in missing:
            self.call("POST", "/api/v2/pools", {"name": name, "slots": slots})
        return missing

    def unpause(self, *dag_ids: str) -> None:
        for dag_id in dag_ids or (self.dag_id,):
            self.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def trigger(self, run_id: str, **params: object) -> None:
        body = {"dag_run_id": run_id, "logical_date": None, "conf": params}
        self.call("POST", f"/api/v2/dags/{self.dag_id}/dagRuns", body)

    def run_state(self, run_id: str) -> str:
        return self.call("GET", self._run(run_id))["state"]

    def end_run(self, run_id: str) -> None:
        self.call("PATCH", self._run(run_id), {"state": "failed"})

    def tasks(self, run_id: str) -> list[dict]:
        """Every task of the run, with its state, dates and number of tries."""
        tasks: list[dict] = []
        while True:
            page = self.call(
                "GET", f"{self._run(run_id)}/taskInstances?limit=100&offset={len(tasks)}"
            )
            tasks += page["task_instances"]
            if not page["task_instances"] or len(tasks) >= page["total_entries"]:
                return tasks

    def _run(self, run_id: str) -> str:
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(run_id, safe='')}"
