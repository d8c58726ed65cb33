"""Wall and CPU seconds of one DAG run, this project beside its peers, in one go.

    make bench-peers            # MODELS="20 50": at both sizes, and how it grows; 50 by default

Every contender runs the same generated dbt project (each model with one test) on the same embedded
Postgres and with the same Airflow settings: LocalExecutor, 8 tasks at a time. Those that take
seconds take turns in one Airflow, as a machine's speed may change within minutes; the others have
one each. All are started before the clock. A first run is a row of its own: this project's starts
the warm dbt, which parses. Those that follow, if it was short, are told as median (least-greatest).
So are first runs of a day: the warm dbt has ended, and the next one finds the parsed manifest.
With a dbt that does nothing only Airflow has work: tasks, their results and assets.
"floor" is how many times the floor's wall time that is: of its first run, or the median of what it
is in each turn that follows; for those that do not take turns with the floor, of its median.
CPU is what all processes of the machine used meanwhile, so nothing else should be at work on it.
Prints a table and a line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from dev.benchmarks import figures
from include.engine import settings
from include.engine.manifest import build
from scripts.local import airflow, celery, ports, postgres, processes
from scripts.local.api import Api
from scripts.local.environment import airflow_environment, load_secrets, metadata_url
from scripts.local.paths import PROJECT, Paths

HERE = Path(__file__).resolve().parent
PARALLELISM = 8
SECONDS = 3 * 3600
LONG = 150  # seconds of a first run that is the only one
FIRST = ", first run"
DAY = ", first run of a day"


@dataclass(frozen=True)
class Contender:
    """`file` is a DAG file of dev/benchmarks/contenders, or the project's own."""

    name: str
    file: str
    dag_id: str
    environment: dict[str, str] = field(default_factory=dict)


NOTHING = {
    "DBT_WARM": "false",
    "DBT_EXECUTABLE": str(HERE / "contenders" / "nothing" / "dbt"),
}
FLOOR = Contender("floor: every command is `true`", "floor.py", "dbt_dag__floor")
OURS = Contender("this project, warm", "dbt_dag.py", "dbt_dag")
WATCHER = Contender(
    "Cosmos WATCHER", "cosmos_dag.py", "dbt_dag__cosmos", {"BENCH_COSMOS": "watcher"}
)
LOCAL = Contender("Cosmos LOCAL", "cosmos_dag.py", "dbt_dag__cosmos", {"BENCH_COSMOS": "local"})
PLAIN = Contender("one BashOperator per dbt command", "plain.py", "dbt_dag__plain")
# Each group has an Airflow, with the environment of all its members.
GROUPS = (
    (FLOOR, OURS, WATCHER),
    (replace(OURS, name="this project, and a dbt that does nothing", environment=NOTHING),),
    (replace(OURS, name="this project, cold", environment={"DBT_WARM": "false"}),),
    (LOCAL,),
    (PLAIN,),
)


