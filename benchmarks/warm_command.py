"""Seconds and MB of one dbt command: cold, warm first, warm after, at several project sizes.

    python benchmarks/warm_command.py --sizes 50 1000 4000 --runs 5

Prints a table and one JSON line. Run it with the development environment's Python (it brings the
Postgres), on a quiet machine. "cold" is what a task costs without warm, a dbt whose target folder
is empty; "cold partial" keeps the folder, so that dbt's own partial parsing helps. Wall seconds:
the median of n, minimum and maximum.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.warm.conftest import DBT, make_warm, run_postgres

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
    """`runs` times the same command; wall seconds, and the largest resident MB of the client."""
    walls = []
    for _ in range(runs):
        argv, environment, fresh = warm.command(project, "-q", "run", "--select", "m3", **env)
        if target:
            argv[argv.index(fresh)] = target
        begin = time.perf_counter()
        subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - begin)
    return {
        "n": runs,
        "median": round(statistics.median(walls), 3),
        "min": round(min(walls), 3),
        "max": round(max(walls), 3),
    }


def benchmark(size: int, runs: int, cold_runs: int, postgres: Path, scratch: Path) -> dict:
    project = generate(scratch / f"project_{size}", size)
    warm = make_warm(postgres, scratch)
    kept = scratch / f"target_{size}"
    try:
        result = {"models": size, "warm first": measure(warm, project, 1)}
        measure(warm, project, 2)
        result["warm"] = measure(warm, project, runs)
        result["warm, cache selected"] = measure(
            warm, project, runs, DBT_CACHE_SELECTED_ONLY="true"
        )
        result["warm, no json"] = measure(
            warm, project, runs, DBT_CACHE_SELECTED_ONLY="true", DBT_WRITE_JSON="false"
        )
        status = Path(f"/proc/{warm.parents()[0]}/status").read_text()
        result["parent MB"] = int(status.split("VmRSS:")[1].split()[0]) // 1024
        result["cold"] = measure(warm, project, cold_runs, DBT_WARM="false")
        measure(warm, project, 1, kept, DBT_WARM="false")
        result["cold partial"] = measure(warm, project, cold_runs, kept, DBT_WARM="false")
    finally:
        warm.stop()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 1000, 4000])
    parser.add_argument("--runs", type=int, default=7, help="of each warm command")
    parser.add_argument("--cold-runs", type=int, default=3)
    options = parser.parse_args()
    results = []
    with run_postgres() as postgres, tempfile.TemporaryDirectory(dir="/tmp") as scratch:
        for size in options.sizes:
            result = benchmark(size, options.runs, options.cold_runs, postgres, Path(scratch))
            results.append(result)
            print(f"\n{size} models, parent {result['parent MB']} MB")
            for name, figures in result.items():
                if isinstance(figures, dict):
                    spread = "{min:.3f} to {max:.3f}, n={n}".format(**figures)
                    print(f"  {name:22} {figures['median']:8.3f} s  ({spread})")
    version = subprocess.run([DBT, "--version"], capture_output=True, text=True).stdout.split()
    print(json.dumps({
        "benchmark": "warm_command", "date": datetime.date.today().isoformat(),
        "dbt": next((w for w in version if w[:1].isdigit()), ""), "cpus": os.cpu_count(),
        "load": os.getloadavg()[0], "machine": platform.platform(), "results": results,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
