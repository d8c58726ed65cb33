"""How long planning takes, beyond reading the JSON, and how the plan grows with the project.

    make bench-planning

Prints a table and a line of JSON: seconds are the median of five, with the least and the most.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

from dev.benchmarks import figures, synthetic
from include.engine.manifest import records
from include.engine.plan.records import Options
from include.engine.plan.tasks import plan_tasks

SIZES = ((250, 375), (500, 750), (1000, 1500), (2000, 3000), (4000, 8000))
REPEATS = 5


def main() -> int:
    rows = [measure(models, tests) for models, tests in SIZES]
    print(
        f"{'models':>7}{'tests':>7}{'tasks':>7}{'edges':>7}{'parse s':>9}{'plan s':>9}  (min-max)"
    )
    for row in rows:
        low, high = row["plan_range"]
        print(
            f"{row['models']:>7}{row['tests']:>7}{row['tasks']:>7}{row['edges']:>7}"
            f"{row['parse']:>9.3f}{row['plan']:>9.3f}  ({low:.3f}-{high:.3f})"
        )
    nodes = [row["models"] + row["tests"] for row in rows]
    growth = {
        name: figures.exponent(nodes, [row[name] for row in rows])
        for name in ("parse", "plan", "edges")
    }
    print("grows with the number of nodes to the power of", growth)
    print(
        json.dumps({"benchmark": "planning", **figures.machine(), "rows": rows, "growth": growth})
    )
    return 0


def measure(models: int, tests: int) -> dict:
    """One row: sizes, and seconds to make records of the decoded JSON and to plan them."""
    raw = synthetic.manifest(models, tests)
    read = records.parse_manifest(raw)
    planned = plan_tasks(read, Options())
    parsing = timed(lambda: records.parse_manifest(raw))
    planning = timed(lambda: plan_tasks(read, Options()))
    return {
        "models": models,
        "tests": tests,
        "tasks": len(planned),
        "edges": sum(len(task.upstream) for task in planned),
        "links": sum(len(node.parents) for node in read.nodes.values()),
        "parse": statistics.median(parsing),
        "plan": statistics.median(planning),
        "plan_range": (min(planning), max(planning)),
    }


def timed(work: Callable[[], object]) -> list[float]:
    """Seconds of each of REPEATS calls."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
