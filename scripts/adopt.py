"""Puts a dbt project into `include/dbt`, in the place of the one that is there.

    make adopt FROM=<folder or git address>

What dbt writes and the history of git stay behind. A package that lies beside the project
(`local: ../`) is copied, too; then .env and the Dockerfile name the project's folder.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from include.engine import settings
from include.engine.warehouse.project import PACKAGES, PROJECT_FILE
from scripts.copy_project import LEFT_BEHIND, WRITTEN, CopyError, copy_project
from scripts.env_file import PROJECT_DIR, load_settings, name_project

HERE = settings.ROOT / "include" / "dbt"
NO_PROJECTS = {*WRITTEN, *LEFT_BEHIND, PACKAGES}
# How deep in a repository a dbt project is looked for.
DEPTH = 3
# How many changed files a message names.
SHOWN = 5


class AdoptError(Exception):
    """Why nothing was copied, and what to do about it. Its text is shown as it is."""


def main(source: str) -> int:
    try:
        require_committed(HERE)
        with tempfile.TemporaryDirectory(prefix="adopt-") as scratch:
            project = find_project(fetch(source, Path(scratch)))
            inner = copy_project(project, HERE)
    except (AdoptError, CopyError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Copied {source} to {HERE}.")
    name_inner(inner)
    report_ignored()
    sys.stdout.flush()
    load_settings(settings.ROOT)
    forget_former()
    return subprocess.run([sys.executable, "-m", "scripts.check"]).returncode


def name_inner(inner: Path) -> None:
    """Has the settings name the folder of the project in `include/dbt`, and says so."""
    folder = "" if inner == Path() else f"include/dbt/{inner.as_posix()}"
    exported = os.environ.pop(PROJECT_DIR, "")
    changed = name_project(settings.ROOT, folder)
    if folder:
        print(f"The project is in {folder}, beside a package of its own.")
    if changed:
        names = " and ".join(changed)
        print(f"{PROJECT_DIR} was {'set' if folder else 'removed'} in {names}.")
    if exported and exported != folder:
        print(f"Your shell says {PROJECT_DIR}={exported}. First: unset {PROJECT_DIR}")


def report_ignored() -> None:
    """Says which of the copied files git would not keep."""
    command = [
        "git",
        "ls-files",
        "-z",
        "--others",
        "--ignored",
        "--exclude-standard",
        "--directory",
    ]
    listed = subprocess.run(
        [*command, "--", HERE], cwd=settings.ROOT, capture_output=True, text=True
    )
    names = [name for name in listed.stdout.split("\0") if name]
    if names:
        more = " …" if len(names) > SHOWN else ""
        print(
            f"git ignores {len(names)} of the copied files and folders. To keep them: "
            f"git add --force {shlex.join(names[:SHOWN])}{more}"
        )


def require_committed(folder: Path) -> None:
    """Raises AdoptError if the folder has changes that git could not bring back."""
    command = ["git", "status", "--porcelain", "--", str(folder)]
    status = subprocess.run(command, cwd=settings.ROOT, capture_output=True, text=True)
    if status.returncode:
        raise AdoptError(
            "This is no git repository, so include/dbt could not be brought back. First: "
            "git init && git add --all && git commit -m 'Begin'"
        )
    if changed := status.stdout.splitlines():
        more = f"\n and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise AdoptError(
            "include/dbt has changes that are not committed:\n"
            + "\n".join(changed[:SHOWN])
            + f"{more}\nFirst: git add include/dbt && git commit"
        )


def fetch(source: str, scratch: Path) -> Path:
    """The folder of the source; of a git address, a clone without history. Raises AdoptError."""
    if not source:
        raise AdoptError("Name a project: make adopt FROM=<folder or git address>")
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser().resolve()
    command = ["git", "clone", "--quiet", "--depth", "1", "--", source, str(scratch / "clone")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise AdoptError(f"{source} is no folder, and git cannot clone it:\n{done.stderr.strip()}")
    return scratch / "clone"


def find_project(folder: Path) -> Path:
    """The folder of dbt_project.yml: this one, or the only one below. Raises AdoptError."""
    if (folder / PROJECT_FILE).exists():
        return folder
    found: list[Path] = []
    for depth in range(1, DEPTH + 1):
        found += [
            file.parent
            for file in folder.glob("/".join(["*"] * depth + [PROJECT_FILE]))
            if not set(file.relative_to(folder).parts) & NO_PROJECTS
        ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(str(path.relative_to(folder)) for path in found))
    raise AdoptError(
        f"There are several dbt projects in {folder} ({names}). Clone it, and name one: "
        "make adopt FROM=<folder>"
        if found
        else f"There is no {PROJECT_FILE} in {folder}."
    )


def forget_former() -> None:
    """Removes what was made of the project that was there."""
    config = settings.load()
    shutil.rmtree(config.manifest.parent, ignore_errors=True)
    shutil.rmtree(config.packages, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
