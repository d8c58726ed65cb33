"""Whether the dbt project has changed since its manifest was built.

A list of the project's files, as dbt read them, is beside the manifest. A file with the same size
and time counts as unchanged, as in make and git. Another file is read and its digest compared: a
checkout that only gave the files new times is not called changed. Standard library only, because it
also runs where the manifest is built.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# The files that dbt reads (dbt-core: read_files.py). Of a seed it matters only whether it is there:
# dbt reads the rows when it loads the seed, and they do not change the graph.
CONTENT = (".sql", ".py", ".yml", ".yaml", ".md")
PRESENCE = (".csv",)
# Folders that dbt writes, at the top of the project. Packages change with packages.yml.
WRITTEN = frozenset(("target", "logs", "dbt_packages", "dbt_modules"))
# `dbt deps` writes this file from packages.yml, also in a project that does not commit it.
LOCK = "package-lock.yml"
# A target folder with any other name has this file.
PARTIAL_PARSE = "partial_parse.msgpack"
# dbt writes `metadata` first, with an id of the invocation: no two manifests start alike.
HEAD_BYTES = 4096

MEND = (
    "Build it anew with `make manifest`, or inside a container with "
    "`python -m include.engine.manifest.build`."
)
TAG = "stale manifest"

Seen = tuple[int, int, str]
"""Size in bytes, time of modification in ns, digest of the content."""


def project_files(project: Path) -> dict[str, Seen]:
    """The project's files as they are now, by path relative to it. To be called before dbt runs."""
    return {
        name: (stat.st_size, stat.st_mtime_ns, digest(project / name))
        for name, stat in files(project)
    }


def write_list(manifest: Path, seen: Mapping[str, Seen]) -> None:
    """Puts the list beside the manifest that was built from these files, replacing an older one."""
    unfinished = list_path(manifest).with_suffix(".new")
    unfinished.write_text(json.dumps({"manifest": manifest_digest(manifest), "files": seen}))
    unfinished.replace(list_path(manifest))


def changed_files(manifest: Path, project: Path) -> list[str]:
    """The files, sorted, that were added, removed or edited since the manifest was built.

    [] also if that is unknown: without a project here, or without a list for this manifest.
    """
    try:
        listed = json.loads(list_path(manifest).read_bytes())
        if listed["manifest"] != manifest_digest(manifest):
            return []
        seen, now = listed["files"], dict(files(project))
    except (OSError, ValueError, KeyError):
        return []
    edited = (
        name for name in seen.keys() & now if is_edited(project, name, now[name], *seen[name])
    )
    return sorted({*edited, *(seen.keys() ^ now.keys())})


def notice(changed: Sequence[str], names: int = 3) -> str:
    """Markdown that says what changed and what to do; empty if nothing changed."""
    if not changed:
        return ""
    more = f" and {len(changed) - names} more" if len(changed) > names else ""
    return (
        f"\n**This DAG is not of the dbt project as it is now.** Changed since its manifest was "
        f"built: {', '.join(f'`{name}`' for name in changed[:names])}{more}. {MEND}\n"
    )


def is_edited(
    project: Path, name: str, now: os.stat_result, size: int, modified: int, content: str
) -> bool:
    """Whether the file no longer has that size, time and digest."""
    if (now.st_size, now.st_mtime_ns) == (size, modified) or name.endswith(PRESENCE):
        return False
    return now.st_size != size or digest(project / name) != content


def files(project: Path, below: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Every file that dbt may read: its path relative to the project, and its status."""
    with os.scandir(project / below) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == LOCK:
                continue
            if not entry.is_dir():
                if entry.name.endswith(CONTENT + PRESENCE):
                    yield below + entry.name, entry.stat()
            elif below or not is_written(Path(entry.path)):
                yield from files(project, f"{below}{entry.name}/")


def is_written(folder: Path) -> bool:
    """Whether dbt writes the folder, which is at the top of the project."""
    return folder.name in WRITTEN or (folder / PARTIAL_PARSE).exists()


def digest(file: Path) -> str:
    """A checksum of the file's content; empty where it cannot be read."""
    try:
        return hashlib.blake2b(file.read_bytes(), digest_size=12).hexdigest()
    except OSError:
        return ""


def list_path(manifest: Path) -> Path:
    """The file of the list: `manifest.files.json` for `manifest.json`."""
    return manifest.with_suffix(".files.json")


def manifest_digest(manifest: Path) -> str:
    """A digest that no other manifest has. Raises OSError if there is no file."""
    with manifest.open("rb") as file:
        return hashlib.blake2b(file.read(HEAD_BYTES), digest_size=12).hexdigest()
