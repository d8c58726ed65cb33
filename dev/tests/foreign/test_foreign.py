"""What a stranger's project becomes here, adopted and run untouched, is what `dbt build` makes of
it; also after a change that makes it fail.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dev.tests.foreign import compare
from dev.tests.foreign.projects import ALL, Foreign
from dev.tests.postgres import run_postgres


@pytest.fixture(scope="module")
def host() -> Iterator[Path]:
    with run_postgres() as folder:
        yield folder


def write(folder: Path, files: Mapping[str, str], links: Mapping[str, str] | None = None) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name, target in (links or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(target)


def without_hash(unique_id: str) -> str:
    return re.sub(r"\.[0-9a-f]{10}$", "", unique_id)


@pytest.mark.parametrize("name", ALL)
def test_a_foreign_project_is_what_dbt_build_makes_of_it(name, host, tmp_path):
    foreign = ALL[name]
    source, untouched, clone = (tmp_path / part for part in ("source", "untouched", "a place"))
    write(source, foreign.files, foreign.links)
    compare.commit(source)
    shutil.copytree(source, untouched, symlinks=True)
    compare.make_clone(clone)
    given = variables(foreign, host, "adopted") | foreign.settings
    code, output = compare.make(clone, "adopt", f"FROM={source / foreign.folder}", **given)
    assert code == 0, output
    adopted = compare_sides(foreign, clone, untouched, host)
    assert set(adopted.statuses.values()) <= {"success", "pass", "warn"}
    inner = clone / "include" / "dbt"
    write(untouched, foreign.failure)
    outer = (
        source if (inner / foreign.folder / "dbt_project.yml").exists() else source / foreign.folder
    )
    for path, text in foreign.failure.items():
        (inner / os.path.relpath(source / path, outer)).write_text(text)
    adopted = compare_sides(foreign, clone, untouched, host)
    wrong = {
        without_hash(unique_id): status
        for unique_id, status in adopted.statuses.items()
        if status not in ("success", "pass", "warn")
    }
    assert wrong == foreign.wrong


def variables(foreign: Foreign, host: Path, database: str) -> dict[str, str]:
    """What the person exports, for the warehouse of one side."""
    return {
        name: value.replace("HOST", str(host)).replace("DATABASE", database)
        for name, value in foreign.variables.items()
    }


def compare_sides(foreign: Foreign, clone: Path, untouched: Path, host: Path) -> compare.Result:
    """The adopted project's results, which are those of `dbt build` on the untouched one."""
    given = variables(foreign, host, "adopted") | foreign.settings
    adopted, said = compare.run_adopted(clone, host, **given)
    project = untouched / foreign.folder
    profile = project if (project / "profiles.yml").exists() else None
    plain, by_dbt = compare.build_plain(
        project, host, *foreign.arguments, profile=profile, **variables(foreign, host, "plain")
    )
    assert compare.differences(adopted, plain) == [], f"{said}\n{by_dbt}"
    return adopted
