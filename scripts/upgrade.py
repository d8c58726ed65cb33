"""Replaces the engine's side of this project by the one of a newer state of the template.

    make upgrade FROM=<git address or folder> TO=<branch, tag or commit>

Everything in ENGINE is the engine's, all else is the user's and stays as it is. The template is
cloned into a scratch folder, and nothing is merged: so it is the same whether this project shares
history with the template or not. The newer template's own copy of this script does the work.
Standard library only: it runs before any environment is made, and replaces its own file.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# A newer template's copy of this script lies in a scratch folder, and is given the project's.
HANDED_OVER = os.environ.get("UPGRADE_PROJECT")
PROJECT = Path(HANDED_OVER or Path(__file__).resolve().parent.parent)
ENGINE = (
    *("include/engine", "plugins", "scripts", "dev", "docs"),
    *("Makefile", "CHANGELOG.md", "include/__init__.py", ".airflowignore"),
)
# The user replaces these whole: what the template's sample says now is no news.
SAMPLE = ("include/dbt", "README.md")
VERSION_FILE = "include/engine/version.py"
REMOTE = "template"


class UpgradeError(Exception):
    """Why nothing was upgraded, and what to do about it. Its text is shown as it is."""


class Repository(NamedTuple):
    """A git repository and the folder that its commands are about."""

    git_folder: Path
    folder: Path

    def git(self, *arguments: str, entered: str = "", may_fail: bool = False) -> str | None:
        """What a git command prints. If it fails: None if it may, else raises UpgradeError."""
        where = (f"--git-dir={self.git_folder}", f"--work-tree={self.folder}")
        command = ("git", "-c", "core.quotePath=false", *where, *arguments)
        done = subprocess.run(
            command, cwd=self.folder, input=entered, capture_output=True, text=True
        )
        if done.returncode and not may_fail:
            raise UpgradeError(f"git {arguments[0]} failed:\n{done.stderr.strip()}")
        return None if done.returncode else done.stdout

    def lines(self, *arguments: str) -> list[str]:
        """The lines, or with `-z` the entries, that a git command prints."""
        text = self.git(*arguments)
        return [line for line in text.split("\0" if "-z" in arguments else "\n") if line]


class Change(NamedTuple):
    """What an upgrade changes on the engine's side: `kept` are the user's own files there."""

    written: list[str]
    removed: list[str]
    kept: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="source", default="", help="a git address or folder")
    parser.add_argument("--to", default="", help="a branch, a tag or a commit (default: its HEAD)")
    options = parser.parse_args()
    try:
        user = open_project(PROJECT)
        with tempfile.TemporaryDirectory(prefix="upgrade-") as scratch:
            template = clone(template_address(user, options.source), Path(scratch))
            new = find_commit(template, options.to)
            if not HANDED_OVER:
                return upgrade_by_its_own_script(template, new, Path(scratch))
            upgrade(user, template, new)
    except UpgradeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def upgrade_by_its_own_script(template: Repository, new: str, scratch: Path) -> int:
    """The exit code of the script of the commit `new`: it knows which paths are the engine's there.

    The clone is on this machine already, and serves as the template.
    """
    script = scratch / "upgrade.py"
    script.write_text(template.git("show", f"{new}:scripts/upgrade.py"))
    command = (sys.executable, str(script), "--from", str(template.git_folder), "--to", new)
    return subprocess.run(command, env=os.environ | {"UPGRADE_PROJECT": str(PROJECT)}).returncode


def upgrade(user: Repository, template: Repository, new: str) -> None:
    """Makes the engine's side that of the commit `new`, and prints what the user has to know."""
    change = compare(user, template, new)
    name = f"{version_at(template, new)} ({new[:12]})"
    if not change.written and not change.removed:
        print(f"Nothing to do: the engine here is that of version {name}.")
        return
    require_committed(user)
    old = find_old_commit(user, template)
    old_version = read_version((PROJECT / VERSION_FILE).read_text())
    old_changelog = (PROJECT / "CHANGELOG.md").read_text()
    replace(template, new, change)
    print(f"The engine was that of version {old_version}. Now it is that of version {name}.")
    print(f"{len(change.written)} files written, {len(change.removed)} removed.")
    if change.kept:
        print("\nYours in the engine's folders, and kept:", *change.kept, sep="\n  ")
    if not old:
        print(
            "\nThe engine here had been changed: it was none of the template's. It was replaced."
            "\nSee what was replaced with: git diff HEAD"
        )
    for text in news(template, old, new):
        print(f"\n{text}")
    print("\nChangelog:\n")
    print("\n".join(changelog_between(old_changelog, template.git("show", f"{new}:CHANGELOG.md"))))
    engine = " ".join(user.lines("ls-tree", "--name-only", "HEAD", "--", *ENGINE))
    print("\nTest it with: make test. Then commit it. Or undo it with:")
    print(f"git restore {engine} && git clean -fd {engine}")


