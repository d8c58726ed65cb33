import re
from pathlib import Path

import pytest

from include.engine.settings import ROOT, SettingsError, load


def test_without_any_variable_every_path_lies_in_the_project():
    found = load({}, root=Path("/p"))
    assert (found.project_dir, found.dbt_executable, found.manifest) == (
        Path("/p/include/dbt"),
        Path("/p/.dbt/venv/bin/dbt"),
        Path("/p/.dbt/manifest/manifest.json"),
    )
    assert (found.connection, found.gate_tests, found.unit_tests) == ("warehouse", True, False)


def test_a_variable_that_is_set_wins_and_an_empty_one_does_not():
    found = load({"DBT_PROJECT_DIR": "/elsewhere", "DBT_MANIFEST": "", "DBT_GATE_TESTS": "Off"})
    assert found.project_dir == Path("/elsewhere")
    assert found.manifest == ROOT / ".dbt/manifest/manifest.json"
    assert found.gate_tests is False


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DBT_UNIT_TESTS", "perhaps", "DBT_UNIT_TESTS is 'perhaps'; it takes true or false"),
        ("DBT_RUNS_KEPT", "-1", "DBT_RUNS_KEPT is '-1'; it takes a whole number"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(variable, value, message):
    with pytest.raises(SettingsError) as error:
        load({variable: value})
    assert str(error.value) == message


def test_nothing_else_reads_the_environment():
    """`os.environ` stands in settings.py, and where a child process is given its environment.

    The warm dbt is a command line to those who call it: it reads the environment as dbt does.
    """
    reads = {
        str(path.relative_to(ROOT))
        for folder in ("dags", "include", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        if not {"inside", "warm"} & set(path.relative_to(ROOT).parts)
        and re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    }
    assert reads == {
        f"include/engine/{name}.py"
        for name in (
            "settings",
            "dag/preload",
            "manifest/build",
            "run/dbt",
            "run/environment",
        )
    }


def deploy(root: Path, name: str) -> Path:
    """A dbt project where `astro dbt deploy` puts it."""
    folder = root / "dbt" / name
    folder.mkdir(parents=True)
    (folder / "dbt_project.yml").touch()
    return folder


def test_a_deployed_project_is_taken_where_the_default_folder_has_none(tmp_path):
    (tmp_path / "dbt" / "no_project").mkdir(parents=True)
    assert load({}, tmp_path).project_dir == tmp_path / "include/dbt"
    shop = deploy(tmp_path, "shop")
    found = load({}, tmp_path)
    assert (found.project_dir, found.profiles_dir) == (shop, shop)
    (tmp_path / "include/dbt").mkdir(parents=True)
    assert load({}, tmp_path).project_dir == tmp_path / "include/dbt"


def test_of_several_deployed_projects_the_setting_has_to_name_one(tmp_path):
    shop = deploy(tmp_path, "shop")
    deploy(tmp_path, "bank")
    with pytest.raises(SettingsError) as error:
        load({}, tmp_path)
    message = "DBT_PROJECT_DIR has to name one of these dbt projects: dbt/bank, dbt/shop"
    assert str(error.value) == message
    assert load({"DBT_PROJECT_DIR": "dbt/shop"}, tmp_path).project_dir == shop
