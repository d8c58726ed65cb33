"""The packages of the dbt project: installed where they are missing or others than those wanted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from include.engine.manifest import staleness
from include.engine.manifest.command import Builder, BuildError, require
from include.engine.warehouse.project import PROJECT_FILE, Project, read_yaml

LOCK_FILE = "package-lock.yml"
PACKAGE_FILES = ("packages.yml", "dependencies.yml")
# In the folder of packages: what they were installed from, if that was done here.
STAMP = "installed"


def install_packages(builder: Builder, project: Project) -> None:
    """Runs `dbt deps`, unless the packages that the project asks for are there.

    Packages that no build installed here are the project's own (vendored, or of a `dbt deps` by
    hand): they stay if they are complete and seem to be of the versions in the lock file. A failed
    `dbt deps` leaves the folder as it was, though dbt empties it first. Raises BuildError, unless
    only versions are in doubt: dbt itself compares none, and many a package says a wrong one.
    """
    folder, root = project.packages, builder.config.project_dir
    if not list(wanted_packages(root)) or is_installed(folder, root):
        return
    before = folder.with_name(f"{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        folder.rename(before)
    try:
        require(builder, "deps")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if before.exists():
            before.rename(folder)
        if not isinstance(error, BuildError) or not are_complete(folder, root):
            raise
        print(f"{error}\nThe packages in {folder} are used: {', '.join(doubts(folder, root))}.")
        return
    shutil.rmtree(before, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).write_text(digests(root))


def is_installed(folder: Path, root: Path) -> bool:
    """Whether the packages in the folder are those of the project's files."""
    stamp = folder / STAMP
    if stamp.exists():
        # A `local` package is a link, which leads nowhere after a move, or in an image.
        return stamp.read_text() == digests(root) and all(map(Path.exists, folder.iterdir()))
    return are_complete(folder, root) and not list(doubts(folder, root))


def are_complete(folder: Path, root: Path) -> bool:
    """Whether the folder has each package of the project's files, by name, and none was installed
    here.
    """
    there = {package.parent.name for package in folder.glob(f"*/{PROJECT_FILE}")}
    locked = {str(entry["name"]) for entry in locked_packages(root) if entry.get("name")}
    enough = len(there) >= len(list(wanted_packages(root)))
    return enough and locked <= there and not (folder / STAMP).exists()


def doubts(folder: Path, root: Path) -> Iterator[str]:
    """The packages in the folder that say another version than the lock file."""
    for entry in locked_packages(root):
        name, version = entry.get("name"), entry.get("version")
        if name and isinstance(version, str):  # a git package has none
            own = read_yaml(folder / str(name) / PROJECT_FILE).get("version")
            if str(own) != version:
                yield f"{name} says that it is {own}, and {LOCK_FILE} has {version}"


def locked_packages(root: Path) -> list[Mapping[str, Any]]:
    """The entries of the project's lock file."""
    return entries(read_yaml(root / LOCK_FILE))


def wanted_packages(root: Path) -> Iterator[Mapping[str, Any]]:
    """The entries of the project's package files."""
    for name in PACKAGE_FILES:
        yield from entries(read_yaml(root / name))


def entries(words: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The `packages` of a file."""
    listed = words.get("packages")
    return [entry for entry in listed if isinstance(entry, Mapping)] if listed else []


def digests(root: Path) -> str:
    """What tells these package files from others; `dbt deps` may write the lock file itself."""
    return "\n".join(staleness.digest(root / name) for name in (*PACKAGE_FILES, LOCK_FILE))
