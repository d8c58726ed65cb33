"""Copies a dbt project, with what lies beside it and belongs to it, to another place."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from include.engine.manifest.packages import LOCK_FILE, entries, wanted_packages
from include.engine.warehouse.project import PACKAGES, PROJECT_FILE, read_yaml

# What dbt writes at the top of a project: a folder of models may have the same name.
WRITTEN = ("target", "logs", "dbt_modules")
# What is nobody's project, wherever it lies. An .env file holds a person's secrets.
LEFT_BEHIND = (".git", ".venv", "__pycache__", ".env", ".user.yml")


class CopyError(Exception):
    """Why nothing was copied. Its text is shown as it is."""


def copy_project(project: Path, place: Path) -> Path:
    """Puts the project, and the packages that it names by a path, in the place of `place`.

    Returns where the project is in there. Raises CopyError.
    """
    folders = outermost({project, *local_packages(project)})
    if any(place.is_relative_to(folder) or folder.is_relative_to(place) for folder in folders):
        raise CopyError(f"{project} is in the folder that it is copied to, or holds it.")
    root = Path(os.path.commonpath(folders))
    unfinished = place.with_name(f"{place.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    for folder in folders:
        copy = unfinished / folder.relative_to(root)
        shutil.copytree(folder, copy, symlinks=True, ignore=left_behind, dirs_exist_ok=True)
    for link in sorted(links(unfinished)):
        keep_target(link, root / link.relative_to(unfinished), folders)
    shutil.rmtree(place, ignore_errors=True)
    unfinished.rename(place)
    return project.relative_to(root)


def outermost(folders: Iterable[Path]) -> list[Path]:
    """The folders that lie in no other one, sorted."""
    return sorted(
        folder
        for folder in folders
        if not any(folder != other and folder.is_relative_to(other) for other in folders)
    )


def local_packages(project: Path) -> set[Path]:
    """The folders of the packages that the project, or such a package, names by a relative path.

    dbt reads each path from the project's own folder (dbt-core: deps/local.py).
    """
    found: set[Path] = set()
    waiting = [project]
    while waiting:
        for package in wanted_packages(waiting.pop()):
            path = Path(str(package.get("local") or project))
            folder = (project / path).resolve()
            if not path.is_absolute() and folder.is_dir() and folder not in found:
                found.add(folder)
                waiting.append(folder)
    return found - {project}


def left_behind(folder: str, names: list[str]) -> set[str]:
    """The names in a folder that are not copied."""
    top = PROJECT_FILE in names
    written = {*WRITTEN} if top else set()
    if top and PACKAGES in names and not is_vendored(Path(folder)):
        written.add(PACKAGES)
    return {name for name in names if name in LEFT_BEHIND or name in written}


def is_vendored(project: Path) -> bool:
    """Whether the packages in the project's folder are its own: git keeps them, or they are more
    than `dbt deps` installs.
    """
    command = ["git", "ls-files", "--", PACKAGES]
    tracked = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if tracked.stdout:
        return True
    there = {file.parent.name for file in (project / PACKAGES).glob(f"*/{PROJECT_FILE}")}
    locked = {str(entry.get("name")) for entry in entries(read_yaml(project / LOCK_FILE))}
    wanted = list(wanted_packages(project))
    return bool(there) and (bool(there - locked) if locked else not wanted)


def links(folder: Path) -> Iterator[Path]:
    """The symbolic links in a folder, which are not followed."""
    for path, folders, files in os.walk(folder):
        yield from filter(Path.is_symlink, (Path(path, name) for name in (*folders, *files)))


def keep_target(link: Path, source: Path, folders: Iterable[Path]) -> None:
    """Has a copied link lead to what its source leads to.

    What was copied, too, is reached by a relative path. What was not is copied in place of the
    link; but a folder around the link, and what does not exist, stays as it is: dbt passes over it.
    """
    try:
        target = source.resolve(strict=True)
    except (OSError, RuntimeError):  # dangling, or a link to itself
        return
    if any(target.is_relative_to(folder) for folder in folders):
        if link.readlink().is_absolute():
            link.unlink()
            link.symlink_to(os.path.relpath(target, source.parent.resolve()))
    elif not source.parent.resolve().is_relative_to(target):
        link.unlink()
        copy: Callable = copy_tree if target.is_dir() else shutil.copy2
        copy(target, link)


def copy_tree(folder: Path, place: Path) -> None:
    shutil.copytree(folder, place, symlinks=True, ignore=left_behind)
