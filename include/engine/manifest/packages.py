"""The packages of the dbt project: installed where they are missing or others than those wanted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from include.engine.manifest import staleness
from include.engine.manifest.command import Builder, require
from include.engine.warehouse.project import PROJECT_FILE, Project, read_yaml

LOCK_FILE = "package-lock.yml"
PACKAGE_FILES = ("packages.yml", "dependencies.yml")
# In the folder of packages: what they were installed from, if that was done here.
STAMP = "installed"


def install_packages(builder: Builder, project: Project) -> None:
    """Runs `dbt deps`, unless the packages that the project asks for are there.

    Packages that no build installed here are the project's own (vendored, or of a `dbt deps` by
    hand): they stay if they are complete. A failed `dbt deps` leaves the folder as it was, though
    dbt empties it first. Raises BuildError.
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
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if before.exists():
            before.rename(folder)
        raise
    shutil.rmtree(before, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAMP).write_text(digests(root))


def is_installed(folder: Path, root: Path) -> bool:
    """Whether the packages in the folder are those of the project's files."""
    stamp = folder / STAMP
    if stamp.exists():
        # A `local` package is a link, which leads nowhere after a move, or in an image.
        return stamp.read_text() == digests(root) and all(map(Path.exists, folder.iterdir()))
    there = [package.parent for package in folder.glob(f"*/{PROJECT_FILE}")]
    locked = entries(read_yaml(root / LOCK_FILE))
    if not all(map(is_locked_version, [folder] * len(locked), locked)):
        return False
    return len(there) >= len(list(wanted_packages(root)))


def is_locked_version(folder: Path, package: Mapping[str, Any]) -> bool:
    """Whether the package of the lock file is in the folder. What has no version there, such as a
    git package, is looked up by its name alone.
    """
    name, version = package.get("name"), package.get("version")
    if not name:
        return True
    words = read_yaml(folder / str(name) / PROJECT_FILE)
    return bool(words) and (not isinstance(version, str) or str(words.get("version")) == version)


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
