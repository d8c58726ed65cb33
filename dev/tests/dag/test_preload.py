"""What a scheduler makes once, so that the tasks which it forks need not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.tests import sample
from include.engine import settings

PLUGIN = settings.ROOT / "plugins" / "dbt_docs.py"

PARSE = """
import sys
from airflow.dag_processing.dagbag import DagBag
assert DagBag(sys.argv[2]).dags
"""

START = """
import runpy, sys
class Job: ...
class TaskRunnerMarker: ...
listener = runpy.run_path(sys.argv.pop())["Listener"]()
sys.argv = ["airflow", *sys.argv[1:]]
listener.on_starting(component=TaskRunnerMarker())
of_engine = lambda: {name for name in sys.modules if name.startswith("include.engine.")}
assert not of_engine(), of_engine()
listener.on_starting(component=Job())
"""

TASK = """
import json
from airflow.dag_processing.dagbag import DagBag
before = of_engine()
(task,) = DagBag(sys.argv[2]).dags["dbt_dag"].tasks
compiled = sys.modules["include.engine.warehouse.project"]._template.cache_info().currsize
print(json.dumps([task.task_id, sorted(of_engine() - before), compiled]))
"""

PROFILES = """
tiny:
  target: dev
  outputs:
    dev: {type: postgres, host: "{{ env_var('A', 'a') }}", user: "{{ env_var('B', 'b') }}"}
"""


def run(code: str, *words: str, **environ: str) -> str:
    """What a process says that was started as `airflow` with these words."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words, str(PLUGIN)],
        cwd=settings.ROOT,
        env=os.environ | sample.environment() | environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1] if done.stdout else ""


@pytest.fixture
def project(tmp_path: Path) -> str:
    (tmp_path / "dbt_project.yml").write_text("{name: tiny, profile: tiny}")
    (tmp_path / "profiles.yml").write_text(PROFILES)
    return str(tmp_path)


def test_a_task_of_a_scheduler_imports_nothing_of_the_engine_and_finds_texts_compiled(project):
    task = {
        "_AIRFLOW_PARSING_CONTEXT_DAG_ID": "dbt_dag",
        "_AIRFLOW_PARSING_CONTEXT_TASK_ID": "model.jaffle_shop.orders",
        "DBT_PROJECT_DIR": project,
        "DBT_PROFILES_DIR": project,
    }
    run(PARSE, "dag-processor", str(sample.DAGS))
    found = json.loads(run(START + TASK, "scheduler", str(sample.DAGS), **task))
    assert found == ["model.jaffle_shop.orders", [], 2]


def test_other_services_import_nothing_of_the_engine():
    assert run(START + "print(of_engine())", "dag-processor") == "set()"


def test_what_is_wrong_with_the_settings_is_left_to_the_tasks():
    """The scheduler starts: the DAG processor and the tasks say what is wrong."""
    assert run(START + "print('started')", "scheduler", DBT_THREADS="many") == "started"
