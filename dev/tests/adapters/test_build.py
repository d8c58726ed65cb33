"""The manifest is built without a warehouse, by the real dbt, for projects of many shapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from include.engine import settings
from include.engine.manifest.command import without_traceback
from include.engine.manifest.listing import listed_ids

PROJECT = "name: shop\nprofile: shop\nflags: {send_anonymous_usage_stats: false}\n"
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


class Shop:
    """A dbt project `shop` and its manifest, in a folder of its own whose name has a space."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "my shop"
        self.manifest = folder / "manifest" / "manifest.json"
        self.write({"dbt_project.yml": PROJECT, "models/a.sql": "select 1 as id"})

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_text(text)

    def build(self, **variables: str) -> str:
        """What the build says; it has to go well."""
        code, output = self.try_build(**variables)
        assert code == 0, output
        return output

    def try_build(self, **variables: str) -> tuple[int, str]:
        """The exit code of the build and what it says."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DBT_", "AIRFLOW_"))}
        places = {"DBT_PROJECT_DIR": str(self.project), "DBT_MANIFEST": str(self.manifest)}
        done = subprocess.run(
            [sys.executable, "-m", "include.engine.manifest.build"],
            cwd=settings.ROOT,
            env={**inherited, **places, **NOWHERE, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def read(self) -> dict:
        return json.loads(self.manifest.read_bytes())

    def compiled(self) -> dict[str, str | None]:
        """The compiled query of each model."""
        return {key: node.get("compiled_code") for key, node in self.read()["nodes"].items()}


@pytest.fixture
def shop(tmp_path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def vendored(tmp_path_factory) -> Callable[[Shop], None]:
    """Gives a shop a package `tools` in dbt_packages/, as a team that commits it has one."""

    def give(shop: Shop) -> None:
        shop.write(
            {
                "packages.yml": "packages: [{package: nobody/tools, version: 1.0.0}]",
                "dbt_packages/tools/dbt_project.yml": "name: tools\nversion: 1.0.0\n",
                "dbt_packages/tools/macros/one.sql": "{% macro one() %}1{% endmacro %}",
                "models/a.sql": "select {{ tools.one() }} as id",
            }
        )

    return give


def test_a_project_without_a_profile_is_compiled_and_the_output_says_which_one_it_got(shop):
    assert shop.build() == (
        f"dbt's profile 'shop' for postgres is made here, because {shop.project} has no profile "
        f"'shop'.\nmanifest: {shop.manifest}\n"
    )
    assert shop.compiled() == {"model.shop.a": "select 1 as id"}


def test_incremental_models_do_not_keep_the_others_from_being_compiled(shop):
    config = "{{ config(materialized='incremental') }}"
    grows = f"{config} select 3 as id {{% if is_incremental() %}}where true{{% endif %}}"
    shop.write({"models/grows.sql": grows})
    shop.build()
    assert shop.compiled() == {"model.shop.a": "select 1 as id", "model.shop.grows": None}


def test_a_query_that_asks_the_warehouse_leaves_the_manifest_to_dbt_parse_without_an_error(shop):
    shop.write({"models/asks.sql": "{% set rows = run_query('select 1') %} select 2 as id"})
    assert shop.build().splitlines()[1:] == [
        "`dbt parse` built the manifest, and queries are compiled when they run: model asks "
        "(models/asks.sql) asks the warehouse while dbt compiles it.",
        f"manifest: {shop.manifest}",
    ]
    assert shop.compiled() == {"model.shop.a": None, "model.shop.asks": None}


def test_what_dbt_cannot_read_is_said_in_its_words_and_the_last_manifest_stays(shop):
    shop.build()
    before = shop.manifest.read_bytes()
    shop.write({"models/b.sql": "select * from {{ ref('nothing') }}"})
    code, output = shop.try_build()
    assert code == 1
    assert "depends on a node named 'nothing' which was not found" in output
    assert output.endswith(
        f"dbt parse failed with exit code 2. {shop.manifest} is still the last good one.\n"
    )
    assert shop.manifest.read_bytes() == before


def test_the_profile_of_a_connection_in_the_environment_names_the_relations(shop):
    connection = {"conn_type": "postgres", "host": "h", "schema": "sales", "password": "hunter2"}
    output = shop.build(AIRFLOW_CONN_WAREHOUSE=json.dumps(connection), DBT_SCHEMA="mart")
    assert "made of the Airflow connection" in output
    assert shop.read()["nodes"]["model.shop.a"]["relation_name"] == '"sales"."mart"."a"'
    assert not [file for file in shop.manifest.parent.iterdir() if b"hunter2" in file.read_bytes()]


def test_a_connection_that_cannot_be_read_is_named(shop):
    assert shop.try_build(AIRFLOW_CONN_WAREHOUSE="{conn_type") == (
        1,
        "AIRFLOW_CONN_WAREHOUSE is neither JSON nor a URI: see .env.example\n",
    )


@pytest.mark.parametrize(
    "files",
    [
        {"dbt_project.yml": PROJECT.replace("stats: false", "stats: false, log_format: json")},
        {
            "macros/say.sql": "{% macro say() %}{{ print('{\"hello\": 1}') }}{{ print('[]') }}"
            "{{ print('{broken') }}{% endmacro %}",
            "models/b.sql": "{{ say() }} select 2 as id",
        },
    ],
)
def test_other_output_among_what_dbt_lists_changes_no_selection(shop, files):
    shop.write({"models/b.sql": "select 2 as id", **files})
    shop.build(DBT_SELECT="b")
    assert shop.read()["selected"] == ["model.shop.b"]


def test_a_default_selector_is_followed_unless_a_setting_selects(shop):
    selectors = "selectors: [{name: daily, default: true, definition: {method: fqn, value: a}}]"
    shop.write({"selectors.yml": selectors, "models/b.sql": "select 2 as id"})
    shop.build()
    assert shop.read()["selected"] == ["model.shop.a"]
    assert shop.compiled()["model.shop.a"] == "select 1 as id"
    shop.build(DBT_EXCLUDE="a")
    assert shop.read()["selected"] == ["model.shop.b"]


def test_what_is_excluded_is_not_compiled(shop):
    shop.write(
        {"models/bad.sql": "{% if execute %}{{ exceptions.raise_compiler_error('no') }}{% endif %}"}
    )
    assert "does not compile this project (Compilation Error in model bad" in shop.build()
    assert "does not compile" not in shop.build(DBT_EXCLUDE="bad")
    assert shop.read()["selected"] == ["model.shop.a"]


def test_variables_of_the_settings_are_there_when_the_project_is_read(shop):
    shop.write({"dbt_project.yml": PROJECT + "models: {shop: {+enabled: \"{{ var('on') }}\"}}\n"})
    code, output = shop.try_build()
    assert code == 1
    assert "'on' is undefined" in output or "Required var 'on' not found" in output
    shop.build(DBT_VARS='{"on": true}')
    assert list(shop.compiled()) == ["model.shop.a"]


def test_packages_of_the_projects_own_need_no_network(shop, vendored):
    vendored(shop)
    shop.build()
    assert shop.compiled() == {"model.shop.a": "select 1 as id"}
    assert not (shop.project / "dbt_packages" / "installed").exists()


def test_packages_of_other_versions_than_those_wanted_serve_where_no_others_can_be_had(
    shop, vendored
):
    """dbt_utils, for one, says that it is 0.1.0 in each of its versions."""
    vendored(shop)
    shop.write(
        {"package-lock.yml": "packages: [{name: tools, package: nobody/tools, version: 2.0.0}]"}
    )
    output = shop.build()
    assert "dbt deps failed with exit code 2." in output
    assert output.splitlines()[-2:] == [
        f"The packages in {shop.project}/dbt_packages are used: tools says that it is 1.0.0, and "
        "package-lock.yml has 2.0.0.",
        f"manifest: {shop.manifest}",
    ]
    assert shop.compiled() == {"model.shop.a": "select 1 as id"}
    assert not (shop.project / "dbt_packages" / "installed").exists()


def test_packages_that_cannot_be_had_leave_those_that_are_there_and_no_traceback(shop, vendored):
    vendored(shop)
    shop.write({"package-lock.yml": "packages: [{name: tools}, {name: others}]"})
    shop.write({"packages.yml": "packages: [{git: 'https://127.0.0.1:9/tools.git', revision: v2}]"})
    code, output = shop.try_build()
    assert code == 1
    assert "https://127.0.0.1:9/tools.git" in output
    assert output.endswith("dbt deps failed with exit code 2.\n")
    assert "Traceback" not in output
    assert sorted(path.name for path in shop.project.glob("dbt_packages*/*")) == ["tools"]


def test_packages_are_installed_once_and_again_when_their_files_change(shop, tmp_path):
    tools = tmp_path / "tools"
    shop.write(
        {
            "packages.yml": "packages: [{local: ../tools}]",
            "../tools/dbt_project.yml": "name: tools\nversion: 1.0.0\n",
            "models/a.sql": "select {{ tools.one() }} as id",
            "../tools/macros/one.sql": "{% macro one() %}1{% endmacro %}",
        }
    )
    shop.build()
    stamp = shop.project / "dbt_packages" / "installed"
    first = stamp.stat().st_mtime_ns
    shop.build()
    assert stamp.stat().st_mtime_ns == first
    shop.write({"package-lock.yml": (shop.project / "package-lock.yml").read_text() + "\n"})
    shop.build()
    assert stamp.stat().st_mtime_ns > first
    assert tools.exists()


def test_the_stamp_of_another_projects_packages_skips_nothing(shop, tmp_path):
    """`.dbt/packages` outlives a project; what counts is the folder that the project names."""
    shop.write(
        {
            "packages.yml": "packages: [{local: ../tools}]",
            "../tools/dbt_project.yml": "name: tools\nversion: 1.0.0\n",
        }
    )
    shop.build(DBT_PACKAGES_INSTALL_PATH=str(tmp_path / "packages"))
    other = Shop(tmp_path / "other")
    other.write({"packages.yml": "packages: [{local: ../../tools}]"})
    other.write({"packages.yml": (shop.project / "packages.yml").read_text()})
    (tmp_path / "other" / "tools").symlink_to(tmp_path / "tools")
    other.build(DBT_PACKAGES_INSTALL_PATH=str(tmp_path / "packages"))
    assert (other.project / "dbt_packages" / "tools").exists()


def test_a_message_ends_where_dbts_own_traceback_begins():
    said = "10:00:00  Encountered an error:\nno network\n"
    traceback = "10:00:00  Traceback (most recent call last):\n  File"
    assert without_traceback(said + traceback) == said.rstrip()
    assert without_traceback("nothing\nodd\n") == "nothing\nodd"


def test_only_lines_that_dbt_ls_wrote_are_listed():
    lines = ['{"unique_id": "model.a"}', '{"hello": 1}', "12", "[]", "{", "Running", '"text"', ""]
    assert listed_ids("\n".join(lines)) == {"model.a"}


def test_a_dbt_that_cannot_run_hooks_alone_is_named_before_a_task_has_to(shop, tmp_path):
    """Unless there are no such tasks, or no such hooks."""
    program = tmp_path / "other dbt"
    program.write_text(f'#!/bin/sh\nexec "{settings.load().dbt_executable}" "$@"\n')
    program.chmod(0o755)
    other = {"DBT_EXECUTABLE": str(program)}
    notice = (
        "The tasks of the project's hooks cannot run with this dbt: there is no Python beside "
        f"{program}. Set DBT_WARM=false: then there are no such tasks, and all hooks run with each "
        "command (docs/hooks.md)."
    )
    assert notice not in shop.build(**other)
    shop.write({"dbt_project.yml": f'{PROJECT}on-run-end: "select 1"\n'})
    assert notice in shop.build(**other).splitlines()
    assert "cannot run" not in shop.build()
    assert notice not in shop.build(**other, DBT_WARM="false")
    assert notice not in shop.build(**other, DBT_HOOKS_WITH_EACH="shop")


def test_a_project_that_writes_no_json_has_a_manifest(shop):
    flags = "flags: {send_anonymous_usage_stats: false, write_json: false}\n"
    shop.write({"dbt_project.yml": f"name: shop\nprofile: shop\n{flags}"})
    shop.build()
    assert shop.compiled() == {"model.shop.a": "select 1 as id"}
