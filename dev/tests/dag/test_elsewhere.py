"""The DAG in other places than a checkout or the image: started without Docker, and in a bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.tests import sample
from include.engine import settings

HERE = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
"""What another process has in its environment that knows nothing of these tests."""

PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print(json.dumps([list(bag.import_errors.values()), [len(dag.tasks) for dag in bag.dags.values()]]))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of the project, in which nothing was built."""
    clone = tmp_path / "clone"
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(sample.DAGS, clone / "dags", ignore=without)
    shutil.copytree(settings.ROOT / "include" / "engine", clone / "include/engine", ignore=without)
    shutil.copy(settings.ROOT / "include" / "__init__.py", clone / "include")
    sample.write_project(clone / "include" / "dbt")
    return clone


def parsed(dags: Path, home: Path, **environ: str) -> tuple[list[str], list[int]]:
    """Import errors, and tasks of each DAG, as another process finds them that knows no more."""
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(dags)],
        env=HERE | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"} | environ,
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    errors, tasks = json.loads(done.stdout.splitlines()[-1])
    return errors, tasks


def test_started_by_astro_without_docker_it_asks_for_one_command_and_then_works(checkout, dag):
    """`astro dev start --standalone`: PYTHONPATH is the project, nothing of the Dockerfile ran.

    The command is `make manifest`: it installs dbt, which is there already in this test, and then
    does this.
    """
    home = checkout / ".astro" / "standalone"
    (error,), _ = parsed(checkout / "dags", home, PYTHONPATH=str(checkout))
    manifest = checkout / ".dbt" / "manifest" / "manifest.json"
    assert f"No manifest at {manifest}. Build it with: make manifest" in error
    subprocess.run(
        [sys.executable, "-m", "include.engine.manifest.build"],
        cwd=checkout,
        env=HERE | {"DBT_EXECUTABLE": str(settings.load().dbt_executable)},
        check=True,
    )
    assert parsed(checkout / "dags", home, PYTHONPATH=str(checkout)) == ([], [len(dag.tasks)])
    assert "dbt Docs" in manifest.with_name("index.html").read_text(encoding="utf-8")


def test_a_dag_file_with_no_include_beside_it_finds_that_of_the_pythonpath(tmp_path, dag):
    """`astro deploy --dags`: a bundle has the DAG files, PYTHONPATH is the image's project."""
    bundle = tmp_path / "bundles" / "astro" / "dags"
    shutil.copytree(sample.DAGS, bundle, ignore=shutil.ignore_patterns("__pycache__"))
    image = {"PYTHONPATH": str(settings.ROOT), **sample.environment()}
    found = parsed(bundle, tmp_path / "home", **image)
    assert found == ([], [len(dag.tasks)])
