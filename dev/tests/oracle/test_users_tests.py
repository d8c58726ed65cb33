"""The tests of `tests/`, which `astro dev pytest` runs, hold for any dbt project, and fail when
something breaks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.tests.oracle import features, projects
from dev.tests.oracle.conftest import dbt_executable
from include.engine import settings

PROFILE = """\
any:
  target: dev
  outputs:
    dev: {type: postgres, host: h, port: 5432, user: u, password: p, dbname: d, schema: s}
"""
BARE = {
    "dbt_project.yml": "name: any\nprofile: any\n",
    "profiles.yml": PROFILE,
}
MODELS = {
    "models/parent.sql": "select 1 as id",
    "models/child.sql": "select id from {{ ref('parent') }}",
}
SEEDS = {"seeds/countries.csv": "id,name\n1,Norway\n", "seeds/towns.csv": "id\n1\n"}
RICH = {
    **MODELS,
    **SEEDS,
    "packages.yml": "packages: [{local: library}]\n",
    "library/dbt_project.yml": "name: library\n",
    "library/models/shared.sql": "select 1 as id",
    "snapshots/history.sql": """
{% snapshot history %}
{{ config(target_schema='s', unique_key='id', strategy='check', check_cols='all') }}
select * from {{ ref('countries') }}
{% endsnapshot %}
""",
    "models/forecast.py": "def model(dbt, session):\n    return dbt.ref('child')\n",
    "models/customers_v1.sql": "select id from {{ ref('child') }}",
    "models/customers_v2.sql": "select id, 2 as v from {{ ref('child') }}",
    "models/hourly.sql": "{{ config(meta={'airflow': {'schedule': '@hourly'}}) }} select 1 as id",
    "models/late.sql": """
{{ config(meta={'airflow': {'schedule': 'assets'}}) }} select id from {{ ref('hourly') }}
""",
    "models/all.yml": """
models:
  - name: customers
    latest_version: 2
    versions: [{v: 1}, {v: 2}]
    columns: [{name: id, data_tests: [unique, not_null]}]
  - name: child
    columns:
      - name: id
        data_tests: [{relationships: {arguments: {to: ref('parent'), field: id}}}]
""",
    "tests/nothing_is_old.sql": "select * from {{ ref('late') }} where id < 0",
}
HARDEST = [
    list(features.FEATURES).index(name)
    for name in ("nasty_models", "nasty_tests", "long_names", "twins")
]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def users_tests(project: Path, root: Path = settings.ROOT) -> tuple[int, str]:
    """The exit code and the output of `tests/` of the checkout `root`, about that dbt project."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DBT_")},
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_MANIFEST": str(project / "made" / "manifest.json"),
        "DBT_PACKAGES_INSTALL_PATH": str(project / "dbt_packages"),
        "DBT_EXECUTABLE": str(dbt_executable()),
        "ORACLE_HOST": "nowhere",
        "ORACLE_DATABASE": "none",
    }
    build = [sys.executable, "-m", "include.engine.manifest.build"]
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_dags.py"]
    options = {"cwd": root, "env": environment, "capture_output": True, "text": True}
    if not (project / "made").exists():
        built = subprocess.run(build, **options)
        assert built.returncode == 0, built.stdout + built.stderr
    done = subprocess.run(test, **options)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (MODELS, "Tested: the dbt project any (2 model), 4 tasks in dbt_dag"),
        (SEEDS, "Tested: the dbt project any (2 seed), 4 tasks in dbt_dag"),
        ({}, "Tested: the dbt project any (no nodes), 1 tasks in dbt_dag"),
        (
            RICH,
            "Tested: the dbt project any (8 model, 2 seed, 1 snapshot, 6 test), "
            "21 tasks in dbt_dag, dbt_dag__assets, dbt_dag__hourly",
        ),
    ],
    ids=["two models", "only seeds", "nothing", "packages, versions, snapshots, schedules"],
)
def test_they_pass_with_any_project_and_say_what_they_tested(tmp_path, files, line):
    code, output = users_tests(write(tmp_path, BARE | files))
    assert code == 0, output
    assert line in output.splitlines()


@pytest.mark.parametrize("number", HARDEST)
def test_they_pass_with_the_hardest_generated_projects(tmp_path, number):
    projects.generate(number, tmp_path)
    code, output = users_tests(tmp_path)
    assert code == 0, output


@pytest.mark.parametrize(
    ("file", "text", "fault", "fails"),
    [
        (
            "include/engine/plan/tasks.py",
            "for node in manifest.nodes.values():",
            "for node in list(manifest.nodes.values())[1:]:",
            "test_each_node_is_built_by_exactly_one_task",
        ),
        (
            "dags/dbt_dag.py",
            '"owner": "dbt",',
            '"owner": "dbt", "env": {"P": __import__("os").environ.get('
            '"DBT_ENV_SECRET_WAREHOUSE_PASSWORD", "")}, "doc": __import__("os").environ.get('
            '"DBT_ENV_SECRET_WAREHOUSE_PASSWORD", ""),',
            "test_no_field_of_a_dag_holds_a_secret",
        ),
        (
            "dags/dbt_dag.py",
            '"pool": "default_pool"',
            '"pool": "heavy"',
            "test_every_pool_exists",
        ),
        (
            "dags/dbt_dag.py",
            "catchup=False",
            'catchup=False, description=str(__import__("time").time())',
            "test_two_parses_give_the_same_dags",
        ),
    ],
    ids=["a node without a task", "a password", "no such pool", "another DAG each time"],
)
def test_a_planted_fault_fails_the_test_that_is_about_it(tmp_path, file, text, fault, fails):
    root, project = tmp_path / "checkout", write(tmp_path / "project", BARE | MODELS)
    for folder in ("dags", "include/engine", "tests"):
        shutil.copytree(settings.ROOT / folder, root / folder)
    shutil.copy(settings.ROOT / "include" / "__init__.py", root / "include")
    shutil.copy(settings.ROOT / "pyproject.toml", root)
    changed = (root / file).read_text()
    assert text in changed
    (root / file).write_text(changed.replace(text, fault))
    code, output = users_tests(project, root)
    failed = [line.split("::")[1].split(" ")[0] for line in output.splitlines() if "FAILED" in line]
    assert (code, failed) == (1, [fails]), output
