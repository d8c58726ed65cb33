"""Seconds, CPU seconds and MB of one dbt command, cold and warm, at several project sizes.

    make bench-warm

"warm first" starts the server, parses the project and runs; "warm" are those that follow, and
"warm in a task" those with the environment of run/operator.py. "cold" is a dbt whose target
folder is empty; "cold partial" keeps the folder, so that dbt's own partial parsing helps; "cold
kept" is a task of a pod, which takes the manifest that another process has parsed. These three take
turns. "warm first kept" starts another server, with that manifest. CPU is that of the client and of
the worker that serves it (and, for the first, of the server), MB what they have for themselves: the
worker shares the rest with the server. A worker that has run a command runs the next one; of one
that ends, 20 ms of CPU may be missing.
Prints a table and a line of JSON: the median of n, least and greatest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from dev.benchmarks import figures
from dev.tests.postgres import run_postgres
from dev.tests.warm.conftest import DBT, make_warm

PROFILES = """
gen:
  target: dev
  outputs:
    dev: {type: postgres, host: "{{ env_var('PGHOST') }}", port: 5432, user: postgres,
          password: "", dbname: postgres, schema: gen, threads: 1}
"""
SETTINGS = """
name: gen
profile: gen
models: {gen: {+materialized: table}}
flags: {send_anonymous_usage_stats: false}
"""
FIELDS = ("seconds", "CPU", "MB")
IN_A_TASK = {"DBT_POPULATE_CACHE": "false", "DBT_LOG_LEVEL_FILE": "error"}


def generate(folder: Path, models: int) -> Path:
    """A project of so many models in binary trees, each with a description and a test."""
    for start in range(0, models, 50):
        group = folder / "models" / f"group_{start // 50}"
        group.mkdir(parents=True)
        names = range(start, min(start + 50, models))
        for i in names:
            source = f"select id from {{{{ ref('m{i // 2}') }}}}" if i >= 5 else "select 1 as id"
            (group / f"m{i}.sql").write_text(source)
        entries = (
            f"  - {{name: m{i}, description: d, columns: [{{name: id, data_tests: [not_null]}}]}}\n"
            for i in names
        )
        (group / "models.yml").write_text("models:\n" + "".join(entries))
    (folder / "profiles.yml").write_text(PROFILES)
    (folder / "dbt_project.yml").write_text(SETTINGS)
    return folder


def measure(warm, project: Path, runs: int, target: Path | None = None, **env) -> dict:
    """What `runs` times the same command cost."""
    costs = [once(warm, project, target, env) for _ in range(runs)]
    return {name: figures.spread([cost[name] for cost in costs]) for name in FIELDS}


def once(warm, project: Path, target: Path | None, env: dict) -> dict[str, float]:
    argv, environment, _ = warm.command(
        project, "-q", "run", "--select", "m3", target=target, **env
    )
    servers = warm.servers()
    before = {pid: cpu_seconds(pid) for server in servers for pid in _child_processes(server)}
    used, own = {}, [0.0]
    began = time.perf_counter()
    client = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL)
    while not (ended := os.wait4(client.pid, os.WNOHANG))[0]:
        time.sleep(0.02)
        for pid in _child_processes(servers[0]) if servers else warm.processes():
            with contextlib.suppress(OSError):  # it has just ended
                used[pid] = cpu_seconds(pid) - before.get(str(pid), 0)
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                own.append(int(rollup.split("Private_Dirty:")[1].split()[0]) / 1024)
    seconds = time.perf_counter() - began
    for pid in used:
        with contextlib.suppress(OSError):
            used[pid] = cpu_seconds(pid) - before.get(str(pid), 0)
    client.returncode = os.waitstatus_to_exitcode(ended[1])
    assert client.returncode == 0, argv
    cpu = ended[2].ru_utime + ended[2].ru_stime + sum(used.values())
    return {"seconds": seconds, "CPU": cpu, "MB": ended[2].ru_maxrss / 1024 + max(own)}


def cpu_seconds(pid: int | str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _child_processes(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def benchmark(size: int, runs: int, cold_runs: int, postgres: Path, scratch: Path) -> dict:
    """The figures of one size."""
    project = generate(scratch / f"project_{size}", size)
    warm = make_warm(postgres, scratch)
    try:
        result = {"warm first": measure(warm, project, 1)}
        measure(warm, project, 3)
        result["warm"] = measure(warm, project, runs)
        result["warm in a task"] = measure(warm, project, runs, **IN_A_TASK)
        status = Path(f"/proc/{warm.servers()[0]}/status").read_text()
        result["server MB"] = int(status.split("VmRSS:")[1].split()[0]) // 1024
        result |= measure_cold(warm, project, cold_runs, scratch / str(size))
    finally:
        warm.stop()
    another = make_warm(postgres, scratch)
    try:
        given = {"DBT_MANIFEST_CACHE": str(scratch / str(size) / "parsed")}
        result["warm first kept"] = measure(another, project, 1, **given)
    finally:
        another.stop()
    return {"models": size, **result}


def measure_cold(warm, project: Path, runs: int, folder: Path) -> dict:
    """What a command without a server costs, in three ways that take turns."""
    plain = {**IN_A_TASK, "DBT_WARM": "false"}
    pod = {**IN_A_TASK, "AIRFLOW_IS_K8S_EXECUTOR_POD": "True"}
    ways = {
        "cold": (None, plain),
        "cold partial": (folder / "target", plain),
        "cold kept": (None, pod | {"DBT_MANIFEST_CACHE": str(folder / "parsed")}),
    }
    for name in ("cold partial", "cold kept"):  # the first of these parses
        once(warm, project, *ways[name])
    turns = [{name: once(warm, project, *way) for name, way in ways.items()} for _ in range(runs)]
    return {
        name: {field: figures.spread([turn[name][field] for turn in turns]) for field in FIELDS}
        for name in ways
    }


def show(result: dict) -> None:
    print(f"\n{result['models']} models, server {result['server MB']} MB")
    for name, cost in result.items():
        if isinstance(cost, dict):
            cells = "".join(
                f"{figures.shown(cost[field], 0 if field == 'MB' else 2):>24}" for field in FIELDS
            )
            print(f"  {name:16}{cells}  n={cost['seconds']['n']}", flush=True)


def growth(results: list[dict]) -> dict[str, dict[str, float]]:
    """The exponents of each kind of command."""
    sizes = [result["models"] for result in results]
    kinds = [name for name, cost in results[0].items() if isinstance(cost, dict)]
    return {
        kind: {
            field: figures.exponent(sizes, [result[kind][field]["median"] for result in results])
            for field in FIELDS
        }
        for kind in kinds
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 1000, 4000])
    parser.add_argument("--runs", type=int, default=7, help="of each warm command")
    parser.add_argument("--cold-runs", type=int, default=3)
    options = parser.parse_args()
    results = []
    print(" " * 18 + "".join(f"{field:>24}" for field in FIELDS))
    with run_postgres() as postgres, tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        for size in options.sizes:
            results.append(
                benchmark(size, options.runs, options.cold_runs, postgres, Path(scratch))
            )
            show(results[-1])
    grown = growth(results) if len(results) > 1 else {}
    print("\ngrows with the number of models to the power of")
    for kind, found in grown.items():
        print(f"  {kind}: {found}")
    dbt = subprocess.run([DBT, "--version"], capture_output=True, text=True).stdout.split()
    about = {"dbt": next((word for word in dbt if word[:1].isdigit()), ""), **figures.machine()}
    print(json.dumps({"benchmark": "warm_command", **about, "results": results, "growth": grown}))


if __name__ == "__main__":
    main()
