"""Puts a dbt project into `include/dbt`, in the place of the one that is there.

    make adopt FROM=<folder or git address>

What dbt writes and the history of git stay behind. If a package of the project lies beside it
(`local: ../`), the folder that holds both is copied, and DBT_PROJECT_DIR has to name the project.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from include.engine import settings
from include.engine.warehouse.project import PROJECT_FILE, read_yaml

HERE = settings.ROOT / "include" / "dbt"
LEFT_BEHIND = ("target", "logs", "dbt_packages", "dbt_modules", ".git", ".venv", "__pycache__")
PACKAGE_FILES = ("packages.yml", "dependencies.yml")
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
    except AdoptError as error:
        print(error, file=sys.stderr)
        return 1
    forget_former()
    print(f"Copied {source} to {HERE}.", flush=True)
    if inner == Path():
        return subprocess.run([sys.executable, "-m", "scripts.check"]).returncode
    project_dir = f"include/dbt/{inner}"
    print(
        f"The project is in {project_dir}, beside a package of its own. For each command: "
        f"export DBT_PROJECT_DIR={project_dir} (and ENV DBT_PROJECT_DIR={project_dir} in the "
        "Dockerfile)",
        flush=True,
    )
    variables = {**os.environ, "DBT_PROJECT_DIR": project_dir}
    return subprocess.run([sys.executable, "-m", "scripts.check"], env=variables).returncode


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
            if not set(file.relative_to(folder).parts) & set(LEFT_BEHIND)
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


def copy_project(project: Path, place: Path) -> Path:
    """Copies the project over `place`; returns where it is in there. Raises AdoptError."""
    root = Path(os.path.commonpath([project, *local_packages(project)]))
    if place.is_relative_to(root) or root.is_relative_to(place):
        raise AdoptError(f"{root} is the folder that the project is copied to, or holds it.")
    unfinished = place.with_name(f"{place.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Links stay links: what they lead to may be missing, or the folder that they are in.
    shutil.copytree(root, unfinished, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    shutil.rmtree(place, ignore_errors=True)
    unfinished.rename(place)
    return project.relative_to(root)


def local_packages(project: Path) -> Iterable[Path]:
    """The folders of the packages that the project names by a path."""
    for name in PACKAGE_FILES:
        for package in read_yaml(project / name).get("packages") or ():
            if "local" in package:
                yield (project / package["local"]).resolve()


def forget_former() -> None:
    """Removes what was made of the project that was there."""
    config = settings.load()
    shutil.rmtree(config.manifest.parent, ignore_errors=True)
    shutil.rmtree(config.packages, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
