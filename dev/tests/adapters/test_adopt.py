"""`make adopt` and `make check`, run in a copy of the repository, on projects of foreign shapes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from dev.tests.foreign.compare import make_clone
from scripts.copy_project import copy_project, links

GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com")
ENVIRONMENT = {
    k: v for k, v in os.environ.items() if not k.startswith(("DBT_", "AIRFLOW_", "GIT_"))
}
OWN_WAREHOUSE = (
    "  - make run uses a Postgres of its own; for your warehouse: export AIRFLOW_CONN_WAREHOUSE=… "
    "(docs/warehouses.md)"
)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def git(folder: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """The repository as it is now, committed, in a folder whose name has a space."""
    return make_clone(tmp_path_factory.mktemp("a clone"))


@pytest.fixture(autouse=True)
def committed(clone) -> None:
    """Each test begins with the sample."""
    git(clone, "reset", "--hard")
    git(clone, "clean", "-fdx", "include", ".env")


def run(clone: Path, script: str, *arguments: str, **variables: str) -> tuple[int, list[str]]:
    """The exit code and the lines of a script, as make calls it."""
    done = subprocess.run(
        [clone / ".dbt/venv/bin/python", "-m", f"scripts.{script}", *arguments],
        cwd=clone,
        env={**ENVIRONMENT, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout.replace(str(clone), "CLONE").splitlines()


def test_a_project_with_a_profile_elsewhere_and_variables_of_its_own(clone, tmp_path):
    source = write(
        tmp_path / "shop",
        {
            "dbt_project.yml": "name: shop\nprofile: my_shop\nvars: {known: 1}\n"
            "flags: {send_anonymous_usage_stats: false}\n",
            "models/orders.sql": "select {{ var('known') }} as id, '{{ env_var('STAGE', 'x') }}' "
            "as stage {# env_var('REGION') and var('since') #} from {{ source('raw', 'lines') }}",
            "models/sources.yml": "sources: [{name: raw, schema: analytics, "
            "tables: [{name: lines}]}]",
            "models/unit_tests.yml": "unit_tests: [{name: one, model: orders, given: [{input: "
            "\"source('raw', 'lines')\", rows: []}], expect: {rows: []}}]",
            "seeds/lines.csv": "id\n1\n",
            "target/manifest.json": "{}",
            "logs/dbt.log": "",
        },
    )
    (source / "scratch").symlink_to("/nowhere/at/all")
    code, lines = run(clone, "adopt", str(source))
    reason = "made here, because CLONE/include/dbt has no profile 'my_shop'"
    assert (code, lines) == (
        0,
        [
            f"Copied {source} to CLONE/include/dbt.",
            f"dbt's profile 'my_shop' for postgres is {reason}.",
            "project    shop, in CLONE/include/dbt",
            "dbt        1.12.6, adapter postgres",
            f"profile    my_shop, {reason}",
            "packages   none",
            "nodes      1 model, 1 seed, 1 source, 1 unit_test",
            "tasks      4, in Airflow",
            "to do",
            "  - env_var('REGION') has no default: export REGION=…, and ENV REGION=… in the "
            "Dockerfile",
            """  - var('since') has no value: export DBT_VARS='{"since": …}'""",
            '  - the source "warehouse"."analytics"."lines" is also a seed: ref() it, so that its '
            "readers wait for it",
            "  - unit tests are left to CI; to run each before its model: export "
            "DBT_UNIT_TESTS=true",
            OWN_WAREHOUSE,
            "Run it with: make run",
        ],
    )
    there = {path.name for path in (clone / "include" / "dbt").iterdir()}
    assert there == {"dbt_project.yml", "models", "seeds", "scratch"}


def test_a_variable_that_only_a_command_line_gives_is_named_where_dbt_stops_at_it(clone, tmp_path):
    source = write(
        tmp_path / "shop",
        {
            "dbt_project.yml": "name: shop\nprofile: shop\n"
            "models: {shop: {+enabled: \"{{ var('on') }}\"}}\n",
            "models/a.sql": "select 1 as id",
        },
    )
    code, lines = run(clone, "adopt", str(source))
    assert (code, lines[-3:]) == (
        1,
        [
            "dbt parse failed with exit code 2.",
            "to do",
            """  - var('on') has no value: export DBT_VARS='{"on": …}'""",
        ],
    )
    code, lines = run(clone, "check", DBT_VARS='{"on": true}')
    assert (code, "nodes      1 model" in lines) == (0, True)


def test_a_git_repository_with_the_project_in_a_folder_and_packages_of_its_own(clone, tmp_path):
    source = write(
        tmp_path / "repository",
        {
            "README.md": "",
            "warehouse/dbt_project.yml": "name: shop\nprofile: shop\n",
            "warehouse/profiles.yml": "shop: {target: ci, outputs: {ci: {type: postgres, host: h, "
            "user: u, password: p, port: 1, dbname: d, schema: mart}}}",
            "warehouse/models/a.sql": "select {{ tools.one() }} as id",
            "warehouse/packages.yml": "packages: [{local: tools}]",
            "warehouse/tools/dbt_project.yml": "name: tools\nversion: 1.0.0\n",
            "warehouse/tools/macros/one.sql": "{% macro one() %}1{% endmacro %}",
        },
    )
    write(source, {"warehouse/.dbtignore": "tools\n"})
    git(source, "init")
    git(source, "add", "--all")
    git(source, "commit", "-m", "Begin")
    code, lines = run(clone, "adopt", f"file://{source}")
    assert code == 1
    assert lines[0].endswith(
        "(warehouse, warehouse/tools). Clone it, and name one: make adopt FROM=<folder>"
    )
    code, lines = run(clone, "adopt", str(source / "warehouse"))
    assert code == 0, lines
    assert lines[1:6] == [
        "project    shop, in CLONE/include/dbt",
        "dbt        1.12.6, adapter postgres",
        "profile    shop, of CLONE/include/dbt",
        "packages   tools",
        "nodes      1 model",
    ]


def test_whose_hooks_run_when_and_who_reads_the_time_of_a_run_is_reported(clone, tmp_path):
    source = write(
        tmp_path / "shop",
        {
            "dbt_project.yml": "name: shop\nprofile: shop\non-run-end: select 1\n",
            "packages.yml": "packages: [{local: tools}]",
            "models/a.sql": "select '{{ invocation_id }}' as id, 'run_started_at' as word",
            "tools/dbt_project.yml": "name: tools\nversion: 1.0.0\n"
            "on-run-start: \"{% do graph.update({'x': {}}) %}\"\n",
        },
    )
    code, lines = run(clone, "adopt", str(source))
    assert code == 0, lines
    hooks = [line for line in lines if line.startswith("hooks")]
    assert hooks == [
        "hooks      once per run: shop",
        "hooks      with each command: tools (docs/hooks.md)",
    ]
    assert lines[-3:] == ["to do", OWN_WAREHOUSE, "Run it with: make run"]
    code, lines = run(clone, "check", DBT_WARM="false")
    assert [line for line in lines if line.startswith("hooks")] == [
        "hooks      with each command: shop, tools (docs/hooks.md)"
    ]
    assert lines[-3] == (
        "  - shop: run_started_at and invocation_id are read, and are others for each task, "
        "because DBT_WARM is false (docs/hooks.md)"
    )


def test_what_was_made_of_the_former_project_is_removed(clone, tmp_path):
    former = write(
        clone / ".dbt",
        {"manifest/manifest.json": "{}", "manifest/plan": "", "packages/old/dbt_project.yml": ""},
    )
    source = write(tmp_path / "shop", {"dbt_project.yml": "name: shop\nprofile: shop\n"})
    code, lines = run(clone, "adopt", str(source))
    assert code == 0, lines
    manifest = json.loads((former / "manifest" / "manifest.json").read_bytes())
    assert manifest["metadata"]["project_name"] == "shop"
    assert not (former / "manifest" / "plan").exists()
    assert not (former / "packages").exists()


def test_tests_of_a_package_that_read_the_package_around_them(clone, tmp_path):
    source = write(
        tmp_path / "package",
        {
            "dbt_project.yml": "name: tools\nversion: 1.0.0\n",
            "macros/one.sql": "{% macro one() %}1{% endmacro %}",
            "integration_tests/dbt_project.yml": "name: its_tests\nprofile: its_tests\n",
            "integration_tests/packages.yml": "packages: [{local: ../}]",
            "integration_tests/models/a.sql": "select {{ tools.one() }} as id",
        },
    )
    (source / "integration_tests" / "dbt_packages").mkdir()
    (source / "integration_tests" / "dbt_packages" / "tools").symlink_to("../..")
    code, lines = run(clone, "adopt", str(source / "integration_tests"))
    assert code == 0, lines
    assert lines[1:3] == [
        "The project is in include/dbt/integration_tests, beside a package of its own.",
        "DBT_PROJECT_DIR was set in .env and Dockerfile.",
    ]
    assert "packages   tools" in lines
    assert (clone / "include" / "dbt" / "macros" / "one.sql").exists()
    assert run(clone, "check")[1][-7:] == lines[-7:]
    (clone / ".env").unlink()  # a colleague's clone has none
    assert run(clone, "check")[1][-7:] == lines[-7:]
    assert run(clone, "manifest")[0] == 0
    stages = (clone / "Dockerfile").read_text().split("\nFROM ")[1:]
    named = 'ENV DBT_PROJECT_DIR="include/dbt/integration_tests"'
    assert [stage.splitlines()[1] for stage in stages] == [named, named]


def test_a_project_without_such_a_package_takes_the_settings_back(clone, tmp_path):
    (clone / ".env").write_text("A=1\nDBT_PROJECT_DIR=include/dbt/old\n")
    source = write(tmp_path / "shop", {"dbt_project.yml": "name: shop\nprofile: shop\n"})
    code, lines = run(clone, "adopt", str(source), DBT_PROJECT_DIR="elsewhere")
    assert code == 0, lines
    assert lines[1:3] == [
        "DBT_PROJECT_DIR was removed in .env.",
        "Your shell says DBT_PROJECT_DIR=elsewhere. First: unset DBT_PROJECT_DIR",
    ]
    assert (clone / ".env").read_text() == "A=1\n"


def files_of(folder: Path) -> dict[str, str]:
    """What can be read in a folder, by path; links are followed."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_a_project_needs_comes_along_and_nothing_else(tmp_path):
    project = {"dbt_project.yml": "name: shop\n"}
    kept = {
        "shop/dbt_project.yml": "name: shop\n",
        "shop/packages.yml": "packages: [{local: ../common/tools}, {local: /nowhere}]",
        "shop/models/logs/a.sql": "select 1",
        "shop/models/target/b.sql": "select 2",
        "common/tools/dbt_project.yml": "name: tools\n",
    }
    left = {
        "shop/target/manifest.json": "{}",
        "shop/logs/dbt.log": "",
        "shop/dbt_packages/other/dbt_project.yml": "name: other",
        "shop/.env": "PASSWORD=hunter2",
        "shop/models/__pycache__/x.pyc": "",
        "common/tools/target/run.json": "{}",
        "common/private/diary.txt": "",
    }
    beside = {"elsewhere/shared.sql": "select 3", "elsewhere/more/c.sql": "select 4", **project}
    write(tmp_path / "source", {**kept, **left, **beside})
    models = tmp_path / "source" / "shop" / "models"
    (models / "outside.sql").symlink_to("../../elsewhere/shared.sql")
    (models / "folder").symlink_to(tmp_path / "source" / "elsewhere" / "more")
    (models / "inside.sql").symlink_to(models / "logs" / "a.sql")
    (models / "loop").symlink_to("..")
    (models / "gone.sql").symlink_to("/nowhere/x.sql")
    place = tmp_path / "place"
    assert copy_project(tmp_path / "source" / "shop", place) == Path("shop")
    assert files_of(place) == {
        **kept,
        "shop/models/outside.sql": "select 3",
        "shop/models/folder/c.sql": "select 4",
        "shop/models/inside.sql": "select 1",
    }
    assert {str(p.relative_to(place)): str(p.readlink()) for p in links(place)} == {
        "shop/models/inside.sql": "logs/a.sql",
        "shop/models/loop": "..",
        "shop/models/gone.sql": "/nowhere/x.sql",
    }


