"""What runs of a large project take beside the floor of the same shape, and what grows by them.

    make bench-size                             # MODELS="500 1000 2000", hours
    make bench-size FLOOR=1 MODELS=500          # beside the floor: each of its tasks parses the DAG
    make bench-size MODELS=50 RUNS=30           # many runs in a row
    make bench-size RUNS=0                      # the pages alone, minutes

The projects, the floor and the settings of Airflow are those of dag_run.py. The floor and this
project take turns in one Airflow. For each run:

- seconds, CPU seconds of the machine, and those of the processes that go on, by kind,
- the database of Airflow before and after it, in MB,
- the most memory of each kind of process, in MB, without what processes share (PSS, Linux),
- processes and open files of each kind after it, files in DBT_RUNS and in the temporary files,
- seconds of the task `run_results`.

Then, for each size: what the API server takes for the data of Airflow's graph, how long until pages
show what they are for, in a real browser, and how long until a new model is in the UI. Prints each
as it comes, and a line of JSON. `--uncompressed` saves DAGs as Airflow does by default. Then the
graph of 1,000 models takes 8 GB, and that of 2,000 more than 23.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request

import psutil

from dev.benchmarks import dag_run, figures
from dev.tests.browser.picture import chromium
from scripts.local import airflow, postgres, processes
from scripts.local.api import Api
from scripts.local.environment import load_secrets
from scripts.local.paths import PROJECT, Paths

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE = 120.0  # seconds until a DAG or a page is there
UNCOMPRESSED = {"AIRFLOW__CORE__COMPRESS_SERIALIZED_DAGS": "False"}
NEW = "a_new_model"


class Memory(threading.Thread):
    """The most memory of each kind of process, in MB, looked at every few seconds."""

    def __init__(self, at: Paths, every: float = 5.0) -> None:
        super().__init__(daemon=True)
        self.at, self.every = at, every
        self.most: Counter[str] = Counter()
        self.ended = threading.Event()

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def run(self) -> None:
        goes_on = True
        while goes_on:
            goes_on = not self.ended.wait(self.every)
            self.most |= count_by_kind(self.at, lambda p: p.memory_full_info().pss >> 20)


def own_processes(at: Paths) -> Iterator[tuple[str, psutil.Process]]:
    """The processes of this Airflow, with the kind of each."""
    with contextlib.suppress(psutil.Error):
        for record in processes.recorded(at):
            root = psutil.Process(record.pid)
            yield record.name, root
            kind = "executor and tasks" if record.name == airflow.SCHEDULER else record.name
            yield from ((kind, child) for child in root.children(recursive=True))
    for process in psutil.process_iter(["cmdline"]):
        if any(word.startswith(f"{at.warm}{os.sep}") for word in process.info["cmdline"] or ()):
            yield "warm dbt", process


def count_by_kind(at: Paths, number: Callable[[psutil.Process], float]) -> Counter[str]:
    """The sum of that number of each process, by kind."""
    found: Counter[str] = Counter()
    for kind, process in own_processes(at):
        with contextlib.suppress(psutil.Error):
            found[kind] += number(process)
    return found


def cpu_seconds(process: psutil.Process) -> float:
    """Those of the process, and of the children that it has waited for."""
    return sum(process.cpu_times()[:4])


def megabytes(at: Paths, database: str) -> float:
    with postgres.cursor(at, load_secrets(at), "postgres") as ask:
        ask.execute("select pg_database_size(%s)", (database,))
        return round(ask.fetchone()[0] / 2**20, 1)


def one_run(contender: dag_run.Contender, api: Api, at: Paths, given: Mapping[str, str]) -> dict:
    """What one run took, and what it left."""
    before, cpu = megabytes(at, "airflow"), count_by_kind(at, cpu_seconds)
    with Memory(at) as memory:
        found = dag_run.once(contender, api, at)
    time.sleep(4)  # workers of the warm dbt wait for three seconds
    cpu = count_by_kind(at, cpu_seconds) - cpu
    return {
        "wall": round(found["wall"], 1),
        "cpu": round(found["cpu"], 1),
        "cpu by kind": {kind: round(seconds, 1) for kind, seconds in cpu.items()},
        "tasks": found["tasks"],
        "database": [before, megabytes(at, "airflow")],
        "memory": dict(memory.most),
        "processes": dict(count_by_kind(at, lambda _: 1)),
        "open files": dict(count_by_kind(at, psutil.Process.num_fds)),
        "files of runs": count_files(Path(given["DBT_RUNS"])),
        "temporary files": count_files(Path(given["TMPDIR"])),
        "run_results": results_seconds(api),
    }


def count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def results_seconds(api: Api) -> float | None:
    """Seconds of the last run's task `run_results`; None where there is none."""
    path = f"/api/v2/dags/{api.dag_id}/dagRuns?order_by=-id&limit=1"
    (run,) = api.call("GET", path)["dag_runs"]
    for task in api.tasks(run["dag_run_id"]):
        if task["task_id"] == "run_results":
            began, ended = (
                datetime.fromisoformat(task[key].replace("Z", "+00:00"))
                for key in ("start_date", "end_date")
            )
            return round((ended - began).total_seconds(), 2)
    return None


