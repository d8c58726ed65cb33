"""The DAG in other places than a checkout or the image: started without Docker, and in a bundle."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.engine import settings

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
    for folder in ("dags", "include", "scripts"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(settings.ROOT / folder, clone / folder, ignore=without)
    return clone


def parsed(dags: Path, home: Path, **environ: str) -> tuple[list[str], list[int]]:
    """Import errors, and tasks of each DAG, as another process finds them that knows no more."""
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(dags)],
        env=known | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"} | environ,
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
        env=os.environ | {"DBT_EXECUTABLE": str(settings.load().dbt_executable)},
        check=True,
    )
    assert parsed(checkout / "dags", home, PYTHONPATH=str(checkout)) == ([], [len(dag.tasks)])
    assert "dbt Docs" in manifest.with_name("index.html").read_text(encoding="utf-8")


def test_a_dag_file_with_no_include_beside_it_finds_that_of_the_pythonpath(tmp_path, dag):
    """`astro deploy --dags`: a bundle has the DAG files, PYTHONPATH is the image's project."""
    bundle = tmp_path / "bundles" / "astro" / "dags"
    shutil.copytree(settings.ROOT / "dags", bundle, ignore=shutil.ignore_patterns("__pycache__"))
    found = parsed(bundle, tmp_path / "home", PYTHONPATH=str(settings.ROOT))
    assert found == ([], [len(dag.tasks)])
