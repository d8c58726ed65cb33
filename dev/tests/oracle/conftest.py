"""A Postgres of its own and dbt processes for the oracle test.

`ORACLE_PROJECTS` says how many projects (default 24), `ORACLE_SEED` which one alone, and
`ORACLE_WORKERS` how many run at a time (default: as many as there are processors).
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.tests.postgres import run_postgres

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[2]


def seeds() -> list[int]:
    if alone := os.environ.get("ORACLE_SEED"):
        return [int(seed) for seed in alone.split(",")]
    return list(range(int(os.environ.get("ORACLE_PROJECTS", "24"))))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds())


def dbt_executable() -> Path:
    return Path(os.environ.get("DBT_EXECUTABLE") or REPO / ".dbt/venv/bin/dbt")


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A folder with a short path: that of a Unix socket is limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="oracle-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    with run_postgres() as folder:
        yield folder


class Reports:
    """The workers' reports: all seeds are handed out at once, each report is waited for."""

    def __init__(self, host: Path, scratch: Path, wanted: list[int]) -> None:
        self.todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for seed in wanted:
            self.todo.put(seed)
        self.reports: dict[int, dict] = {}
        self.news = threading.Condition()
        count = int(os.environ.get("ORACLE_WORKERS") or os.cpu_count() or 1)
        self.workers = [
            threading.Thread(target=self._work, args=(host, scratch, number), daemon=True)
            for number in range(min(count, len(wanted)))
        ]
        for worker in self.workers:
            worker.start()

    def __getitem__(self, seed: int) -> dict:
        with self.news:
            self.news.wait_for(lambda: seed in self.reports, timeout=900)
            return self.reports.get(seed) or {"problems": ["no report within 900 seconds"]}

    def _work(self, host: Path, scratch: Path, number: int) -> None:
        database = f"oracle{number}"
        command = [dbt_executable().parent / "python", "-W", "ignore", HERE / "worker.py"]
        process = subprocess.Popen(
            [*command, host, database, scratch / database],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(log := (scratch / f"{database}.log")).open("w"),
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("DBT_")},
        )
        while True:
            try:
                seed = self.todo.get_nowait()
            except queue.Empty:
                break
            process.stdin.write(json.dumps({"seed": seed}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            report = json.loads(line) if line else {"problems": [f"worker: {log.read_text()}"]}
            with self.news:
                self.reports[seed] = report
                self.news.notify_all()
        process.stdin.close()
        process.wait()


@pytest.fixture(scope="session")
def reports(postgres: Path, scratch: Path) -> Reports:
    if not dbt_executable().exists():
        pytest.skip(f"No dbt at {dbt_executable()}. Install it with: make manifest")
    return Reports(postgres, scratch, seeds())


def pytest_terminal_summary(terminalreporter) -> None:
    done = [r for r in terminalreporter.getreports("passed") if "dev/tests/oracle/" in r.nodeid]
    if count := sum("[" in report.nodeid for report in done):
        terminalreporter.write_line(f"oracle: {count} projects as `dbt build` does them")
