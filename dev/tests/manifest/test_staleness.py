from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.engine.manifest import staleness


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "dbt_project.yml": "name: shop",
        "models/a.sql": "select 1",
        "models/b.py": "def model(dbt, session): ...",
        "models/docs.md": "{% docs a %}{% enddocs %}",
        "seeds/rows.csv": "id\n1",
        "seeds/notes.txt": "nothing of dbt's",
        "target/compiled/a.sql": "select 1",
        "models/logs/a_log.sql": "select 1",
    }
    for name, text in files.items():
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / name).write_text(text)
    return tmp_path / "shop"


@pytest.fixture
def manifest(project: Path, tmp_path: Path) -> Path:
    """A manifest built from the project as it is."""
    file = tmp_path / "manifest" / "manifest.json"
    file.parent.mkdir()
    file.write_text('{"metadata": {"invocation_id": "1"}}')
    staleness.write_list(file, staleness.project_files(project))
    return file


def test_what_dbt_reads_is_recorded_and_what_it_writes_is_not(project):
    assert sorted(staleness.project_files(project)) == [
        "dbt_project.yml",
        "models/a.sql",
        "models/b.py",
        "models/docs.md",
        "models/logs/a_log.sql",
        "seeds/rows.csv",
    ]


def test_nothing_changed_right_after_the_manifest_was_built(manifest, project):
    assert staleness.changed_files(manifest, project) == []


def test_files_edited_added_and_removed_are_named_in_order(manifest, project):
    (project / "models/b.py").unlink()
    (project / "models/a.sql").write_text("select 2")
    (project / "models/c.sql").write_text("select 3")
    assert staleness.changed_files(manifest, project) == [
        "models/a.sql",
        "models/b.py",
        "models/c.sql",
    ]


def test_a_file_that_only_has_another_time_is_not_changed(manifest, project):
    """As in a fresh clone, or on a mount that keeps whole seconds."""
    for time in (1, 10**10):
        os.utime(project / "models/a.sql", (time, time))
        assert staleness.changed_files(manifest, project) == []


def test_an_edit_is_seen_although_the_file_is_as_long_and_older(manifest, project):
    (project / "models/a.sql").write_text("select 9")
    os.utime(project / "models/a.sql", (1, 1))
    assert staleness.changed_files(manifest, project) == ["models/a.sql"]


def test_other_rows_in_a_seed_change_nothing_but_another_seed_does(manifest, project):
    (project / "seeds/rows.csv").write_text("id\n1\n2")
    assert staleness.changed_files(manifest, project) == []
    (project / "seeds/rows.csv").rename(project / "seeds/renamed.csv")
    assert staleness.changed_files(manifest, project) == ["seeds/renamed.csv", "seeds/rows.csv"]


def test_what_dbt_writes_beside_its_sources_changes_nothing(manifest, project):
    (project / "package-lock.yml").write_text("packages: []")
    for folder in ("dbt_packages/extra", "build"):
        (project / folder).mkdir(parents=True)
        (project / folder / "x.sql").write_text("select 1")
    (project / "build" / "partial_parse.msgpack").write_text("")
    assert staleness.changed_files(manifest, project) == []


@pytest.mark.parametrize("written", ["partial_parse.msgpack", "semantic_manifest.json"])
def test_a_target_folder_below_another_changes_nothing(manifest, project, written):
    (project / "out/of/dbt/compiled").mkdir(parents=True)
    (project / "out/of/dbt" / written).write_text("")
    (project / "out/of/dbt/compiled/x.sql").write_text("select 1")
    assert staleness.changed_files(manifest, project) == []


def test_a_loop_of_links_ends_and_a_link_to_nowhere_is_no_file(project, manifest):
    """`local: ../` in packages.yml leaves such a loop, and dbt does not read either."""
    (project / "integration_tests/dbt_packages").mkdir(parents=True)
    (project / "integration_tests/dbt_packages/shop").symlink_to("../..")
    (project / "models/again").symlink_to("../models")
    (project / "up").symlink_to(project.parent)
    (project / "scratch").mkdir()
    (project / "scratch/old.sql").symlink_to("/nowhere/x.sql")
    assert staleness.changed_files(manifest, project) == [
        "integration_tests/dbt_packages/shop",
        "models/again",
        "up",
    ]
    staleness.write_list(manifest, staleness.project_files(project))
    assert staleness.changed_files(manifest, project) == []


def test_a_folder_that_a_link_leads_to_is_walked_once_and_an_edit_in_it_is_seen(
    project, manifest, tmp_path
):
    (tmp_path / "shared/deep").mkdir(parents=True)
    (tmp_path / "shared/deep/s.sql").write_text("select 1")
    (tmp_path / "shared/back").symlink_to(project)
    (project / "models/shared").symlink_to(tmp_path / "shared")
    (project / "models/shared_too").symlink_to(tmp_path / "shared/deep")
    staleness.write_list(manifest, staleness.project_files(project))
    (tmp_path / "shared/deep/s.sql").write_text("select 2")
    assert staleness.changed_files(manifest, project) == ["models/shared/deep/s.sql"]


def test_nothing_is_said_of_a_manifest_that_came_without_its_list(manifest, project):
    (project / "models/a.sql").write_text("select 2")
    manifest.write_text('{"metadata": {"invocation_id": "2"}}')
    assert staleness.changed_files(manifest, project) == []
    staleness.list_path(manifest).unlink()
    assert staleness.changed_files(manifest, project) == []


def test_nothing_is_said_where_there_is_no_project(manifest, project):
    assert staleness.changed_files(manifest, project.with_name("gone")) == []


def test_an_unreadable_list_is_as_none(manifest, project):
    staleness.list_path(manifest).write_text("{")
    assert staleness.changed_files(manifest, project) == []


def test_the_notice_names_three_files_and_the_commands_that_mend_it():
    assert staleness.notice([]) == ""
    assert staleness.notice(["a.sql", "b.sql", "c.sql", "d.sql"]) == (
        "\n**This DAG is not of the dbt project as it is now.** Changed since its manifest was "
        "built: `a.sql`, `b.sql`, `c.sql` and 1 more. Build it again with `make manifest`, or "
        "inside a container with `python -m include.engine.manifest.build`.\n"
    )
