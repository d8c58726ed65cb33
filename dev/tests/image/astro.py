"""What the Astro CLI does with a project, as functions: build, start, pytest, stop.

A copy of the project is used, as a clone would be: without what is made in the checkout, and with
no `.env`. The tests know no base image but the one that the FROM line names.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, build_opener

from dev.tests import sample
from include.engine import settings

COMPOSE = Path(__file__).with_name("compose.yml")
HOME = "/usr/local/airflow"
MADE_HERE = {".git", ".airflow", ".venv", ".dbt/venv", ".dbt/manifest", ".dbt/packages"}
CACHES = {"__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"}
FOREIGN_UID = 12345
DAG = "dbt_dag"


@dataclass(frozen=True)
class Project:
    """A copy of the project in `folder`; `name` is the image's and the compose project's. The
    services are those of the CLI, of the project's override, and of `more` files.
    """

    folder: Path
    name: str = field(default_factory=lambda: f"dbt-airflow-test-{uuid.uuid4().hex[:8]}")
    api_port: int = field(default_factory=lambda: free_port())
    warehouse_port: int = field(default_factory=lambda: free_port())
    more: tuple[Path, ...] = ()

    def docker(self, *argv: str | Path, **options) -> subprocess.CompletedProcess[str]:
        """`docker` with these arguments; `check=False` lets it fail."""
        return run(["docker", *argv], cwd=self.folder, **options)

    def build(self, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker build`, with its output as plain lines in `stdout`."""
        built = self.docker(
            *("build", "--progress", "plain", "--tag", self.name, *options, "."),
            env={"DOCKER_BUILDKIT": "1"},
            check=False,
        )
        if check and built.returncode:
            raise AssertionError(f"The image was not built:\n{built.stdout[-4000:]}")
        return built

    def in_image(self, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        """A bash script in a container of the image that reaches no network."""
        return self.docker(
            *("run", "--rm", "--network", "none", *options, self.name, "bash", "-c", script),
            check=False,
        )

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `astro dev pytest`: folders copied into a container, no database."""
        container = f"{self.name}-pytest"
        given = ("--env-file", ".env") if (self.folder / ".env").exists() else ()
        self.docker("create", "--name", container, *given, self.name, "pytest", *arguments)
        try:
            for folder in ("dags", "tests", "plugins", "include", ".astro"):
                self.docker("cp", folder, f"{container}:{HOME}/")
            return self.docker("start", "--attach", container, check=False)
        finally:
            self.docker("rm", "--force", container)

    def compose(self, *argv: str, **options) -> subprocess.CompletedProcess[str]:
        """`docker compose` on the project's services."""
        override = self.folder / "docker-compose.override.yml"
        files = [word for file in (COMPOSE, override, *self.more) for word in ("--file", file)]
        ports = {"API_PORT": str(self.api_port), "WAREHOUSE_PORT": str(self.warehouse_port)}
        return self.docker(
            *("compose", "--ansi", "never", "--project-name", self.name),
            # The CLI hands .env to the containers and does not fill in the files with it.
            *("--project-directory", self.folder, "--env-file", os.devnull, *files, *argv),
            env={"IMAGE": self.name, **ports},
            **options,
        )

    def execute(
        self, service: str, *argv: str, environ: Mapping[str, str] | None = None, **options
    ):
        """A command in a running container."""
        given = [part for pair in (environ or {}).items() for part in ("--env", "=".join(pair))]
        return self.compose("exec", "--no-TTY", *given, service, *argv, **options)

    def sql(self, statement: str, database: str = "warehouse") -> str:
        """What the warehouse answers: a line for each row, its columns separated by `|`."""
        psql = ("psql", "--user", "warehouse", "--no-align", "--tuples-only", "--dbname", database)
        return self.execute("warehouse", *psql, "--command", statement).stdout.strip()

    def database_version(self) -> str:
        """What the server of Airflow's own database says: `PostgreSQL 12.6 on …`."""
        ask = ("--user", "postgres", "--tuples-only", "--command", "select version()")
        return self.execute("postgres", "psql", *ask).stdout.strip()

    def api(self, path: str, body: object = None, method: str = "GET"):
        """What Airflow's API answers: decoded JSON. Raises OSError where it does not."""
        opener = build_opener()
        address = f"http://127.0.0.1:{self.api_port}"
        with opener.open(f"{address}/auth/token", timeout=30) as answer:
            token = json.load(answer)["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{address}/api/v2/{path}", data, headers, method=method)
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def healthy(self) -> bool:
        """Whether Airflow says that all of its parts are well."""
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        health = self.api("monitor/health")
        return all(health[part]["status"] == "healthy" for part in parts)

    def dag(self) -> dict:
        """The DAG as Airflow has it now, with its doc page and tags."""
        return self.api(f"dags/{DAG}/details")

    def tags(self) -> set[str]:
        return {tag["name"] for tag in self.dag()["tags"]}

    def task_ids(self) -> set[str]:
        return {task["task_id"] for task in self.api(f"dags/{DAG}/tasks")["tasks"]}

    def trigger(self) -> str:
        """Starts a run of the DAG and returns its id."""
        return self.api(f"dags/{DAG}/dagRuns", {"logical_date": None}, "POST")["dag_run_id"]

    def states(self, run_id: str) -> dict[str, tuple[str, int]]:
        """(state, number of tries) of each task of a run."""
        found = self.api(f"dags/{DAG}/dagRuns/{run_id}/taskInstances?limit=1000")["task_instances"]
        return {task["task_id"]: (task["state"], task["try_number"]) for task in found}

    def finished(self, run_id: str, seconds: float = 300) -> str:
        """The state that a run ends with."""
        runs = f"dags/{DAG}/dagRuns/{run_id}"
        ended = lambda: self.api(runs)["state"] in ("success", "failed")  # noqa: E731
        eventually(ended, seconds, lambda: f"The run goes on: {self.states(run_id)}")
        return self.api(runs)["state"]


def clone(folder: Path) -> Project:
    """A copy of the project with the sample in it, as `astro dev init --from-template` extracts it:
    without execute bits and links. Where this user is root, it is of another user than the image's.

    Its tasks are retried more often, and sooner: a machine that builds images is busy.
    """
    shutil.copytree(settings.ROOT, folder, ignore=left_out, symlinks=True)
    project = sample.write_project(folder / "include" / "dbt")
    (project / "profiles.yml").unlink()  # as the template is: the profile is made
    dag_file = folder / "dags" / "dbt_dag.py"
    text = (settings.ROOT / "dags" / "dbt_dag.py").read_text()
    text = text.replace('"retries": 2', '"retries": 4').replace("minutes=1", "seconds=5")
    dag_file.write_text(text)
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            path.unlink()
            continue
        if os.getuid() == 0:
            os.chown(path, FOREIGN_UID, FOREIGN_UID)
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Project(folder)


def left_out(folder: str, names: list[str]) -> set[str]:
    """Of the names in a folder of the checkout, those that a clone would not have."""
    place = Path(folder).relative_to(settings.ROOT)
    return {name for name in names if str(place / name) in MADE_HERE or name in CACHES}


def run(
    argv: Sequence[str | Path], env: Mapping[str, str] | None = None, check: bool = True, **options
) -> subprocess.CompletedProcess[str]:
    """A command with both its outputs in `stdout`. Raises AssertionError, with them, on failure."""
    done = subprocess.run(
        [str(part) for part in argv],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    if check and done.returncode:
        raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done


def eventually(fact: Callable[[], bool], seconds: float, otherwise: Callable[[], object]) -> None:
    """Waits until `fact` holds; an API that does not answer yet is no failure."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if fact():
                return
            why = ""
        except (OSError, HTTPException, ValueError, KeyError, AssertionError) as error:
            why = f"{error!r}; "
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s: {why}{otherwise()}")
        time.sleep(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