def open_project(folder: Path) -> Repository:
    """The git repository that holds the project. Raises UpgradeError."""
    if shutil.which("git") is None:
        raise UpgradeError("This needs git.")
    command = ("git", "rev-parse", "--absolute-git-dir")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UpgradeError(f"{folder} is in no git repository. Make one with: git init")
    top = subprocess.run(
        ("git", "rev-parse", "--show-toplevel"), cwd=folder, capture_output=True, text=True
    )
    if Path(top.stdout.rstrip("\n")).resolve() != folder:
        raise UpgradeError(f"{folder} is not the top of its git repository.")
    return Repository(Path(done.stdout.rstrip("\n")), folder)


def template_address(user: Repository, source: str) -> str:
    """The address of the template: `source`, else that of the remote `template`."""
    if source:
        return str(Path(source).resolve()) if Path(source).is_dir() else source
    address = user.git("remote", "get-url", REMOTE, may_fail=True)
    if address is None:
        raise UpgradeError(
            "Where is the template? Name it: make upgrade FROM=<git address or folder>\n"
            f"Or once for all times: git remote add {REMOTE} <git address>"
        )
    return address.strip()


def clone(address: str, scratch: Path) -> Repository:
    """The template with all its history. Its commands are about the files of this project."""
    if not HANDED_OVER:
        print(f"==> Fetching {address}", flush=True)
    folder = scratch / "template.git"
    command = ("git", "clone", "--quiet", "--bare", "--", address, str(folder))
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise UpgradeError(f"Could not fetch {address}:\n{done.stderr.strip()}")
    return Repository(folder, PROJECT)


def find_commit(template: Repository, name: str) -> str:
    """The commit of a branch, a tag or an id. Raises UpgradeError if there is no template there."""
    commit = template.git(
        *("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name or 'HEAD'}^{{commit}}"),
        may_fail=True,
    )
    if commit is None:
        raise UpgradeError(f"The template has no branch, tag or commit {name or 'HEAD'}.")
    commit = commit.strip()
    if template.git("rev-parse", "--quiet", f"{commit}:{VERSION_FILE}", may_fail=True) is None:
        raise UpgradeError(f"{name or commit} is no version of this template: no {VERSION_FILE}")
    return commit


