"""`dbt build` is the oracle: the plan's tasks do what it does, over generated projects.

    ORACLE_PROJECTS=200 pytest dev/tests/oracle    # how many projects; 24 by default
    ORACLE_SEED=17 pytest dev/tests/oracle         # one of them

A project is built once by `dbt build` and once or more by the plan's own commands, task by task, as
Airflow would run them, in orders that the edges allow. See worker.py for what is compared and
projects.py for what the projects hold.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

from dev.tests.oracle import projects
from dev.tests.oracle.conftest import dbt_executable
from include.engine.manifest import records
from include.engine.plan.records import Options
from include.engine.plan.tasks import plan_tasks


def test_the_plan_does_what_dbt_build_does(seed: int, reports) -> None:
    report = reports[seed]
    lines = [f"  {problem}" for problem in report["problems"]]
    facts = {k: report.get(k) for k in ("features", "subset", "unit_tests", "faults", "statuses")}
    assert not lines, "\n".join(
        [f"seed {seed} {facts}", *lines, f"reproduce: ORACLE_SEED={seed} pytest dev/tests/oracle"]
    )


def test_bash_and_the_dbt_command_line_run_exactly_the_tests_of_a_task(
    postgres: Path, tmp_path: Path
) -> None:
    """The same commands as a person would paste them, for names that a shell would read."""
    projects.generate(12, tmp_path, ["nasty_tests"])
    environment = {
        "PATH": f"{dbt_executable().parent}:{os.environ['PATH']}",
        "ORACLE_HOST": str(postgres),
        "ORACLE_DATABASE": "postgres",
    }

    def bash(command: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    bash("dbt run")
    found = records.load_manifest(tmp_path / "target" / "manifest.json")
    for task in plan_tasks(found, Options()):
        if task.kind == "test":
            bash(f"dbt {shlex.join(task.argv)}")
            results = json.loads((tmp_path / "target" / "run_results.json").read_bytes())["results"]
            assert sorted(result["unique_id"] for result in results) == sorted(task.nodes)
