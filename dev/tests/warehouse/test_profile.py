"""Which profile dbt uses, and that a made one has nothing secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from include.engine import settings
from include.engine.warehouse.connection import Connection
from include.engine.warehouse.profile import ProfileError, choose_profile, write_profile
from include.engine.warehouse.project import read_project

POSTGRES = Connection("postgres", "db", 5433, "ada", "hunter2", "shop", {"sslmode": "require"})


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    return tmp_path / "project"


def own_profile(project: Path, **output: object) -> None:
    """Gives the project a profile with the targets `ci` and, of this output, `live`."""
    outputs = {"ci": {"type": "postgres"}, "live": {"type": "postgres", **output}}
    profiles = {"shop": {"target": "live", "outputs": outputs}}
    (project / "profiles.yml").write_text(yaml.safe_dump(profiles))


def config(project: Path, dbt: str = "/nowhere/dbt", **variables: str) -> settings.Settings:
    return settings.load({"DBT_PROJECT_DIR": str(project), "DBT_EXECUTABLE": dbt, **variables})


def test_a_project_without_a_profile_gets_one_of_the_connection(project):
    profile = choose_profile(config(project), POSTGRES, {})
    assert yaml.safe_load(profile.text) == {
        "shop": {
            "target": "dev",
            "outputs": {
                "dev": {
                    "type": "postgres",
                    "host": "{{ env_var('WAREHOUSE_HOST') }}",
                    "port": "{{ env_var('WAREHOUSE_PORT') | as_number }}",
                    "user": "{{ env_var('WAREHOUSE_USER') }}",
                    "password": "{{ env_var('DBT_ENV_SECRET_WAREHOUSE_PASSWORD') }}",
                    "database": "{{ env_var('WAREHOUSE_DATABASE') }}",
                    "sslmode": "{{ env_var('WAREHOUSE_SSLMODE') }}",
                    "threads": "{{ env_var('WAREHOUSE_THREADS') | as_number }}",
                    "schema": "{{ env_var('WAREHOUSE_SCHEMA') }}",
                }
            },
        }
    }
    assert profile.environment == {
        "WAREHOUSE_HOST": "db",
        "WAREHOUSE_PORT": "5433",
        "WAREHOUSE_USER": "ada",
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": "hunter2",
        "WAREHOUSE_DATABASE": "shop",
        "WAREHOUSE_SSLMODE": "require",
        "WAREHOUSE_EXTRA": '{"sslmode": "require"}',
        "WAREHOUSE_THREADS": "4",
        "WAREHOUSE_SCHEMA": "analytics",
    }
    assert (profile.name, profile.adapter) == ("shop", "postgres")
    assert profile.origin == (
        f"made of the Airflow connection, because {project} has no profile 'shop'"
    )


def test_a_profile_that_renders_wins_and_reads_the_connection(project, tmp_path):
    own_profile(project, host="{{ env_var('WAREHOUSE_HOST') }}")
    profile = choose_profile(config(project), POSTGRES, {})
    assert (profile.text, profile.adapter, profile.origin) == ("", "postgres", f"of {project}")
    assert profile.environment["WAREHOUSE_HOST"] == "db"
    assert write_profile(profile, tmp_path / "profile") is None


def test_one_that_lacks_a_variable_is_replaced_but_keeps_its_targets_and_schema(project):
    own_profile(project, host="{{ env_var('PG_HOST') }}", schema="mart")
    profile = choose_profile(config(project), POSTGRES, {})
    made = yaml.safe_load(profile.text)["shop"]
    assert (made["target"], sorted(made["outputs"])) == ("live", ["ci", "live"])
    assert profile.environment["WAREHOUSE_SCHEMA"] == "mart"
    assert profile.origin.endswith("cannot be rendered: env_var('PG_HOST') has no value")
    assert choose_profile(config(project), POSTGRES, {"PG_HOST": "h"}).text == ""


@pytest.mark.parametrize(
    ("value", "renders"),
    [
        ("{{ env_var('PORT', '5432') | as_number }}", True),
        ("{{ env_var('PORT', '') | as_number }}", False),
        ("{{ env_var('PORT', '') or 5432 }}", True),
        ("{{ fromjson(env_var('WAREHOUSE_EXTRA')).sslmode }}", True),
        ("{{ fromjson(env_var('WAREHOUSE_EXTRA')).other }}", False),
        ("{{ var('port') }}", False),
        ("{{ no_such_function() }}", False),
    ],
)
def test_what_dbt_could_render_is_rendered_here(project, value, renders):
    own_profile(project, port=value)
    assert (choose_profile(config(project), POSTGRES, {}).text == "") is renders


def test_the_variables_of_every_command_are_there_for_the_profile(project):
    own_profile(project, port="{{ var('port') }}")
    assert choose_profile(config(project, DBT_VARS='{"port": 1}'), POSTGRES, {}).text == ""


def test_the_setting_forces_either(project):
    own_profile(project, host="db")
    forced = choose_profile(config(project, DBT_PROFILE_FROM="connection"), POSTGRES, {})
    assert forced.origin == "made of the Airflow connection, because DBT_PROFILE_FROM is connection"
    own_profile(project, host="{{ env_var('PG_HOST') }}")
    with pytest.raises(ProfileError) as error:
        choose_profile(config(project, DBT_PROFILE_FROM="project"), POSTGRES, {})
    assert str(error.value) == (
        f"DBT_PROFILE_FROM is project, but that of {project} cannot be rendered: "
        "env_var('PG_HOST') has no value"
    )
    with pytest.raises(ProfileError, match="it takes auto, connection or project"):
        choose_profile(config(project, DBT_PROFILE_FROM="both"), POSTGRES, {})


def test_settings_and_the_runs_target_go_before_what_the_project_says(project):
    own_profile(project, host="{{ env_var('PG_HOST') }}", schema="mart")
    given = config(project, DBT_TARGET="prod", DBT_SCHEMA="shop_prod", DBT_THREADS="9")
    profile = choose_profile(given, POSTGRES, {})
    made = yaml.safe_load(profile.text)["shop"]
    assert (made["target"], sorted(made["outputs"])) == ("prod", ["ci", "live", "prod"])
    assert profile.environment["WAREHOUSE_SCHEMA"] == "shop_prod"
    assert profile.environment["WAREHOUSE_THREADS"] == "9"
    of_run = choose_profile(given, POSTGRES, {}, "live")
    assert yaml.safe_load(of_run.text)["shop"]["target"] == "live"


def test_a_project_that_names_no_profile_gets_one_by_dbts_own_variable(project):
    (project / "dbt_project.yml").write_text("name: shop\n")
    profile = choose_profile(config(project), POSTGRES, {})
    assert profile.environment["DBT_PROFILE"] == "default"
    assert list(yaml.safe_load(profile.text)) == ["default"]


def test_a_profile_of_another_name_is_chosen_by_dbts_own_variable(project):
    own_profile(project, host="h")
    profile = choose_profile(config(project), POSTGRES, {"DBT_PROFILE": "other"})
    assert list(yaml.safe_load(profile.text)) == ["other"]


def test_secrets_of_an_extra_are_in_variables_that_dbt_hides_and_nowhere_else(project):
    extra = {"private_key_content": "-----BEGIN k", "account": "ab12", "token_file": "/t"}
    profile = choose_profile(config(project), Connection("snowflake", extra=extra), {})
    holders = [name for name, value in profile.environment.items() if "BEGIN" in value]
    assert holders == [
        "DBT_ENV_SECRET_WAREHOUSE_PRIVATE_KEY_CONTENT",
        "DBT_ENV_SECRET_WAREHOUSE_PRIVATE_KEY",
    ]
    assert profile.environment["WAREHOUSE_EXTRA"] == '{"account": "ab12", "token_file": "/t"}'
    assert "BEGIN" not in profile.text


def test_a_type_that_no_adapter_serves_is_named_with_the_way_out(project):
    with pytest.raises(ProfileError) as error:
        choose_profile(config(project), Connection("mysql"), {})
    assert str(error.value).startswith(
        f"{project} has no profile 'shop', and no dbt adapter is known for the connection type "
        "'mysql' (athena, "
    )
    assert str(error.value).endswith(f"Write {project}/profiles.yml: docs/warehouses.md shows how")


def venv_with(folder: Path, *adapters: str) -> str:
    """A dbt in a virtual environment with those adapters, as far as folders tell."""
    for name in ("global_project", *adapters):
        place = folder / "lib/python3.12/site-packages/dbt/include" / name
        place.mkdir(parents=True)
        (place / "dbt_project.yml").touch()
    (folder / "bin").mkdir()
    (folder / "bin" / "dbt").touch()
    return str(folder / "bin" / "dbt")


def test_an_adapter_that_is_not_installed_is_named_with_the_command_that_adds_it(project, tmp_path):
    dbt = venv_with(tmp_path / "venv", "postgres")
    with pytest.raises(ProfileError) as error:
        choose_profile(config(project, dbt), Connection("duckdb", "/d/shop.duckdb"), {})
    assert str(error.value) == (
        f"The profile 'shop' (made of the Airflow connection, because {project} has no profile "
        "'shop'): "
        "dbt has no adapter duckdb here (it has postgres). "
        f"Add it with: {tmp_path}/venv/bin/python -m pip install 'dbt-duckdb'"
    )


@pytest.mark.parametrize(
    ("account", "connection", "variables"),
    [
        ("{{ env_var('ACCOUNT') }}", None, "AIRFLOW_CONN_WAREHOUSE=…"),
        ("ab12", None, "AIRFLOW_CONN_WAREHOUSE=… DBT_PROFILE_FROM=connection"),
        ("ab12", POSTGRES, "DBT_PROFILE_FROM=connection"),
    ],
)
def test_who_has_another_warehouse_than_the_projects_profile_is_told_what_to_set(
    account, connection, variables, project, tmp_path
):
    dbt = venv_with(tmp_path / "venv", "postgres")
    own_profile(project, type="snowflake", account=account)
    with pytest.raises(ProfileError, match="no adapter snowflake here") as error:
        choose_profile(config(project, dbt), connection, {})
    assert str(error.value).splitlines()[1:] == [
        f"For another warehouse: export {variables} (docs/warehouses.md)"
    ]


def test_in_the_projects_own_environment_that_command_is_one_of_make():
    from include.engine.warehouse.installed import add_command

    assert add_command(settings.ROOT / ".dbt/venv/bin/dbt", "spark") == (
        "echo 'dbt-spark[PyHive]  # how dbt talks to the warehouse' >> requirements-dbt.in "
        "&& make pins manifest"
    )


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        (("postgres",), "postgres"),
        (("postgres", "redshift"), "redshift"),
        (("databricks", "spark"), "databricks"),
    ],
)
def test_without_a_connection_the_installed_adapter_has_a_stand_in(
    project, tmp_path, installed, chosen
):
    dbt = venv_with(tmp_path / "venv", *installed)
    assert choose_profile(config(project, dbt), None, {}).adapter == chosen


def test_without_a_connection_the_adapter_that_the_project_names_is_looked_for(project, tmp_path):
    own_profile(project, type="trino", host="{{ env_var('T') }}")
    dbt = venv_with(tmp_path / "venv", "postgres", "trino")
    assert choose_profile(config(project, dbt), None, {}).adapter == "trino"


def test_only_adapters_that_nothing_is_known_of_ask_for_a_profile(project, tmp_path):
    dbt = venv_with(tmp_path / "venv", "firebolt")
    with pytest.raises(ProfileError, match=r"is installed \(firebolt\)\. Write "):
        choose_profile(config(project, dbt), None, {})


def test_the_folder_of_packages_is_the_one_that_the_project_names(project):
    assert read_project(project, project, {}, {}).packages == project / "dbt_packages"
    (project / "dbt_project.yml").write_text("packages-install-path: \"{{ env_var('P', 'x') }}\"")
    assert read_project(project, project, {"P": "/packages"}, {}).packages == Path("/packages")
    assert read_project(project, project, {}, {}).packages == project / "x"