def compare(user: Repository, template: Repository, new: str) -> Change:
    """What the commit `new` changes on the engine's side. A file that the template has never had
    is the user's own.
    """
    template.git(
        "read-tree", new
    )  # the index of the clone: `git diff` compares the files here to it
    written = template.lines("diff", "--name-only", "--no-renames", "-z", "--", *ENGINE)
    wanted = {*template.lines("ls-files", "-z", "--", *ENGINE)}
    ever = {*template.lines("log", "--all", "-m", "--format=", "--name-only", "-z", "--", *ENGINE)}
    here = user.lines(
        *("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *ENGINE)
    )
    extra = sorted(path for path in {*here} - wanted if os.path.lexists(PROJECT / path))
    return Change(
        written=written,
        removed=[path for path in extra if path in ever],
        kept=[path for path in extra if path not in ever],
    )


def require_committed(user: Repository) -> None:
    """Raises UpgradeError if something on the engine's side is not committed."""
    changed = user.lines("status", "--porcelain", "--untracked-files=all", "--", *ENGINE)
    if changed:
        raise UpgradeError(
            "Not committed, and on the engine's side, which an upgrade replaces:\n"
            + "\n".join(changed)
            + "\nCommit it or drop it, and then: make upgrade"
        )


def find_old_commit(user: Repository, template: Repository) -> str | None:
    """The first commit of the template whose engine is the one here; None if there is none."""
    engine = user.git("rev-parse", "--verify", "--quiet", "HEAD:include/engine", may_fail=True)
    engine = (engine or "").strip()
    commits = template.lines("rev-list", "--all", "--reverse", "--", "include/engine")
    asked = "".join(f"{commit}:include/engine\n" for commit in commits)
    engines = template.git("cat-file", "--batch-check=%(objectname)", entered=asked).splitlines()
    return next(
        (commit for commit, found in zip(commits, engines, strict=True) if found == engine), None
    )


def replace(template: Repository, new: str, change: Change) -> None:
    """Writes and removes the files of `change`, and folders that are empty then."""
    for path in change.removed:
        (PROJECT / path).unlink()
    if change.written:
        template.git("checkout", "--force", new, "--", *change.written)
    for folder in {parent for path in change.removed for parent in Path(path).parents}:
        shutil.rmtree(PROJECT / folder / "__pycache__", ignore_errors=True)
    for path in change.removed:
        for folder in Path(path).parents:
            if any((PROJECT / folder).iterdir()):
                break
            (PROJECT / folder).rmdir()


def news(template: Repository, old: str | None, new: str) -> Iterator[str]:
    """For each file on the user's side that the template has changed since `old`, and that is not
    as in `new`: what changed. With no `old`, the difference to the user's file.
    """
    yours = ("--", ".", *(f":(exclude){path}" for path in (*ENGINE, *SAMPLE)))
    names = (old, new) if old else (new,)
    changed = template.lines("diff", "--name-only", "--no-renames", "-z", *names, *yours)
    here = {*template.lines("diff", "--name-only", "--no-renames", "-z", new, *yours)}
    before = {*template.lines("ls-tree", "-r", "--name-only", "-z", old or new)}
    # What the user has deleted is no news; what the template had not before is.
    differing = [
        path
        for path in changed
        if path in here and (path not in before or os.path.lexists(PROJECT / path))
    ]
    if not differing:
        yield "No file of yours differs from what the template has changed."
        return
    since = "since your version" if old else "(each line with + is in yours alone)"
    yield "Yours stays as it is. Changed in the template " + since + ":"
    for path in differing:
        yield template.git("diff", "--no-renames", *names, "--", path).rstrip("\n")


def version_at(template: Repository, commit: str) -> str:
    return read_version(template.git("show", f"{commit}:{VERSION_FILE}"))


def read_version(text: str) -> str:
    """The version that the text of `include/engine/version.py` says."""
    match = re.search(r'^VERSION = "(.+)"$', text, re.M)
    return match[1] if match else "unknown"


def changelog_between(old: str, new: str) -> Iterable[str]:
    """The lines that only the new changelog has, each under its headings."""
    known = {*old.splitlines()}
    headings: dict[int, str] = {}
    for line in new.splitlines():
        level = len(line) - len(line.lstrip("#"))
        if level:
            headings = {depth: text for depth, text in headings.items() if depth < level}
            headings[level] = line
        elif line and line not in known:
            yield from (text for depth, text in sorted(headings.items()) if depth > 1)
            headings = {}
            yield line


if __name__ == "__main__":
    sys.exit(main())