def generate(folder: Path, models: int) -> Path:
    """A project of so many models, each of which reads up to two of the layer above."""
    (folder / "models").mkdir(parents=True)
    width = max(1, models // 5)
    tests = []
    for number in range(models):
        above = range(max(0, number - number % width - width), number - number % width)
        parents = sorted(
            {above[number % len(above)], above[-1 - number % len(above)]} if above else []
        )
        refs = " union ".join(
            f"select id from {{{{ ref('m{parent:03d}') }}}}" for parent in parents
        )
        (folder / f"models/m{number:03d}.sql").write_text(refs or "select 1 as id")
        tests.append(
            {"name": f"m{number:03d}", "columns": [{"name": "id", "data_tests": ["not_null"]}]}
        )
    (folder / "models/models.yml").write_text(json.dumps({"models": tests}))
    (folder / "dbt_project.yml").write_text(
        "{name: gen, profile: gen, models: {gen: {+materialized: table}},"
        " flags: {send_anonymous_usage_stats: false}}"
    )
    (folder / "profiles.yml").write_text(
        json.dumps(
            {
                "gen": {
                    "target": "dev",
                    "outputs": {
                        "dev": {
                            "type": "postgres",
                            "host": "{{ env_var('WAREHOUSE_HOST', 'none') }}",
                            "port": 5432,
                            "user": "warehouse",
                            "password": "{{ env_var('DBT_ENV_SECRET_WAREHOUSE_PASSWORD', '') }}",
                            "dbname": "warehouse",
                            "schema": "gen",
                            "threads": 4,
                        }
                    },
                }
            }
        )
    )
    return folder


def prepare(scratch: Path, models: int) -> dict[str, str]:
    """The environment of such a project, whose manifest is built."""
    project = generate(scratch / "gen", models)
    given = {
        "DBT_EXECUTABLE": str(settings.load().dbt_executable),
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_MANIFEST": str(scratch / "manifest" / "manifest.json"),
    }
    build_manifest(given)
    scratch.chmod(0o755)
    return given


def build_manifest(given: dict[str, str]) -> None:
    with contextlib.redirect_stdout(None):
        build.build(settings.load(os.environ | given))


@contextlib.contextmanager
def airflow_of(
    contenders: Sequence[Contender], at: Paths, given: dict[str, str], workers: int = 0
) -> Iterator[list[Api]]:
    """An Airflow whose only DAGs are those of the contenders, read and switched on. With that many
    Celery workers, or else with a LocalExecutor.
    """
    keys = load_secrets(at)
    dags = at.state / "dags"
    shutil.rmtree(dags, ignore_errors=True)
    dags.mkdir(parents=True)
    for contender in contenders:
        source = HERE / "contenders" / contender.file
        shutil.copy(source if source.exists() else PROJECT / "dags" / contender.file, dags)
        given = given | contender.environment
    postgres.start(at, keys, "run")
    try:
        port = ports.free_port(0)
        environment = airflow_environment(os.environ, at, keys, port, "run", os.cpu_count() or 2)
        environment |= given
        environment |= {
            "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "PYTHONPATH": ":".join(
                filter(None, (environment["PYTHONPATH"], os.environ.get("BENCH_PEERS")))
            ),
        }
        if workers:
            environment = celery.environment(environment, at, metadata_url(at, keys), workers)
            celery.start_broker(at, "up")
        if not airflow.is_migrated(at, keys):
            airflow.migrate(at, keys, environment)
        airflow.end_unfinished_runs(at, keys)
        since = datetime.datetime.now(datetime.timezone.utc)
        api = Api(port)
        # With a triggerer: Cosmos' WATCHER defers its tasks to it.
        airflow.start(at, api, environment, "up", workers)
        while len(found := airflow.wait_until_parsed(at, api, since, "up")) < len(contenders):
            time.sleep(0.5)
        api.unpause(*found)
        apis = [Api(port, contender.dag_id) for contender in contenders]
        for one in apis:
            one.token = api.token
        yield apis
    finally:
        airflow.stop(at)
        processes.stop_all_with(f"{at.warm}{os.sep}")
        postgres.stop(at)


def measure(
    contenders: Sequence[Contender], at: Paths, given: dict[str, str], runs: int, workers: int
) -> Iterator[dict]:
    """A row for the first run of each contender's DAG, and one for those that follow, if they are
    short.

    Raises AssertionError if a task failed.
    """
    with airflow_of(contenders, at, given, workers) as apis:
        pairs = list(zip(contenders, apis, strict=True))
        first = [once(*pair, at) for pair in pairs]
        for contender, run in zip(contenders, first, strict=True):
            yield row(f"{contender.name}{FIRST}", [run])
        if max(run["wall"] for run in first) > LONG or not runs:
            return
        yield from take_turns(pairs, at, runs)
        days = [pair for pair in pairs if pair[0] in (FLOOR, OURS)]
        if OURS in contenders:
            yield from take_turns(days, at, runs, day=True)


def take_turns(
    pairs: Sequence[tuple[Contender, Api]], at: Paths, runs: int, day: bool = False
) -> Iterator[dict]:
    """A row for the runs of each contender; of this project's alone if each begins a `day`."""
    contenders = [contender for contender, _ in pairs]
    turns = [[once(*pair, at, day) for pair in pairs] for _ in range(runs)]
    for contender, following in zip(contenders, zip(*turns, strict=True), strict=True):
        if not day or contender is OURS:
            name = contender.name + (DAY if day else "")
            yield row(name, following) | in_turns(following, contenders, turns)


def in_turns(
    runs: Sequence[dict], contenders: Sequence[Contender], turns: Sequence[Sequence[dict]]
) -> dict:
    """How many times the floor of the same turn these runs took, if the floor took turns."""
    if FLOOR not in contenders:
        return {}
    floors = [turn[contenders.index(FLOOR)]["wall"] for turn in turns]
    times = [run["wall"] / floor for run, floor in zip(runs, floors, strict=True)]
    return {"floor": figures.spread(times, 2)}


