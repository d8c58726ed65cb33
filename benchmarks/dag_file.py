"""CPU seconds, bytes and MB of a DAG file, beside its peers: parsed and serialized as by the DAG
processor, and parsed as by the process of one task.

    make bench-dag-file          # SIZES="50 1000 4000"

Each measurement is a process of its own that has imported Airflow and the standard operators
before the clock. "imports" are those that the file adds. This project's first parse of a manifest
makes the plan; those that follow, and task processes, find it. Needs BENCH_PEERS, the folder of
Cosmos' packages. Prints a table and a line of JSON: the median of n, least and greatest.
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
from pathlib import Path

from benchmarks import figures, synthetic

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CONTENDERS = {
    "this project, first parse": ROOT / "dags" / "dbt_dag.py",
    "this project": ROOT / "dags" / "dbt_dag.py",
    "Cosmos, from the manifest": HERE / "contenders" / "cosmos_dag.py",
    "one BashOperator per dbt command": HERE / "contenders" / "plain.py",
}
SECONDS = 60  # spent on one figure, after which it is not measured again
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
    dag = bag.dags["dbt_dag"]
    found = {"imports": imported - began, "parse": parsed - imported}
    if task is None:
        data = json.dumps(DagSerialization.to_dict(dag))
        found |= {"serialize": time.process_time() - parsed, "bytes": len(data)}
        found["a task"] = dag.task_ids[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {"MB": (peak - before) / 1024, "tasks": len(dag.task_ids)}


def import_what(file: Path) -> None:
    """Import the modules that the file imports, so that the parse is the file's own work."""
    lines = ast.parse(file.read_text()).body
    imports = [line for line in lines if isinstance(line, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), file, "exec"), {})


def measure(name: str, folder: Path, task: str | None = None) -> dict:
    """One process that looks at a contender's DAG file; its manifest lies in `folder`."""
    if name == "this project, first parse":
        (folder / "plan.jsonl").unlink(missing_ok=True)
    environment = os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
        "BENCH_COSMOS": "local",
        "DBT_MANIFEST": str(folder / "manifest.json"),
        "DBT_PROJECT_DIR": str(folder),
        "DBT_PROFILES_DIR": str(folder),
        "PYTHONPATH": f"{ROOT}:{os.environ['BENCH_PEERS']}",
    }
    if task:
        environment |= {
            "_AIRFLOW_PARSING_CONTEXT_DAG_ID": "dbt_dag",
            "_AIRFLOW_PARSING_CONTEXT_TASK_ID": task,
        }
    argv = [sys.executable, "-m", "benchmarks.dag_file", "--look", str(CONTENDERS[name])]
    argv += ["--task", task] if task else []
    done = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, folder: Path, models: int, runs: int) -> dict:
    """The figures of one contender at one size."""
    whole = repeated(runs, name, folder)
    found = {field: figures.spread([one[field] for one in whole]) for field in FIELDS[:5]}
    if "first parse" not in name:
        tasks = repeated(runs, name, folder, whole[0]["a task"])
        found["task parse"] = figures.spread([one["parse"] for one in tasks])
        found["task MB"] = figures.spread([one["MB"] for one in tasks])
    return {"name": name, "models": models, "tasks": whole[0]["tasks"], **found}


def repeated(runs: int, *what) -> list[dict]:
    """So many measurements, or fewer if one of them takes long."""
    began, found = time.monotonic(), []
    while len(found) < runs and time.monotonic() - began < SECONDS:
        found.append(measure(*what))
    return found


def project(folder: Path, models: int) -> Path:
    """A folder with a manifest of so many models and twice as many tests."""
    (folder / "models").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(synthetic.manifest(models, 2 * models)))
    (folder / "dbt_project.yml").write_text("{name: big, profile: gen}")
    (folder / "profiles.yml").write_text("{gen: {target: dev, outputs: {dev: {type: postgres}}}}")
    return folder


def show(one: dict) -> None:
    cells = (
        f"{figures.shown(one[field], 0 if field in ('bytes', 'MB', 'task MB') else 2):>27}"
        if field in one
        else " " * 27
        for field in FIELDS
    )
    print(
        f"{one['models']:6}{one['tasks']:7} {''.join(cells)}  {one['name']}, n={one['parse']['n']}",
        flush=True,
    )


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
            for name in names:
                rows.append(row(name, folder, models, options.runs))
                show(rows[-1])
    print("\ngrows with the number of models to the power of")
    growth = {name: growths(rows, name) for name in names} if len(options.sizes) > 1 else {}
    for name, found in growth.items():
        print(f"  {name}: {found}")
    about = figures.machine("apache-airflow", "astronomer-cosmos")
    print(json.dumps({"benchmark": "dag_file", **about, "rows": rows, "growth": growth}))


def growths(rows: list[dict], name: str) -> dict[str, float]:
    """The exponents of one contender's figures; of those that are too small to be seen, none."""
    mine = [one for one in rows if one["name"] == name]
    sizes = [one["models"] for one in mine]
    medians = {
        field: [one[field]["median"] for one in mine]
        for field in FIELDS
        if field in mine[0] and field != "imports"
    }
    return {f: figures.exponent(sizes, m) for f, m in medians.items() if min(m) > 0.01}


if __name__ == "__main__":
    main()
