"""`make upgrade`, with real git, in two adapted clones: one shares the template's history."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from include.engine.settings import ROOT
from scripts import upgrade

OLD, NEW = "0.2.0", "0.3.0"
GIT = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=0")
CHANGELOG = """\
# Changelog

## 0.2.0

- The first.
"""
NEWER = """\
# Changelog

## 0.3.0

- The next.

### What you must do

- Nothing.

## 0.2.0

- The first.
"""
FILES = {
    "include/__init__.py": "",
    "include/engine/version.py": f'VERSION = "{OLD}"\n',
    "include/engine/run/operator.py": "old\n",
    "include/engine/gone/away.py": "old\n",
    "plugins/dbt_docs.py": "old\n",
    "dev/requirements-dev.txt": "old==1\n",
    "docs/upgrading.md": "old\n",
    "docs/ünï code.md": "old\n",
    "CHANGELOG.md": CHANGELOG,
    "dags/dbt_dag.py": "retries = 2\nowner = 'dbt'\n",
    "include/dbt/dbt_project.yml": "name: sample\n",
    "include/dbt/models/orders.sql": "select 1\n",
    "tests/test_dags.py": "old\n",
    "requirements.txt": "",
    "Dockerfile": "FROM runtime:1\nRUN one\n",
    "docker-compose.override.yml": "old\n",
    "README.md": "old\n",
    ".ci/run": "old\n",
    ".gitignore": "__pycache__/\n",
}
CHANGES = {
    "include/engine/version.py": f'VERSION = "{NEW}"\n',
    "include/engine/run/operator.py": "new\n",
    "include/engine/gone/away.py": None,
    "include/engine/more/new.py": "new\n",
    "dev/requirements-dev.txt": "old==2\n",
    "docs/ünï code.md": "new\n",
    "CHANGELOG.md": NEWER,
    "dags/dbt_dag.py": "retries = 3\nowner = 'dbt'\n",
    "include/dbt/models/orders.sql": "select 2\n",
    "tests/test_dags.py": "new\n",
    "tests/test_more.py": "new\n",
    "Dockerfile": "FROM runtime:2\nRUN one\n",
    "README.md": "new\n",
    ".ci/run": "new\n",
}
# What the user of each clone has made of it.
ADAPTED = {
    "dags/dbt_dag.py": "retries = 2\nowner = 'us'\n",
    "dags/ours.py": "ours\n",
    "include/dbt/dbt_project.yml": "name: ours\n",
    "include/dbt/models/orders.sql": None,
    "include/dbt/models/ours.sql": "select 3\n",
    "plugins/ours.py": "ours\n",
    "requirements.txt": "ours\n",
    "Dockerfile": "FROM runtime:1\nRUN one\nRUN ours\n",
    "README.md": "ours\n",
    ".ci/run": None,
}


def git(folder: Path, *arguments: str) -> str:
    command = [*GIT, "-C", str(folder), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def write(folder: Path, files: dict[str, str | None]) -> None:
    for name, text in files.items():
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def commit(folder: Path, files: dict[str, str | None]) -> str:
    write(folder, files)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a change")
    return git(folder, "rev-parse", "HEAD").strip()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the project but git's own, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".git", "__pycache__"} & {*path.relative_to(folder).parts}
    }


def is_engine(path: str) -> bool:
    return path.startswith(tuple(upgrade.ENGINE))


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A template in a folder with a space, with the branch `main` at the version NEW."""
    folder = tmp_path_factory.mktemp("the template")
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name in ("Makefile", "scripts/python", "scripts/upgrade.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "scripts/python").chmod(0o755)
    commit(folder, FILES)
    git(folder, "tag", "v0.2.0")
    commit(folder, CHANGES | {"scripts/upgrade.py": f"# newer\n{upgrade_source()}"})
    return folder


def upgrade_source() -> str:
    return (ROOT / "scripts/upgrade.py").read_text()


class Upgraded(NamedTuple):
    folder: Path
    before: dict[str, bytes]
    output: str


@pytest.fixture(scope="module")
def clones(template, tmp_path_factory) -> dict[str, Path]:
    """Two clones of the old version that their users have adapted in the same way."""
    shared = tmp_path_factory.mktemp("clones") / "shared history"
    git(shared.parent, "clone", "--quiet", str(template), str(shared))
    git(shared, "reset", "--quiet", "--hard", "v0.2.0")
    git(shared, "remote", "remove", "origin")
    unshared = shared.with_name("no shared history")
    shutil.copytree(shared, unshared, ignore=shutil.ignore_patterns(".git"))
    git(unshared, "init", "--quiet", "--initial-branch=main")
    commit(unshared, {})
    for folder in (shared, unshared):
        commit(folder, ADAPTED)
        (folder / "include/engine/gone/__pycache__").mkdir()
        (folder / "include/engine/gone/__pycache__/away.pyc").write_text("made")
    return {folder.name: folder for folder in (shared, unshared)}


@pytest.fixture(params=["shared history", "no shared history"])
def adapted(request, clones, tmp_path) -> Path:
    """A copy of each clone, for a test to upgrade."""
    return shutil.copytree(clones[request.param], tmp_path / "our project")


@pytest.fixture
def shared(clones, tmp_path) -> Path:
    """A copy of the clone with shared history, where it makes no difference."""
    return shutil.copytree(clones["shared history"], tmp_path / "our project")


def make_upgrade(folder: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        ["make", "-s", "upgrade", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


@pytest.fixture
def upgraded(adapted, template) -> Upgraded:
    before = contents(adapted)
    code, output = make_upgrade(adapted, f"FROM={template}", "TO=main")
    assert code == 0, output
    return Upgraded(adapted, before, output)


def test_the_engine_becomes_the_templates_and_the_users_files_stay(upgraded, template):
    after = contents(upgraded.folder)
    yours = {path: text for path, text in upgraded.before.items() if not is_engine(path)}
    assert {path: text for path, text in after.items() if not is_engine(path)} == yours
    engine = {path: text for path, text in contents(template).items() if is_engine(path)}
    assert {path: text for path, text in after.items() if is_engine(path)} == engine | {
        "plugins/ours.py": b"ours\n"
    }
    assert (upgraded.folder / "scripts/python").stat().st_mode & 0o111
    assert not (upgraded.folder / "include/engine/gone").exists()


def test_what_the_template_has_changed_on_the_users_side_is_shown(upgraded, template):
    new = git(template, "rev-parse", "main")[:12]
    first, *rest = upgraded.output.split("diff --git ")
    assert first.splitlines() == [
        f"==> Fetching {template}",
        f"The engine was that of version {OLD}. Now it is that of version {NEW} ({new}).",
        "7 files written, 1 removed.",
        "",
        "Yours in the engine's folders, and kept:",
        "  plugins/ours.py",
        "",
        "Yours stays as it is. Changed in the template since your version:",
        "",
    ]
    names = [text.split()[0].removeprefix("a/") for text in rest]
    assert names == ["Dockerfile", "dags/dbt_dag.py", "tests/test_dags.py", "tests/test_more.py"]
    assert re.findall(r"^[+-]\w.*", rest[0], re.M) == ["-FROM runtime:1", "+FROM runtime:2"]
    assert rest[-1].partition("Changelog:\n")[2].splitlines() == [
        "",
        "## 0.3.0",
        "- The next.",
        "### What you must do",
        "- Nothing.",
        "",
        "Test it with: make test. Then commit it. Or undo it with:",
        upgraded.output.splitlines()[-1],
    ]


def test_the_command_that_undoes_an_upgrade_undoes_it(upgraded):
    undo = upgraded.output.splitlines()[-1]
    subprocess.run(["sh", "-c", undo], cwd=upgraded.folder, stdout=subprocess.PIPE, check=True)
    assert contents(upgraded.folder) == upgraded.before
    assert git(upgraded.folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("committed", [False, True])
def test_a_second_upgrade_changes_nothing_and_says_so(upgraded, template, committed):
    if committed:
        commit(upgraded.folder, {})
    before = contents(upgraded.folder)
    new = git(template, "rev-parse", "main")[:12]
    assert make_upgrade(upgraded.folder, f"FROM=file://{template}") == (
        0,
        f"==> Fetching file://{template}\n"
        f"Nothing to do: the engine here is that of version {NEW} ({new}).\n",
    )
    assert contents(upgraded.folder) == before


def test_the_template_is_the_remote_of_that_name(shared, template):
    code, output = make_upgrade(shared)
    assert (code, output.splitlines()[:2]) == (
        2,
        [
            "Where is the template? Name it: make upgrade FROM=<git address or folder>",
            "Or once for all times: git remote add template <git address>",
        ],
    )
    git(shared, "remote", "add", "template", str(template))
    assert make_upgrade(shared, "TO=v0.2.0")[1].splitlines()[1].startswith("Nothing to do")
    assert make_upgrade(shared)[0] == 0
    assert (shared / "include/engine/version.py").read_text() == f'VERSION = "{NEW}"\n'


@pytest.mark.parametrize("name", ["include/engine/run/operator.py", "docs/new.md"])
def test_nothing_is_replaced_that_is_not_committed(shared, template, name):
    write(shared, {name: "ours\n"})
    before = contents(shared)
    code, output = make_upgrade(shared, f"FROM={template}")
    assert code == 2
    mark = " M" if "operator" in name else "??"
    assert output.splitlines()[1:4] == [
        "Not committed, and on the engine's side, which an upgrade replaces:",
        f"{mark} {name}",
        "Commit it or drop it, and then: make upgrade",
    ]
    assert contents(shared) == before


def test_what_is_not_committed_on_the_users_side_is_no_hindrance(shared, template):
    write(shared, {"Dockerfile": "FROM ours\n", "dags/more.py": "ours\n"})
    assert make_upgrade(shared, f"FROM={template}")[0] == 0
    assert (shared / "Dockerfile").read_text() == "FROM ours\n"
    assert (shared / "dags/more.py").read_text() == "ours\n"


def test_an_engine_that_the_user_has_changed_is_replaced_and_named(shared, template):
    commit(shared, {"include/engine/run/operator.py": "ours\n"})
    code, output = make_upgrade(shared, f"FROM={template}")
    assert code == 0
    assert (shared / "include/engine/run/operator.py").read_text() == "new\n"
    assert "See what was replaced with: git diff HEAD" in output
    # With no old state known, the user's files are compared to the template's.
    assert "+RUN ours" in output.partition("diff --git a/Dockerfile")[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["TO=nowhere"], "The template has no branch, tag or commit nowhere."),
        (["TO=--all"], "The template has no branch, tag or commit --all."),
        (["TO=empty"], f"empty is no version of this template: no {upgrade.VERSION_FILE}"),
    ],
)
def test_what_is_no_version_of_the_template_is_named(shared, template, options, message):
    empty = git(template, "commit-tree", "-m", "empty", git(template, "mktree").strip()).strip()
    git(template, "branch", "--force", "empty", empty)
    before = contents(shared)
    code, output = make_upgrade(shared, f"FROM={template}", *options)
    git(template, "branch", "--delete", "--force", "empty")
    assert (code, output.splitlines()[1]) == (2, message)
    assert contents(shared) == before


def test_an_address_that_is_none_is_named(shared, tmp_path):
    code, output = make_upgrade(shared, f"FROM={tmp_path / 'nothing'}")
    assert (code, output.splitlines()[1]) == (2, f"Could not fetch {tmp_path / 'nothing'}:")
