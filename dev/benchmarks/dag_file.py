"""CPU seconds, bytes and MB of a DAG file, beside its peers: parsed and serialized as by the DAG
processor, and parsed as by the process of one task.

    make bench-file

Each measurement is a process of its own that has imported Airflow and the standard operators
before the clock. "imports" are those that the file adds. This project's first parse of a manifest
makes the plan; those that follow, and task processes, find it. Contenders take turns, so that what
else the machine does meets them all. Needs BENCH_PEERS, the folder of Cosmos' packages. Prints a
table and a line of JSON: the median of n, least and greatest.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dev.benchmarks import figures, synthetic
from include.engine.manifest import staleness
from include.engine.plan import cache
from include.engine.plan.tasks import Options

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FLOOR = "floor: as many bare operators"
FIRST = "this project, first parse"
CONTENDERS = {
    FLOOR: HERE / "contenders" / "bare.py",
    FIRST: ROOT / "dags" / "dbt_dag.py",
    "this project": ROOT / "dags" / "dbt_dag.py",
    "Cosmos, from the manifest": HERE / "contenders" / "cosmos_dag.py",
    "one BashOperator per dbt command": HERE / "contenders" / "plain.py",
}
SECONDS = 60  # spent on a contender of one size, after which it is not measured again
LIMIT = 300  # seconds of one measurement, after which it is ended
FIELDS = ("imports", "parse", "serialize", "bytes", "MB", "task parse", "task MB")


def look(file: Path, task: str | None) -> dict:
    """What this process needs to read the DAG file, and to serialize its DAG if `task` is None."""
    import airflow.providers.standard.operators.bash  # noqa: F401
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    import_what(file)
    imported = time.process_time()
    bag = DagBag(str(file))
    parsed = time.process_time()
    assert bag.import_errors == {}, bag.import_errors
    (dag,) = bag.dags.values()
    found = {"imports": imported - began, "parse": parsed - imported}
    if task is None:
        data = json.dumps(DagSerialization.to_dict(dag))
        found |= {"serialize": time.process_time() - parsed, "bytes": len(data)}
        found["a task"] = dag.dag_id, dag.task_ids[len(dag.task_ids) // 2]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {"MB": (peak - before) / 1024, "tasks": len(dag.task_ids)}


def import_what(file: Path) -> None:
    """Import the modules that the file imports, so that the parse is the file's own work."""
    lines = ast.parse(file.read_text()).body
    imports = [line for line in lines if isinstance(line, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), file, "exec"), {})


def measure(name: str, folder: Path) -> dict:
    """A contender's figures; its manifest lies in `folder`.

    Raises TimeoutExpired if one of its processes takes longer than LIMIT.
    """
    if name == FIRST:
        (folder / cache.NAME).unlink(missing_ok=True)
        return process(name, folder)
    whole = process(name, folder)
    task = process(name, folder, whole["a task"])
    return whole | {"task parse": task["parse"], "task MB": task["MB"]}


def process(name: str, folder: Path, task: Sequence[str] = ()) -> dict:
    """One process that looks at a contender's DAG file, as that of `task` if there is one: the ids
    of a DAG and of a task in it.
    """
    environment = os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": str(2 * LIMIT),
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "false",
        "BENCH_COSMOS": "local",
        "BENCH_TASKS": (folder / "tasks").read_text(),
        "DBT_MANIFEST": str(folder / "manifest.json"),
        "DBT_PROJECT_DIR": str(folder / "project"),
        "DBT_PROFILES_DIR": str(folder / "project"),
        "PYTHONPATH": f"{ROOT}:{os.environ['BENCH_PEERS']}",
    }
    if task:
        environment |= {
            "_AIRFLOW_PARSING_CONTEXT_DAG_ID": task[0],
            "_AIRFLOW_PARSING_CONTEXT_TASK_ID": task[1],
        }
    argv = [sys.executable, "-m", "benchmarks.dag_file", "--look", str(CONTENDERS[name])]
    argv += ["--task", task[1]] if task else []
    done = subprocess.run(
        argv, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured(names: Sequence[str], folder: Path, models: int, runs: int) -> Iterator[dict]:
    """The figures of each contender at one size; none (but "over") of one that took too long."""
    found: dict[str, list[dict]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0.0)
    for name in names * runs:
        began = time.monotonic()
        if spent[name] < SECONDS:
            with suppress(subprocess.TimeoutExpired):
                found[name].append(measure(name, folder))
            spent[name] += time.monotonic() - began
    for name, looks in found.items():
        figured = {
            field: figures.spread([look[field] for look in looks])
            for field in FIELDS
            if looks and field in looks[0]
        }
        about = {"tasks": looks[0]["tasks"], "n": len(looks)} if looks else {"over": LIMIT}
        yield {"name": name, "models": models, **about, **figured}


def project(folder: Path, models: int) -> Path:
    """A folder with a manifest of so many models and twice as many tests, the dbt project that it
    would be of, and the number of tasks that are made of it.
    """
    (folder / "project" / "models").mkdir(parents=True)
    for number in range(models):
        (folder / "project" / "models" / f"m{number:05d}.sql").write_text("select 1 as id")
    (folder / "project" / "dbt_project.yml").write_text("{name: big, profile: gen}")
    (folder / "project" / "profiles.yml").write_text(
        "{gen: {target: dev, outputs: {dev: {type: postgres}}}}"
    )
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(synthetic.manifest(models, 2 * models)))
    staleness.write_list(manifest, staleness.project_files(folder / "project"))
    (dag,) = cache.load_plan(manifest, Options())
    (folder / "tasks").write_text(str(len(dag.tasks) + 1))  # and run_results
    return folder


def show(one: dict) -> None:
    cells = (
        f"{figures.shown(one[field], 0 if field in ('bytes', 'MB', 'task MB') else 2):>27}"
        if field in one
        else " " * 27
        for field in FIELDS
    )
    about = f"n={one['n']}" if "n" in one else f"> {one['over']} s"
    print(f"{one['models']:6}{one.get('tasks', ''):7} {''.join(cells)}  {one['name']}, {about}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 1000, 4000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="parts of the contenders' names")
    parser.add_argument("--look", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        print(json.dumps(look(options.look, options.task)))
        return
    wanted = options.only or [""]
    names = [name for name in CONTENDERS if any(part in name for part in wanted)]
    print(f"models  tasks {''.join(f'{field:>27}' for field in FIELDS)}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for models in options.sizes:
            folder = project(Path(scratch) / str(models), models)
            for one in measured(names, folder, models, options.runs):
                rows.append(one)
                show(one)
    print("\ngrows with the number of models to the power of")
    growth = {name: growths(rows, name) for name in names} if len(options.sizes) > 1 else {}
    for name, found in growth.items():
        print(f"  {name}: {found}")
    sys.path.append(os.environ["BENCH_PEERS"])  # for Cosmos' version
    about = figures.machine("apache-airflow", "astronomer-cosmos")
    print(json.dumps({"benchmark": "dag_file", **about, "rows": rows, "growth": growth}))


def growths(rows: list[dict], name: str) -> dict[str, float]:
    """The exponents of one contender's figures; of those that are too small to be seen, none."""
    mine = [one for one in rows if one["name"] == name and "n" in one]
    sizes = [one["models"] for one in mine]
    medians = {
        field: [one[field]["median"] for one in mine]
        for field in FIELDS
        if field != "imports" and len(mine) > 1 and field in mine[0]
    }
    return {f: figures.exponent(sizes, m) for f, m in medians.items() if min(m) > 0.01}


if __name__ == "__main__":
    main()