def once(contender: Contender, api: Api, at: Paths, day: bool = False) -> dict[str, float]:
    """One run of the contender's DAG. If it begins a `day`, the warm dbt is ended before."""
    if day:
        processes.stop_all_with(f"{at.warm}{os.sep}")
    run_id = f"bench_{time.time():.0f}"
    before, began = busy(), time.monotonic()
    api.trigger(run_id)
    while (state := api.run_state(run_id)) not in ("success", "failed"):
        assert time.monotonic() - began < SECONDS, f"{contender.name} goes on"
        time.sleep(0.5)
    wall, cpu = time.monotonic() - began, busy() - before
    states = [task["state"] for task in api.tasks(run_id)]
    assert state == "success", (contender.name, state, states)
    return {"wall": wall, "cpu": cpu, "tasks": len(states)}


def row(name: str, runs: Sequence[dict[str, float]]) -> dict:
    """What the runs took, in seconds."""
    spreads = {key: figures.spread([run[key] for run in runs], 1) for key in ("wall", "cpu")}
    return {"name": name, "tasks": runs[0]["tasks"], **spreads}


def busy() -> float:
    """CPU seconds that the machine has been at work since it started."""
    times = psutil.cpu_times()
    return times.user + times.system


def dbt_build(at: Paths, given: dict[str, str]) -> dict:
    """One `dbt build` of it all, without Airflow."""
    keys = load_secrets(at)
    postgres.start(at, keys, "run")
    try:
        before, began = busy(), time.monotonic()
        subprocess.run(
            [given["DBT_EXECUTABLE"], "build", "--threads", "4"],
            env=os.environ
            | given
            | {
                "WAREHOUSE_HOST": str(at.postgres_socket),
                "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": keys["warehouse"],
            },
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wall, cpu = time.monotonic() - began, busy() - before
        return row("one `dbt build`, no Airflow", [{"wall": wall, "cpu": cpu, "tasks": 0}])
    finally:
        postgres.stop(at)


def compare(models: int, runs: int, only: Sequence[str], workers: int) -> list[dict]:
    """The rows of a project of so many models, shown as they come."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        at = Paths(PROJECT, Path(scratch) / "state")
        given = prepare(Path(scratch), models)
        for group in GROUPS:
            wanted = [c for c in group if not only or any(part in c.name for part in only)]
            for found in measure(wanted, at, given, runs, workers) if wanted else ():
                rows.append({"models": models, **found})
                show(rows[-1], rows)
        rows.append({"models": models, **dbt_build(at, given)})
        show(rows[-1], rows)
    return rows


def show(found: dict, rows: Sequence[dict]) -> None:
    """Prints a row, with how many times the floor it takes where `rows` have that."""
    cells = "".join(f"{figures.shown(found[key], 1):>24}" for key in ("wall", "cpu"))
    floor = FLOOR.name + (FIRST if found["name"].endswith(FIRST) else "")
    walls = {row["name"]: row["wall"]["median"] for row in rows}
    times = f"{found['wall']['median'] / walls[floor]:.2f}" if floor in walls else ""
    if "floor" in found:
        times = figures.shown(found["floor"], 2)
    name = f"{found['name']}, n={found['wall']['n']}"
    print(f"{found['models']:6}{cells}{times:>18}{found['tasks']:6}  {name}", flush=True)


def growth(rows: Sequence[dict], sizes: Sequence[int]) -> dict[str, dict[str, float]]:
    """The exponents of what was measured at each of the sizes."""
    found = {(row["name"], row["models"]): row for row in rows}
    return {
        name: {
            key: figures.exponent(sizes, [found[name, size][key]["median"] for size in sizes])
            for key in ("wall", "cpu")
        }
        for name in dict.fromkeys(row["name"] for row in rows)
        if all((name, size) in found for size in sizes)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[50])
    parser.add_argument("--runs", type=int, default=3, help="after the first one")
    parser.add_argument("--only", nargs="*", default=(), help="parts of the contenders' names")
    parser.add_argument("--workers", type=int, default=0, help="Celery workers, for LocalExecutor")
    options = parser.parse_args()
    # Each task process would compile the DAG file's modules again, 45 ms of CPU: no user has that.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(f"models{'seconds':>24}{'CPU seconds':>24}{'floor':>18} tasks")
    rows = [
        row
        for models in options.models
        for row in compare(models, options.runs, options.only, options.workers)
    ]
    found = {"benchmark": "dag_run", **figures.machine("apache-airflow", "astronomer-cosmos")}
    if len(options.models) > 1:
        found["growth"] = growth(rows, options.models)
        print("grows with the number of models to the power of", found["growth"])
    print(json.dumps({**found, "rows": rows}))


if __name__ == "__main__":
    main()