def until_new_model(api: Api, given: dict[str, str]) -> dict:
    """Seconds to build the manifest with one more model, and then until its task is in the API."""
    Path(given["DBT_PROJECT_DIR"], "models", f"{NEW}.sql").write_text("select 1 as id")
    began = time.monotonic()
    dag_run.build_manifest(given)
    built = time.monotonic()
    api.parse_again()  # the DAG file is read by its interval: here, when it is asked for
    while not any(NEW in name for name in task_ids(api)):
        assert time.monotonic() - built < PATIENCE, "Airflow does not read the new manifest"
        time.sleep(0.5)
    return {"build": round(built - began, 1), "until there": round(time.monotonic() - built, 1)}


def task_ids(api: Api) -> list[str]:
    tasks = api.call("GET", f"/api/v2/dags/{api.dag_id}/tasks")["tasks"]
    return [task["task_id"] for task in tasks]


def graph_data(api: Api, at: Paths) -> dict:
    """Seconds of one request for the data of the graph, and the most memory of the API server."""
    path = f"/ui/structure/structure_data?dag_id={api.dag_id}"
    request = Request(api.url + path, headers={"Authorization": f"Bearer {api.token}"})
    with Memory(at, 0.2) as memory:
        began = time.monotonic()
        with api.open(request, timeout=PATIENCE) as answer:
            answer.read()
        seconds = round(time.monotonic() - began, 1)
    return {"seconds": seconds, "memory": memory.most[airflow.API_SERVER]}


def pages(api: Api) -> dict[str, float | None]:
    """Seconds until each page shows what it is for, in a new browser; None if it takes too long."""
    dag = f"/dags/{api.dag_id}"
    task = next(name for name in task_ids(api) if name.startswith("model."))
    grid, graph = "[data-testid^='grid-']", ".react-flow__node"
    shown = {
        "grid": (dag, "", grid),
        "this project's page of the DAG": (f"/dbt{dag}", "", "h1"),
        "this project's page of a task": (f"/dbt{dag}/tasks/{task}", "", "h1"),
        "graph": (dag, 'button[aria-label*="raph"]', graph),  # last: it may go on for minutes
    }
    with chromium() as browser:
        return {name: seconds_to_show(browser, api.url, *what) for name, what in shown.items()}


def seconds_to_show(
    browser: Browser, url: str, path: str, button: str, element: str
) -> float | None:
    """Seconds until the page, or what a click on its button opens, has that element."""
    from playwright.sync_api import TimeoutError  # which chromium() has found

    context = browser.new_context(base_url=url, viewport={"width": 1400, "height": 860})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    try:
        began = time.monotonic()
        page.goto(path, wait_until="commit")
        if button:
            page.locator(button).first.wait_for()
            began = time.monotonic()
            page.locator(button).first.click()
        page.locator(element).first.wait_for()
        return round(time.monotonic() - began, 1)
    except TimeoutError:
        return None
    finally:
        context.close()


def measure(models: int, runs: int, floor: bool, given: Mapping[str, str]) -> dict:
    """All figures of a project of so many models, printed as they come."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        at = Paths(PROJECT, Path(scratch) / "state")
        temporary = Path(scratch) / "tmp"
        temporary.mkdir()
        given = {
            **dag_run.prepare(Path(scratch), models),
            "DBT_RUNS": str(Path(scratch) / "runs"),
            "TMPDIR": str(temporary),
            **given,
        }
        found: dict = {"models": models, "runs": []}
        contenders = (dag_run.FLOOR, dag_run.OURS) if floor else (dag_run.OURS,)
        with dag_run.airflow_of(contenders, at, given) as apis:
            for _ in range(runs):
                for contender, api in zip(contenders, apis, strict=True):
                    run = {"name": contender.name, **one_run(contender, api, at, given)}
                    found["runs"].append(run)
                    print(json.dumps({"models": models, **run}), flush=True)
            for name, look in (
                ("graph data", lambda: graph_data(apis[-1], at)),
                ("pages", lambda: pages(apis[-1])),
                ("new model", lambda: until_new_model(apis[-1], given)),
            ):
                found[name] = look()
                print(json.dumps({"models": models, name: found[name]}), flush=True)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--runs", type=int, default=1, help="of each contender")
    parser.add_argument("--floor", action="store_true", help="runs of the floor, too")
    parser.add_argument("--uncompressed", action="store_true", help="DAGs as Airflow saves them")
    options = parser.parse_args()
    # Each task process would compile the DAG file's modules again: no user has that.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    given = UNCOMPRESSED if options.uncompressed else {}
    sizes = [measure(models, options.runs, options.floor, given) for models in options.models]
    print(json.dumps({"benchmark": "size", **figures.machine("apache-airflow"), "sizes": sizes}))


if __name__ == "__main__":
    main()