@pytest.mark.parametrize(
    ("files", "vendored"),
    [
        ({}, True),  # no file asks for it
        ({"packages.yml": "packages: [{package: a/tools, version: 1.0.0}]"}, False),
        ({"package-lock.yml": "packages: [{name: tools, package: a/tools}]"}, False),
        ({"package-lock.yml": "packages: [{name: others, package: a/others}]"}, True),
    ],
)
def test_packages_that_dbt_deps_would_not_bring_come_along(tmp_path, files, vendored):
    tools = {"dbt_packages/tools/dbt_project.yml": "name: tools\n"}
    source = write(tmp_path / "shop", {"dbt_project.yml": "name: shop\n", **tools, **files})
    copy_project(source, tmp_path / "place")
    assert (tmp_path / "place" / "dbt_packages" / "tools").exists() == vendored


def test_packages_that_git_keeps_come_along_and_a_commit_of_them_is_named(clone, tmp_path):
    source = write(
        tmp_path / "shop",
        {
            "dbt_project.yml": "name: shop\nprofile: shop\n",
            "packages.yml": "packages: [{package: nobody/tools, version: 1.0.0}]",
            "dbt_packages/tools/dbt_project.yml": "name: tools\nversion: 1.0.0\n",
            "dbt_packages/tools/macros/one.sql": "{% macro one() %}1{% endmacro %}",
            "models/a.sql": "select {{ tools.one() }} as id",
        },
    )
    git(source, "init")
    git(source, "add", "--all")
    code, lines = run(clone, "adopt", str(source))
    assert (code, lines[1]) == (
        0,
        "git ignores 1 of the copied files and folders. To keep them: git add --force "
        "include/dbt/dbt_packages/",
    )
    assert "packages   tools" in lines


def test_changes_that_are_not_committed_are_not_overwritten(clone, tmp_path):
    source = write(tmp_path / "shop", {"dbt_project.yml": "name: shop\nprofile: shop\n"})
    mine = clone / "include" / "dbt" / "models" / "mine.sql"
    mine.write_text("select 1")
    assert run(clone, "adopt", str(source)) == (
        1,
        [
            "include/dbt has changes that are not committed:",
            "?? include/dbt/models/mine.sql",
            "First: git add include/dbt && git commit",
        ],
    )
    assert mine.exists()


def test_what_is_no_project_is_named(clone, tmp_path):
    assert run(clone, "adopt", str(tmp_path)) == (
        1,
        [f"There is no dbt_project.yml in {tmp_path}."],
    )
    assert run(clone, "adopt") == (1, ["Name a project: make adopt FROM=<folder or git address>"])
    code, lines = run(clone, "adopt", str(tmp_path / "nothing"))
    assert (code, lines[0]) == (
        1,
        f"{tmp_path}/nothing is no folder, and git cannot clone it:",
    )
